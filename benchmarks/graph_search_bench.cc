// The library's side of graph_search.py. graph_search_bench ROWS QUERIES DIM reads raw float32,
// then one command a line and answers with one line:
//   threads N               -> ok
//   hnsw LINKS BREADTH      -> seconds to build a graph over the rows: wall, of the processors
//   ivf LISTS               -> seconds to build lists over the rows, the same two
//   time EFFORT K           -> seconds to answer every query, as one batch, the same two
//   find EFFORT K FILE      -> writes (queries, K) int64 positions to FILE; ok
// EFFORT: breadth or probes of what was built last; 0 searches exactly.
#include <chrono>
#include <cstdint>
#include <ctime>
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "collegium/core/thread_pool.h"
#include "vector_block.h"

namespace {

using collegium::index::SearchOptions;
using collegium::index::VectorBlock;
using Clock = std::chrono::steady_clock;

// Since it was made: on the wall's clock, and of the processors, all threads together.
class Stopwatch {
 public:
  void print() const {
    std::cout << std::chrono::duration<double>(Clock::now() - wall_).count() << ' '
              << static_cast<double>(std::clock() - processors_) / CLOCKS_PER_SEC << std::endl;
  }

 private:
  Clock::time_point wall_ = Clock::now();
  std::clock_t processors_ = std::clock();
};

std::vector<float> read_floats(const std::string& path) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  std::vector<float> numbers(static_cast<std::size_t>(in.tellg()) / sizeof(float));
  in.seekg(0);
  in.read(reinterpret_cast<char*>(numbers.data()),
          static_cast<std::streamsize>(numbers.size() * sizeof(float)));
  return numbers;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const std::size_t dim = std::stoul(argv[3]);
  const std::vector<float> queries = read_floats(argv[2]);
  const auto made = VectorBlock::create_exact(dim);
  if (!made.ok() || !(*made)->append(read_floats(argv[1])).ok()) return 1;
  const VectorBlock& rows = **made;
  std::unique_ptr<VectorBlock> built;
  std::string line;
  while (std::getline(std::cin, line)) {
    std::istringstream in(line);
    std::string command, file;
    std::uint32_t a = 0, b = 0;
    in >> command >> a;
    const Stopwatch watch;
    const auto search = [&] {
      SearchOptions options;
      options.exact = a == 0;
      options.breadth = options.probes = a;
      const VectorBlock& block = built == nullptr ? rows : *built;
      return block.search_batch(queries, b, {}, block.size(), options);
    };
    if (command == "threads" && in) {
      collegium::core::set_num_threads(a);
      std::cout << "ok" << std::endl;
    } else if (command == "hnsw" && in >> b) {
      auto graph = VectorBlock::build_graph(rows, {}, {a, b});
      if (!graph.ok()) return 1;
      built = std::move(*graph);
      watch.print();
    } else if (command == "ivf" && in) {
      auto lists = VectorBlock::build_lists(rows, {}, a);
      if (!lists.ok()) return 1;
      built = std::move(*lists);
      watch.print();
    } else if (command == "time" && in >> b) {
      if (!search().ok()) return 1;
      watch.print();
    } else if (command == "find" && in >> b >> file) {
      const auto found = search();
      if (!found.ok()) return 1;
      std::ofstream out(file, std::ios::binary);
      for (const auto& one : *found) {
        for (std::size_t i = 0; i < b; ++i) {
          const std::int64_t position = i < one.best.size() ? one.best[i].position : -1;
          out.write(reinterpret_cast<const char*>(&position), sizeof position);
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
