// From documents to a routed, cited answer: first_route <new library> <encoder folder>
//   find_package(collegium REQUIRED)
//   target_link_libraries(first_route PRIVATE collegium::collegium)
#include <collegium/collegium.h>

#include <iostream>
#include <vector>

namespace {

collegium::Status run(const std::string& path, const std::string& encoder) {
  collegium::CreateOptions options;
  options.encoder = encoder;
  COLLEGIUM_ASSIGN_OR_RETURN(const auto library, collegium::Library::create(path, options));
  const std::vector<collegium::Document> music = {
      {"slur", "Slurs", "A slur is drawn between two notes of the music.", ""}};
  const std::vector<collegium::Document> law = {
      {"force", "Force majeure", "The law excuses what is not to be avoided.", ""}};
  const std::vector<collegium::Pair> pairs = {{"what does the law excuse?", "force", {}, 1.0f}};
  COLLEGIUM_RETURN_IF_ERROR(library->add("music", music));
  COLLEGIUM_RETURN_IF_ERROR(library->add("law", law, pairs));
  COLLEGIUM_RETURN_IF_ERROR(library->fit());
  COLLEGIUM_ASSIGN_OR_RETURN(const auto answer, library->ask("What does a slur connect?"));
  std::cout << answer.to_text();
  return library->close();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: first_route <new library> <encoder folder>\n";
    return 2;
  }
  const collegium::Status status = run(argv[1], argv[2]);
  if (!status.ok()) std::cerr << "first_route: " << status.to_string() << "\n";
  return status.ok() ? 0 : 1;
}
