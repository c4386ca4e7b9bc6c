#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "collegium/core/status.h"
#include "collegium/core/text/tokenizer.h"

namespace collegium::core {

// What `add_text(Encoding&)` puts in, cut to the options' room, between a token before and one
// behind it where special tokens are asked for (-1: none). invalid_argument: no room for those.
template <typename AddText>
Result<Encoding> encode_between(std::int32_t bos_id, std::int32_t eos_id,
                                const EncodeOptions& options, AddText add_text) {
  const bool bos = options.add_special_tokens && bos_id >= 0;
  const bool eos = options.add_special_tokens && eos_id >= 0;
  if (options.max_tokens != 0 && options.max_tokens < std::size_t{bos} + std::size_t{eos})
    return Status::invalid_argument("max_tokens: " + std::to_string(options.max_tokens) +
                                    " leaves no room for the special tokens");
  Encoding encoding;
  if (bos) {
    encoding.ids.push_back(bos_id);
    encoding.offsets.push_back({0, 0});
  }
  add_text(encoding);
  const std::size_t room =
      options.max_tokens == 0 ? encoding.ids.size() : options.max_tokens - std::size_t{eos};
  if (encoding.ids.size() > room) {
    encoding.ids.resize(room);
    encoding.offsets.resize(room);
    encoding.truncated = true;
  }
  if (eos) {
    const std::size_t end = encoding.offsets.empty() ? 0 : encoding.offsets.back().end;
    encoding.ids.push_back(eos_id);
    encoding.offsets.push_back({end, end});
  }
  return encoding;
}

}  // namespace collegium::core
