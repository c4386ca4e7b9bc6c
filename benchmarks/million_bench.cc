// What million.py talks to: a corpus of many generated passages, built, opened, and searched while
// it is written to and compacted. Prints one JSON object a line.
//   million_bench FOLDER PASSAGES DIM THRESHOLD SECONDS
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "collegium/index/corpus.h"

namespace collegium::index {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

template <typename T>
T take(Result<T> result) {
  if (!result.ok()) {
    std::fprintf(stderr, "%s\n", result.status().to_string().c_str());
    std::exit(1);
  }
  return std::move(*result);
}
void check(const Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.to_string().c_str());
  std::exit(1);
}

// Kilobytes; `what` is VmHWM (the peak so far) or VmRSS.
long memory(const std::string& what) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(what + ":")) return std::atol(line.c_str() + what.size() + 1);
  return 0;
}

// Rows of length one around centres of centres, with coordinates of falling variance, as
// embeddings have them; and short texts whose words follow Zipf's law, more alike within a cluster.
class Generator {
 public:
  Generator(std::size_t dim, std::uint32_t seed) : dim_(dim), random_(seed) {
    std::mt19937 centre_random(11);  // the same for all generators
    std::vector<float> top(kTop * dim);
    for (float& value : top) value = normal_(centre_random);
    centres_.resize(kCentres * dim);
    for (std::size_t c = 0; c < kCentres; ++c)
      for (std::size_t j = 0; j < dim; ++j)
        centres_[c * dim + j] = top[c % kTop * dim + j] + 0.8f * normal_(centre_random);
    for (std::size_t j = 0; j < dim; ++j)
      scale_.push_back(1.0f / std::sqrt(1.0f + 0.03f * static_cast<float>(j)));
  }

  std::vector<float> row() {
    cluster_ = random_() % kCentres;
    std::vector<float> made(dim_);
    double squares = 0.0;
    for (std::size_t j = 0; j < dim_; ++j) {
      made[j] = scale_[j] * (centres_[cluster_ * dim_ + j] + 0.9f * normal_(random_));
      squares += static_cast<double>(made[j]) * made[j];
    }
    for (float& value : made) value = static_cast<float>(value / std::sqrt(squares));
    return made;
  }

  NewDocument document(const std::string& id) {
    NewDocument made;
    made.vectors = row();
    std::string& text = made.document.text;
    for (int word = 0; word < 24; ++word) {
      const double u = std::uniform_real_distribution<double>(0.0, 1.0)(random_);
      const auto rank = static_cast<std::uint64_t>(std::pow(50000.0, u));
      text += "w" + std::to_string(word % 3 == 0 ? rank * 7 + cluster_ : rank) + " ";
    }
    text.pop_back();
    made.document.id = id;
    made.passages.push_back({{0, text.size()}, ""});
    return made;
  }

  std::uint32_t draw() { return static_cast<std::uint32_t>(random_()); }

 private:
  static constexpr std::size_t kTop = 50, kCentres = 2000;
  const std::size_t dim_;
  std::mt19937 random_;
  std::normal_distribution<float> normal_;
  std::vector<float> centres_, scale_;
  std::size_t cluster_ = 0;
};

double quantile(std::vector<double>& sorted, double q) {
  if (sorted.empty()) return 0.0;
  return sorted[std::min(sorted.size() - 1,
                         static_cast<std::size_t>(q * static_cast<double>(sorted.size())))];
}

void print_latencies(const char* phase, const char* what, std::vector<double> milliseconds,
                     double seconds) {
  std::sort(milliseconds.begin(), milliseconds.end());
  std::printf(
      "{\"phase\":\"%s\",\"what\":\"%s\",\"count\":%zu,\"seconds\":%.2f,\"p50\":%.3f,"
      "\"p95\":%.3f,\"p99\":%.3f,\"max\":%.3f}\n",
      phase, what, milliseconds.size(), seconds, quantile(milliseconds, 0.50),
      quantile(milliseconds, 0.95), quantile(milliseconds, 0.99),
      milliseconds.empty() ? 0.0 : milliseconds.back());
  std::fflush(stdout);
}

