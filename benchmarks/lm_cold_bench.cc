// Seconds of a mixture whose weights are on the disk alone: its first tokens one by one, and a
// prompt, with experts read ahead of their products and without, as JSON on standard output for
// lm_cold.py:
//   lm_cold_bench FILE.gguf [rounds]
// The file's pages are dropped before each figure.
#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "lm/decoder.h"

using namespace collegium::core;

namespace {

constexpr std::size_t kTokens = 16;
constexpr std::size_t kPrompt = 64;

double seconds(const std::string& path, bool ahead, std::size_t tokens, std::size_t step,
               unsigned seed) {
  const auto file = GgufFile::open(path);
  if (!file.ok()) std::fprintf(stderr, "%s\n", file.status().message().c_str()), std::exit(1);
  auto decoder = read_decoder_gguf(*file, active_isa());
  if (!decoder.ok()) std::fprintf(stderr, "%s\n", decoder.status().message().c_str()), std::exit(1);
  if (!ahead) decoder->leave_expert_pages();
  const int descriptor = open(path.c_str(), O_RDONLY);
  posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
  close(descriptor);

  std::mt19937 random(seed);
  std::vector<std::int32_t> ids(tokens);
  for (std::int32_t& id : ids) id = static_cast<std::int32_t>(random() % decoder->config().vocab);
  KvCache cache(decoder->config(), KvCacheType::kFp32);
  std::vector<float> hidden(step * decoder->config().width);
  const auto begin = std::chrono::steady_clock::now();
  for (std::size_t at = 0; at < tokens; at += step)
    if (!decoder->forward(std::span(ids).subspan(at, step), cache, hidden.data()).ok())
      std::exit(1);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 5;
  std::printf("[");
  for (int round = 0; round < rounds; ++round)
    for (const bool prompt : {false, true}) {
      const auto run = [&](bool ahead) {
        return prompt ? seconds(argv[1], ahead, kPrompt, kPrompt, 1 + static_cast<unsigned>(round))
                      : seconds(argv[1], ahead, kTokens, 1, 1 + static_cast<unsigned>(round));
      };
      double with = 0.0, without = 0.0;
      if (round % 2 == 0)
        with = run(true), without = run(false);
      else
        without = run(false), with = run(true);
      std::printf("%s{\"prompt\": %s, \"with\": %.4f, \"without\": %.4f}",
                  round == 0 && !prompt ? "" : ", ", prompt ? "true" : "false", with, without);
      std::fflush(stdout);
    }
  std::printf("]\n");
}
