// Commits steps of CrashScript to the corpus named by its argument for ever, and prints the number
// of each one that was acknowledged. corpus_damage_test kills it.
#include <unistd.h>

#include <cstdio>
#include <string>

#include "crash_script.h"

int main(int argc, char** argv) {
  using namespace collegium;
  using namespace collegium::index;
  if (argc != 2) return 2;
  const std::string path = argv[1];
  const auto acknowledge = [](std::uint64_t step) {
    const std::string line = std::to_string(step) + "\n";
    return ::write(STDOUT_FILENO, line.data(), line.size()) > 0;
  };
  auto corpus = Corpus::open(path);
  std::uint64_t step = 0;
  if (corpus.ok()) {
    step = std::stoull((*corpus)->record("step").value());
  } else if (corpus.status().code() == StatusCode::kNotFound) {
    corpus = Corpus::create(path, {CrashScript::kDim, "digest"});
    if (!corpus.ok()) return 3;
    WriteSet writes;
    writes.create_collection("law");
    writes.put_record("step", "0");
    if (!(*corpus)->commit(std::move(writes)).ok()) return 4;
  } else {
    std::fprintf(stderr, "%s\n", corpus.status().to_string().c_str());
    return 5;
  }
  CrashScript script = CrashScript::after(step);
  while (acknowledge(step)) {
    WriteSet writes;
    script.advance(++step, &writes);
    if (!(*corpus)->commit(std::move(writes)).ok()) return 6;
    if (step % 50 == 0 && !(*corpus)->flush_indexes().ok()) return 7;
  }
  return 0;
}
