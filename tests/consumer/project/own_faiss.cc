// own_faiss <new library> <encoder folder>: our FAISS and the embedder's own, side by side.
#include <collegium/collegium.h>
#include <faiss/IndexFlat.h>

#include <cstdio>
#include <vector>

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  collegium::CreateOptions options;
  options.encoder = argv[2];
  const auto library = collegium::Library::create(argv[1], options);
  if (!library.ok()) {
    std::fprintf(stderr, "%s\n", library.status().to_string().c_str());
    return 1;
  }
  const std::vector<collegium::Document> documents = {{"a", "", "the river runs", ""},
                                                      {"b", "", "the law of the market", ""}};
  if (!(*library)->add("all", documents).ok()) return 1;

  faiss::IndexFlatIP own(2);
  const float rows[] = {1.0f, 0.0f, 0.0f, 1.0f};
  own.add(2, rows);
  for (int i = 0; i < 3; ++i) {
    float score = 0.0f;
    faiss::Index::idx_t row = -1;
    const float query[] = {0.1f, 0.9f};
    own.search(1, query, 1, &score, &row);
    const auto answer = (*library)->search("the river runs");
    if (row != 1 || !answer.ok() || answer->passages.empty() ||
        answer->passages[0].document_id != "a")
      return 1;
  }
  return (*library)->close().ok() ? 0 : 1;
}
