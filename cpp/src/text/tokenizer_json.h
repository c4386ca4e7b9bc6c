#pragma once

#include <memory>
#include <optional>
#include <string>

#include "collegium/core/text/tokenizer.h"

namespace collegium::core {

// What a tokenizer.json says of things that a tokenizer_config.json may say too; none where it has
// no part that could.
struct TokenizerSettings {
  std::optional<bool> lowercase;      // of BertNormalizer
  std::optional<bool> strip_accents;  // the same, its default worked out
  std::optional<bool> split_chinese_chars;
  std::optional<bool> add_prefix_space;  // of ByteLevel or Metaspace
};

// load_tokenizer_json(), which see; `settings` may be null.
Result<std::shared_ptr<const Tokenizer>> read_tokenizer_json(const std::string& path,
                                                             TokenizerSettings* settings);

}  // namespace collegium::core
