#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace collegium::core {

struct BpeCharacter {
  std::uint32_t code_point;
  std::uint8_t classes;  // of bpe_tables.h
  std::size_t end;       // byte offset past it
};

std::uint8_t bpe_classes_of(std::uint32_t code_point);
// Reads the character at `begin` of valid UTF-8.
BpeCharacter bpe_character_at(std::string_view text, std::size_t begin);

}  // namespace collegium::core
