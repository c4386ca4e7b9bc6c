// The library's side of vector_search.py. vector_search_bench CORPUS FILE writes the vectors of
// every collection as raw float32. vector_search_bench ROWS QUERIES DIM reads such files, then one
// command a line and answers with one line:
//   threads N                      -> ok
//   graph                          -> seconds to build the graph
//   time KIND BATCH K              -> seconds of one batch, queries in turn
//   find KIND BATCH K FILE         -> writes (queries, K) int64 positions to FILE; ok
// KIND: auto, fp32, int8, bf16, binary, or hnsw:BREADTH.
#include <chrono>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "collegium/core/thread_pool.h"
#include "collegium/index/corpus.h"
#include "vector_block.h"

namespace {

using collegium::index::BlockResult;
using collegium::index::ScanKind;
using collegium::index::SearchOptions;
using collegium::index::VectorBlock;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

std::vector<float> read_floats(const std::string& path) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  std::vector<float> numbers(static_cast<std::size_t>(in.tellg()) / sizeof(float));
  in.seekg(0);
  in.read(reinterpret_cast<char*>(numbers.data()),
          static_cast<std::streamsize>(numbers.size() * sizeof(float)));
  return numbers;
}

bool parse_kind(const std::string& kind, SearchOptions& options) {
  options = {};
  if (kind.starts_with("hnsw:")) {
    options.breadth = std::stoul(kind.substr(5));
    return true;
  }
  options.exact = true;
  const std::pair<const char*, ScanKind> kinds[] = {{"auto", ScanKind::kAuto},
                                                    {"fp32", ScanKind::kFloat32},
                                                    {"int8", ScanKind::kInt8},
                                                    {"bf16", ScanKind::kBfloat16},
                                                    {"binary", ScanKind::kBinary}};
  for (const auto& [name, value] : kinds) {
    options.scan = value;
    if (kind == name) return true;
  }
  return false;
}

int write_vectors(const std::string& path, const std::string& file) {
  const auto corpus = collegium::index::Corpus::open(path);
  std::ofstream out(file, std::ios::binary);
  if (!corpus.ok()) return 1;
  for (const std::string& name : (*corpus)->collections()) {
    const auto view = (*corpus)->view(name);
    if (!view.ok()) return 1;
    const auto vectors = (*view)->vectors();
    out.write(reinterpret_cast<const char*>(vectors.data()),
              static_cast<std::streamsize>(vectors.size_bytes()));
  }
  return out ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3) return write_vectors(argv[1], argv[2]);
  if (argc != 4) return 2;
  const std::size_t dim = std::stoul(argv[3]);
  const std::vector<float> queries = read_floats(argv[2]);
  const std::size_t num_queries = queries.size() / dim;
  std::unique_ptr<VectorBlock> block;
  {
    const std::vector<float> rows = read_floats(argv[1]);
    auto made = VectorBlock::create_exact(dim);
    if (!made.ok() || !(*made)->reserve(rows.size() / dim).ok() || !(*made)->append(rows).ok())
      return 1;
    block = std::move(*made);
  }
  std::size_t next = 0;  // the query a batch begins with
  const auto search = [&](std::size_t first, std::size_t batch, std::size_t k,
                          const SearchOptions& options) {
    auto found = block->search_batch(std::span(queries).subspan(first * dim, batch * dim), k, {},
                                     block->size(), options);
    return found.ok() ? std::move(*found) : std::vector<BlockResult>();
  };
  std::string line;
  while (std::getline(std::cin, line)) {
    std::istringstream in(line);
    std::string command, kind, file;
    std::size_t batch = 0, k = 0;
    SearchOptions options;
    in >> command;
    if (command == "threads" && in >> batch) {
      collegium::core::set_num_threads(batch);
      std::cout << "ok" << std::endl;
    } else if (command == "graph") {
      const auto begin = Clock::now();
      auto graph = VectorBlock::build_graph(*block, {});
      if (!graph.ok()) return 1;
      block = std::move(*graph);
      std::cout << seconds_since(begin) << std::endl;
    } else if (command == "time" && in >> kind >> batch >> k && parse_kind(kind, options) &&
               batch >= 1 && batch <= num_queries) {
      if (next + batch > num_queries) next = 0;
      const auto begin = Clock::now();
      const auto found = search(next, batch, k, options);
      std::cout << seconds_since(begin) << std::endl;
      if (found.size() != batch) return 1;
      next += batch;
    } else if (command == "find" && in >> kind >> batch >> k >> file && parse_kind(kind, options) &&
               batch >= 1) {
      std::ofstream out(file, std::ios::binary);
      for (std::size_t first = 0; first < num_queries; first += batch) {
        for (BlockResult& one : search(first, std::min(batch, num_queries - first), k, options)) {
          for (std::size_t i = 0; i < k; ++i) {
            const std::int64_t position = i < one.best.size() ? one.best[i].position : -1;
            out.write(reinterpret_cast<const char*>(&position), sizeof position);
          }
        }
      }
      out.close();
      std::cout << "ok" << std::endl;
    } else {
      std::cout << "error: " << line << std::endl;
    }
  }
  return 0;
}
