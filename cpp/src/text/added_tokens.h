#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/status.h"
#include "text/token_trie.h"

namespace collegium::core {

class JsonValue;

// A token that is found in a text as it stands, before the model sees the rest.
struct AddedToken {
  std::string content;
  std::int32_t id = -1;
  bool special = false;
  bool normalized = false;   // looked for in the normalised text, itself normalised
  bool single_word = false;  // only where no letter or digit touches it
  bool lstrip = false;       // takes the white space before it along
  bool rstrip = false;       // and behind it

  bool plain() const noexcept { return !normalized && !single_word && !lstrip && !rstrip; }
};

// The `added_tokens` of a tokenizer.json; null: none. corruption, not_supported by name.
Result<std::vector<AddedToken>> read_added_tokens(const JsonValue& value);

// Finds added tokens in text: leftmost, of those the longest, as the `tokenizers` package does.
class AddedTokenFinder {
 public:
  AddedTokenFinder() = default;
  // `contents` are what to look for, one for each of `tokens`; of equal ones the first counts.
  AddedTokenFinder(std::vector<AddedToken> tokens, const std::vector<std::string>& contents);

  struct Part {
    std::size_t begin;
    std::size_t end;
    std::int32_t id;  // -1: what is between tokens; never empty
  };
  // All of `text` in order. Pre: valid UTF-8.
  std::vector<Part> find(std::string_view text) const;

 private:
  std::vector<AddedToken> tokens_;
  TokenTrie trie_;  // gives positions in tokens_
};

}  // namespace collegium::core
