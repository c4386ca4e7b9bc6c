#include "experts/encoder_calls.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string_view>

#include "collegium/core/thread_pool.h"
#include "experts/model_folder.h"
#include "threads_restored.h"

namespace collegium::core {

std::shared_ptr<const Encoder> load(const std::string& folder, const EncoderOptions& options) {
  auto encoder = Encoder::load(folder, options);
  EXPECT_TRUE(encoder.ok()) << encoder.status().to_string();
  return encoder.ok() ? *encoder : nullptr;
}

std::vector<float> encode(const Encoder& encoder, const std::vector<std::string>& texts,
                          TextKind kind) {
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  auto result = encoder.encode(views, kind);
  EXPECT_TRUE(result.ok()) << result.status().to_string();
  return result.ok() ? std::move(result->vectors) : std::vector<float>();
}

void expect_same_bits_in_any_company(const Encoder& encoder, unsigned text_seed,
                                     unsigned batch_seed) {
  const ThreadsRestored restored;
  const auto texts = random_texts(60, text_seed);
  const std::size_t dim = encoder.dim();
  set_num_threads(1);
  std::vector<std::vector<float>> alone;
  for (const auto& text : texts) alone.push_back(encode(encoder, {text}));
  std::mt19937 generator(batch_seed);
  for (std::size_t round = 0; round < 60; ++round) {
    set_num_threads(std::vector<std::size_t>{1, 2, 4}[round % 3]);
    std::vector<std::size_t> chosen(1 + generator() % (round % 5 == 0 ? 60 : 7));
    std::vector<std::string> batch;
    for (std::size_t& i : chosen) batch.push_back(texts[i = generator() % texts.size()]);
    const std::vector<float> together = encode(encoder, batch);
    for (std::size_t i = 0; i < chosen.size(); ++i) {
      ASSERT_EQ(
          std::memcmp(together.data() + i * dim, alone[chosen[i]].data(), dim * sizeof(float)), 0)
          << "text " << chosen[i] << " at place " << i << " of " << chosen.size();
    }
  }
}

}  // namespace collegium::core
