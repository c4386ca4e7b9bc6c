// Times of Encoder::encode by shape and number of threads, as JSON on standard output, for tuning:
//   encoder_bench MODEL_FOLDER [seconds a shape [compute [TEXTSxTOKENS, on one thread alone]]]
// benchmarks/encoder_speed.py compares with other engines; this needs no Python and no peer.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/experts/encoder.h"
#include "collegium/core/thread_pool.h"

using namespace collegium::core;

namespace {

// A text of exactly `tokens` tokens, [CLS] and [SEP] included: every word is one token.
std::string text_of(std::size_t tokens, std::size_t seed) {
  constexpr const char* kWords[] = {"water", "law", "market", "river", "engine", "music", "cell"};
  std::string text;
  for (std::size_t i = 2; i < tokens; ++i) text += std::string(kWords[(i * 5 + seed) % 7]) + " ";
  return text;
}

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Of this process, on all its threads: what a busy machine disturbs least.
double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr,
                 "usage: encoder_bench MODEL_FOLDER [seconds a shape [compute [TEXTSxTOKENS]]]\n");
    return 2;
  }
  const double budget = argc > 2 ? std::atof(argv[2]) : 2.0;
  const double load_begin = seconds();
  EncoderOptions options;
  const auto compute = parse_compute(argc > 3 ? argv[3] : "fp32");
  if (!compute.ok()) {
    std::fprintf(stderr, "%s\n", compute.status().to_string().c_str());
    return 2;
  }
  options.compute = *compute;
  const auto encoder = Encoder::load(argv[1], options);
  if (!encoder.ok()) {
    std::fprintf(stderr, "%s\n", encoder.status().to_string().c_str());
    return 1;
  }
  std::printf("{\"isa\": \"%s\", \"load_ms\": %.1f, \"shapes\": [\n",
              std::string(isa_name(active_isa())).c_str(), (seconds() - load_begin) * 1e3);
  std::vector<std::pair<std::size_t, std::size_t>> shapes = {
      {1, 16}, {1, 32}, {1, 128}, {8, 128}, {32, 128}};
  std::vector<std::size_t> thread_counts = {1, 2};
  if (argc > 4) {
    std::size_t texts = 0, tokens = 0;
    if (std::sscanf(argv[4], "%zux%zu", &texts, &tokens) != 2 || texts == 0 || tokens < 3) {
      std::fprintf(stderr, "%s: not TEXTSxTOKENS, of at least 3 tokens\n", argv[4]);
      return 2;
    }
    shapes = {{texts, tokens}};
    thread_counts = {1};
  }
  bool first = true;
  for (const std::size_t threads : thread_counts) {
    set_num_threads(threads);
    for (const auto& [texts, tokens] : shapes) {
      std::vector<std::string> owned;
      for (std::size_t i = 0; i < texts; ++i) owned.push_back(text_of(tokens, i));
      const std::vector<std::string_view> views(owned.begin(), owned.end());
      std::vector<double> times, cpu_times;
      const double end = seconds() + budget;
      while (times.size() < 5 || seconds() < end) {
        const double begin = seconds(), cpu_begin = cpu_seconds();
        const auto result = (*encoder)->encode(views, TextKind::kDocument);
        times.push_back((seconds() - begin) * 1e3);
        cpu_times.push_back((cpu_seconds() - cpu_begin) * 1e3);
        if (!result.ok() || result->num_tokens[0] != tokens) {
          std::fprintf(stderr, "a text is not %zu tokens long\n", tokens);
          return 1;
        }
      }
      std::sort(times.begin(), times.end());
      std::sort(cpu_times.begin(), cpu_times.end());
      std::printf(
          "%s  {\"texts\": %zu, \"tokens\": %zu, \"threads\": %zu, \"min_ms\": %.3f, "
          "\"median_ms\": %.3f, \"cpu_min_ms\": %.3f, \"gflops_at_min\": %.1f, \"runs\": %zu}",
          first ? "" : ",\n", texts, tokens, threads, times.front(), times[times.size() / 2],
          cpu_times.front(),
          (*encoder)->flops(tokens) * static_cast<double>(texts) / times.front() * 1e-6,
          times.size());
      first = false;
    }
  }
  std::printf("\n]}\n");
  return 0;
}
