#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/status.h"
#include "text/normalizer.h"

namespace collegium::core {

// SentencePiece's compiled replacements, as the `tokenizers` package applies them: to a grapheme
// cluster of fewer than 6 bytes by its shortest prefix that has one, else to each character.
class PrecompiledCharsmap final : public Normalizer::Step {
 public:
  // `base64` of: u32 bytes of the trie, the trie (a double array of u32), replacements that end in
  // 0; little-endian. corruption; `where` starts the message.
  static Result<std::shared_ptr<const PrecompiledCharsmap>> create(std::string_view base64,
                                                                   const std::string& where);
  void apply(AlignedText& text) const override;

 private:
  // True, and what stands for `text`, if some prefix of it has a replacement.
  bool look_up(std::string_view text, std::string_view& replacement) const noexcept;

  std::vector<std::uint32_t> trie_;
  std::string replacements_;
};

}  // namespace collegium::core