// Two clients, every tenth operation of each a write (a document replaced), while
// `meanwhile` runs.
void run_load(Corpus& corpus, const char* phase, std::size_t passages, std::size_t dim,
              const std::function<void()>& meanwhile) {
  std::atomic<bool> stop{false};
  std::vector<double> searches[2], writes[2];
  std::vector<std::thread> clients;
  for (std::size_t c = 0; c < 2; ++c)
    clients.emplace_back([&, c] {
      Generator generator(dim, static_cast<std::uint32_t>(100 + c));
      for (std::uint64_t i = 0; !stop; ++i) {
        if (i % 10 == 9) {
          WriteSet set;
          set.put_document("c",
                           generator.document("d" + std::to_string(generator.draw() % passages)));
          const auto begin = Clock::now();
          take(corpus.commit(std::move(set)));
          writes[c].push_back(1000.0 * seconds_since(begin));
        } else {
          const auto query = generator.row();
          const auto begin = Clock::now();
          take(corpus.search("c", query, 10));
          searches[c].push_back(1000.0 * seconds_since(begin));
        }
      }
    });
  const auto begin = Clock::now();
  meanwhile();
  const double seconds = seconds_since(begin);
  stop = true;
  for (std::thread& client : clients) client.join();
  searches[0].insert(searches[0].end(), searches[1].begin(), searches[1].end());
  writes[0].insert(writes[0].end(), writes[1].begin(), writes[1].end());
  print_latencies(phase, "search", searches[0], seconds);
  print_latencies(phase, "write", writes[0], seconds);
}

int run(const std::string& folder, std::size_t passages, std::size_t dim, std::uint64_t threshold,
        double load_seconds) {
  constexpr std::size_t kBatch = 2000;
  {
    auto corpus = take(Corpus::create(folder, {dim, "generated", threshold}));
    WriteSet create;
    create.create_collection("c");
    take(corpus->commit(std::move(create)));
    Generator generator(dim, 1);
    double commit_seconds = 0.0;
    const auto begin = Clock::now();
    for (std::size_t i = 0; i < passages; i += kBatch) {
      WriteSet writes;
      for (std::size_t j = i; j < std::min(passages, i + kBatch); ++j)
        writes.put_document("c", generator.document("d" + std::to_string(j)));
      const auto commit_begin = Clock::now();
      take(corpus->commit(std::move(writes)));
      commit_seconds += seconds_since(commit_begin);
    }
    std::printf("{\"phase\":\"build\",\"commits\":%.2f,\"seconds\":%.2f,\"peak_kb\":%ld}\n",
                commit_seconds, seconds_since(begin), memory("VmHWM"));
    std::fflush(stdout);
    const auto flush_begin = Clock::now();
    check(corpus->flush_indexes());
    std::printf("{\"phase\":\"index\",\"kind\":\"%s\",\"seconds\":%.2f,\"peak_kb\":%ld}\n",
                take(corpus->collection_info("c")).index_kind.c_str(), seconds_since(flush_begin),
                memory("VmHWM"));
    std::fflush(stdout);
    check(corpus->close());
  }
  std::uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
    if (entry.is_regular_file()) bytes += entry.file_size();
  std::vector<double> opens;
  std::unique_ptr<Corpus> corpus;
  for (int round = 0; round < 3; ++round) {
    if (corpus != nullptr) check(corpus->close());
    corpus.reset();
    const auto begin = Clock::now();
    corpus = take(Corpus::open(folder));
    opens.push_back(seconds_since(begin));
  }
  std::sort(opens.begin(), opens.end());
  std::printf("{\"phase\":\"open\",\"seconds\":%.3f,\"resident_kb\":%ld,\"disk_bytes\":%llu}\n",
              opens[1], memory("VmRSS"), static_cast<unsigned long long>(bytes));
  std::fflush(stdout);
  const auto wait = [&] {
    std::this_thread::sleep_for(std::chrono::duration<double>(load_seconds));
  };
  run_load(*corpus, "warm", passages, dim,
           [&] { std::this_thread::sleep_for(std::chrono::duration<double>(load_seconds / 4)); });
  run_load(*corpus, "load", passages, dim, wait);
  run_load(*corpus, "compaction", passages, dim, [&] { check(corpus->compact()); });
  return 0;
}

}  // namespace
}  // namespace collegium::index

int main(int argc, char** argv) {
  if (argc != 6) return 2;
  return collegium::index::run(argv[1], std::strtoull(argv[2], nullptr, 10),
                               std::strtoull(argv[3], nullptr, 10),
                               std::strtoull(argv[4], nullptr, 10), std::atof(argv[5]));
}
