#pragma once

#include <stdio.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/text/tokenizer.h"
#include "io/json_file.h"

namespace collegium::core {

// The CRC-32 of zlib, continued.
inline std::uint32_t crc32(std::uint32_t crc, std::span<const std::byte> bytes) {
  static const auto table = [] {
    std::array<std::uint32_t, 256> made;
    for (std::uint32_t i = 0; i < 256; ++i) {
      std::uint32_t value = i;
      for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ (value & 1 ? 0xedb88320u : 0);
      made[i] = value;
    }
    return made;
  }();
  crc = ~crc;
  for (const std::byte byte : bytes)
    crc = table[(crc ^ static_cast<std::uint32_t>(byte)) & 255] ^ crc >> 8;
  return ~crc;
}

// What tests/oracles/make_wordpiece.py calls the checksum of some texts.
inline std::uint32_t checksum(const Tokenizer& tokenizer, const std::vector<std::string>& texts) {
  std::uint32_t crc = 0;
  for (const std::string& text : texts) {
    const auto encoding = tokenizer.encode(text, {});
    if (!encoding.ok()) return 0;
    std::vector<std::uint32_t> numbers = {static_cast<std::uint32_t>(encoding->ids.size())};
    for (std::size_t i = 0; i < encoding->ids.size(); ++i) {
      numbers.push_back(static_cast<std::uint32_t>(encoding->ids[i]));
      numbers.push_back(static_cast<std::uint32_t>(encoding->offsets[i].begin));
      numbers.push_back(static_cast<std::uint32_t>(encoding->offsets[i].end));
    }
    crc = crc32(crc, std::as_bytes(std::span(numbers)));
  }
  return crc;
}

// The folder of shared retrieval data, or "" where there is none.
inline std::string shared_data() {
  std::string folder = std::string(COLLEGIUM_TEST_DATA) + "/../../../shared/data";
  if (const char* given = std::getenv("COLLEGIUM_DATA")) folder = given;
  return std::filesystem::is_directory(folder) ? folder : "";
}

// The lines of a gzip file, at most `limit`.
inline std::vector<std::string> gzip_lines(const std::string& path, std::size_t limit) {
  std::vector<std::string> lines;
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(
      ::popen(("gzip -dc '" + path + "' 2>/dev/null").c_str(), "r"), ::pclose);
  char* line = nullptr;
  std::size_t room = 0;
  for (ssize_t size = 0;
       pipe && lines.size() < limit && (size = ::getline(&line, &room, pipe.get())) > 0;)
    lines.emplace_back(line, static_cast<std::size_t>(size));
  std::free(line);
  return lines;
}

}  // namespace collegium::core
