// The library's side of vector_search.py. vector_search_bench CORPUS FILE writes the vectors of
// every collection as raw float32. vector_search_bench ROWS QUERIES DIM reads such files, then one
// command a line and answers with one line:
//   threads N                      -> ok
//   time KIND BATCH K              -> seconds of one batch, queries in turn
//   find KIND BATCH K FILE         -> writes (queries, K) int64 positions to FILE; ok
// KIND: fp32, int8, bf16 or binary. Scans as exact searches of a corpus do them.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <map>
#include <span>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "collegium/core/thread_pool.h"
#include "collegium/index/corpus.h"
#include "scan.h"

namespace {

using collegium::index::BlockResult;
using collegium::index::ScanCodes;
using collegium::index::ScanKind;
using collegium::index::ScanRows;
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

// kAuto: no such kind.
ScanKind parse_kind(const std::string& kind) {
  const std::pair<const char*, ScanKind> kinds[] = {{"fp32", ScanKind::kFloat32},
                                                    {"int8", ScanKind::kInt8},
                                                    {"bf16", ScanKind::kBfloat16},
                                                    {"binary", ScanKind::kBinary}};
  for (const auto& [name, value] : kinds)
    if (kind == name) return value;
  return ScanKind::kAuto;
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
  collegium::core::AlignedBuffer<float> vectors;
  {
    const std::vector<float> read = read_floats(argv[1]);
    vectors = collegium::core::AlignedBuffer<float>(read.size());
    std::copy(read.begin(), read.end(), vectors.begin());
  }
  const ScanRows rows{{vectors.data(), vectors.size()}, dim, {}, vectors.size() / dim};
  std::map<ScanKind, ScanCodes> codes;
  std::size_t next = 0;  // the query a batch begins with
  const auto search = [&](std::size_t first, std::size_t batch, std::size_t k, ScanKind kind) {
    const auto part = std::span(queries).subspan(first * dim, batch * dim);
    if (!collegium::index::uses_codes(rows, kind, batch, k)) return scan_floats(rows, part, k);
    return scan_codes(rows, codes.at(kind), part, k);
  };
  std::string line;
  while (std::getline(std::cin, line)) {
    std::istringstream in(line);
    std::string command, name, file;
    std::size_t batch = 0, k = 0;
    ScanKind kind = ScanKind::kAuto;
    const auto read_kind = [&] {
      in >> name >> batch >> k;
      kind = parse_kind(name);
      if (kind != ScanKind::kAuto && !codes.contains(kind))
        codes.emplace(kind, make_codes(rows.vectors, dim, kind));
      return in && kind != ScanKind::kAuto && batch >= 1 && batch <= num_queries;
    };
    in >> command;
    if (command == "threads" && in >> batch) {
      collegium::core::set_num_threads(batch);
      std::cout << "ok" << std::endl;
    } else if (command == "time" && read_kind()) {
      if (next + batch > num_queries) next = 0;
      const auto begin = Clock::now();
      const auto found = search(next, batch, k, kind);
      std::cout << seconds_since(begin) << std::endl;
      if (found.size() != batch) return 1;
      next += batch;
    } else if (command == "find" && read_kind() && in >> file) {
      std::ofstream out(file, std::ios::binary);
      for (std::size_t first = 0; first < num_queries; first += batch) {
        for (BlockResult& one : search(first, std::min(batch, num_queries - first), k, kind)) {
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
