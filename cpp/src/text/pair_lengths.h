#pragma once

#include <algorithm>
#include <array>
#include <cstddef>

#include "collegium/core/status.h"
#include "collegium/core/text/tokenizer.h"

namespace collegium::core {

// How many tokens of two texts stay where `room` are allowed: "longest_first" of the `tokenizers`
// package.
inline std::array<std::size_t, 2> pair_lengths(std::size_t first, std::size_t second,
                                               std::size_t room) noexcept {
  if (first <= room && second <= room - first) return {first, second};
  const bool swapped = first > second;
  std::size_t shorter = swapped ? second : first;
  std::size_t longer = shorter > room ? shorter : std::max(shorter, room - shorter);
  if (shorter > room || longer > room - shorter) {
    shorter = room / 2;
    longer = shorter + room % 2;
  }
  return swapped ? std::array{longer, shorter} : std::array{shorter, longer};
}

// invalid_argument if the `added` special tokens alone pass the limit.
inline Status check_room(const EncodeOptions& options, std::size_t added) {
  if (options.max_tokens == 0 || options.max_tokens >= added) return {};
  return Status::invalid_argument("max_tokens: " + std::to_string(options.max_tokens) +
                                  " leaves no room for the " + std::to_string(added) +
                                  " special tokens");
}

}  // namespace collegium::core
