#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "collegium/core/status.h"

namespace collegium::core {

// What a SentencePiece `.model` (a protocol buffer, ModelProto) says that changes ids. The library
// trusts its files: it follows offsets in them, overruns buffers of fixed size and ends the process
// at what it calls impossible. So the file is read here, every part of it is checked, and the
// library is given only what serialize() writes from the checked parts.
struct SentencePieceModel {
  enum class Kind : std::uint8_t { kUnigram = 1, kBpe = 2 };
  enum class PieceType : std::uint8_t {
    kNormal = 1,
    kUnknown = 2,
    kControl = 3,
    kUserDefined = 4,
    kUnused = 5,
    kByte = 6,
  };
  struct Piece {
    std::string text;
    float score = 0.0f;
    PieceType type = PieceType::kNormal;
  };

  Kind kind = Kind::kUnigram;
  std::vector<Piece> pieces;
  std::int32_t unknown = -1;  // the one piece of type kUnknown

  bool treat_whitespace_as_suffix = false;
  bool byte_fallback = false;
  std::string unk_surface = " \u2047 ";
  std::string unk_piece = "<unk>";
  std::string bos_piece = "<s>";
  std::string eos_piece = "</s>";
  std::string pad_piece = "<pad>";

  std::string charsmap;  // rules of normalisation, a trie and the strings it leads to; may be empty
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;

  std::string serialize() const;  // as ModelProto
};

// corruption, naming `where` and the part, if any check fails; not_supported for word and character
// models and for denormalisation rules.
Result<SentencePieceModel> parse_sentencepiece_model(std::span<const std::byte> bytes,
                                                     const std::string& where);

}  // namespace collegium::core
