#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "collegium/core/status.h"
#include "collegium/core/text/tokenizer.h"

namespace collegium::core {

class JsonValue;

// What is put around one text or two: the `post_processor` of a tokenizer.json.
struct PostProcessor {
  struct Item {
    std::int32_t id = -1;   // of a special token; -1: the tokens of a text
    std::int32_t text = 0;  // which: 0 the first, 1 the second
    std::int32_t type_id = 0;
    friend bool operator==(const Item&, const Item&) = default;
  };
  using Items = std::vector<Item>;

  // With special tokens and without.
  Items single = {{-1, 0, 0}};
  Items single_plain = {{-1, 0, 0}};
  Items pair = {{-1, 0, 0}, {-1, 1, 1}};
  Items pair_plain = {{-1, 0, 0}, {-1, 1, 1}};
  // White space at the ends of a token is left out of its offsets, but not the one that
  // `add_prefix_space` put there (ByteLevel and RobertaProcessing).
  bool trim_offsets = false;
  bool add_prefix_space = false;

  // corruption, not_supported by name. `value` may be null: nothing is added. Ids are not checked.
  static Result<PostProcessor> read(const JsonValue& value);

  // The ids of all special tokens.
  std::vector<std::int32_t> special_ids() const;
  // The tokens of the texts in their places, cut to what options.max_tokens leaves them. `second`
  // is null for a single text; each encoding holds ids and offsets only.
  Result<Encoding> apply(const Encoding& first, const Encoding* second,
                         const EncodeOptions& options) const;
};

}  // namespace collegium::core
