#include "text/gguf_vocabulary.h"

namespace collegium::core {
namespace {

Status damage(const Status& status) { return Status::corruption(status.message()); }

}  // namespace

Result<std::vector<std::string>> read_gguf_tokens(const GgufFile& file) {
  const auto tokens = file.get_strings("tokenizer.ggml.tokens");
  if (!tokens.ok()) return damage(tokens.status());
  return std::vector<std::string>(tokens->begin(), tokens->end());
}

Result<std::vector<BpeTokenType>> read_gguf_token_types(const GgufFile& file) {
  const auto numbers = file.get_integers("tokenizer.ggml.token_type");
  if (!numbers.ok()) return damage(numbers.status());
  std::vector<BpeTokenType> types;
  types.reserve(numbers->size());
  for (const std::int64_t type : *numbers) {
    if (type < 1 || type > 6)
      return Status::corruption(file.path() + ": unknown token type " + std::to_string(type));
    types.push_back(static_cast<BpeTokenType>(type));
  }
  return types;
}

Result<std::int32_t> read_gguf_token_id(const GgufFile& file, const std::string& key,
                                        std::size_t vocab) {
  const auto id = file.get_unsigned(key);
  if (!id.ok()) return damage(id.status());
  if (*id >= vocab)
    return Status::corruption(file.path() + ": " + key + " " + std::to_string(*id) +
                              " is outside the vocabulary of " + std::to_string(vocab));
  return static_cast<std::int32_t>(*id);
}

}  // namespace collegium::core
