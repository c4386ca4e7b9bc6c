#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "collegium/core/status.h"
#include "collegium/core/text/tokenizer.h"

namespace collegium::core {

// How text is cut into pieces that merges never cross; named as `tokenizer.ggml.pre` names it.
enum class BpePattern {
  // 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
  kGpt2,
  // Every digit alone first, then kGpt2 between them. This is what the model was trained with and
  // what llama.cpp does for "smollm".
  kSmolLm,
};

// not_supported, by name, for a pattern that is not run here.
Result<BpePattern> bpe_pattern(std::string_view name);

// The pieces of `text` in order; together they cover it. `text` must be valid UTF-8.
// Linear in the text.
std::vector<ByteSpan> split_bpe_pieces(std::string_view text, BpePattern pattern);

}  // namespace collegium::core
