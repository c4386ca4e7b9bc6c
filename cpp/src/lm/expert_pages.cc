#include "lm/expert_pages.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>

namespace collegium::core {
namespace {

// So long an expert is taken to stay in memory, milliseconds.
constexpr std::uint32_t kTrusted = 4000;

std::uint32_t now() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  const auto count = std::chrono::duration_cast<std::chrono::milliseconds>(since).count();
  return std::max(1u, static_cast<std::uint32_t>(count));
}

// Asks for what is not in memory, from the first such page on; whether there is any.
bool read_absent(std::span<const std::byte> bytes) noexcept {
  static const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  constexpr std::size_t kPagesAtOnce = 1024;
  std::array<unsigned char, kPagesAtOnce> there;
  auto at = reinterpret_cast<std::uintptr_t>(bytes.data()) / page * page;
  const auto end = reinterpret_cast<std::uintptr_t>(bytes.data()) + bytes.size();
  while (at < end) {
    const std::size_t pages = std::min<std::size_t>(kPagesAtOnce, (end - at + page - 1) / page);
    if (mincore(reinterpret_cast<void*>(at), pages * page, there.data()) != 0) return false;
    const auto known = there.begin() + static_cast<std::ptrdiff_t>(pages);
    const auto absent = std::find_if(there.begin(), known, [](auto in) { return (in & 1) == 0; });
    if (absent != known) {
      at += static_cast<std::size_t>(absent - there.begin()) * page;
      return madvise(reinterpret_cast<void*>(at), end - at, MADV_WILLNEED) == 0;
    }
    at += pages * page;
  }
  return false;
}

}  // namespace

ExpertPages::ExpertPages(const DecoderWeights& weights) {
  std::size_t experts = 0;
  for (const DecoderLayerWeights& layer : weights.layers) {
    first_.push_back(experts);
    experts += layer.moe.experts.size();
  }
  seen_ = std::make_unique<std::atomic<std::uint32_t>[]>(experts);
}

bool ExpertPages::want(const MoeWeights& moe, std::size_t layer,
                       std::span<const std::size_t> ids) noexcept {
  const std::uint32_t time = now();
  bool absent = false;
  for (const std::size_t id : ids) {
    std::atomic<std::uint32_t>& seen = seen_[first_[layer] + id];
    const std::uint32_t before = seen.load(std::memory_order_relaxed);
    if (before != 0 && time - before < kTrusted) continue;
    const GatedWeights& expert = moe.experts[id];
    for (const QuantizedLinear* linear : {&expert.gate, &expert.up, &expert.down})
      absent = read_absent(linear->weight_bytes()) || absent;
    seen.store(time, std::memory_order_relaxed);
  }
  return absent;
}

void ExpertPages::judge(std::size_t right, std::size_t guessed) noexcept {
  if (guessed == 0) return;
  // Of two threads at once one may be forgotten, which does no harm.
  const float share = static_cast<float>(right) / static_cast<float>(guessed);
  rightness_.store(0.9f * rightness_.load(std::memory_order_relaxed) + 0.1f * share,
                   std::memory_order_relaxed);
}

}  // namespace collegium::core
