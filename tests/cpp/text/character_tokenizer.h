#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "collegium/core/text/tokenizer.h"
#include "text/utf8.h"

namespace collegium::core {

// A folder to load a tokenizer from, gone afterwards.
class TokenizerFolder {
 public:
  TokenizerFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "collegium-XXXXXX").string();
    EXPECT_NE(::mkdtemp(name.data()), nullptr);
    path_ = name;
  }
  ~TokenizerFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TokenizerFolder(const TokenizerFolder&) = delete;
  TokenizerFolder& operator=(const TokenizerFolder&) = delete;

  TokenizerFolder& write(std::string_view name, std::string_view text) {
    std::ofstream(path_ + "/" + std::string(name), std::ios::binary) << text;
    return *this;
  }
  const std::string& path() const { return path_; }
  Result<std::shared_ptr<const Tokenizer>> load() const { return load_wordpiece(path_); }
  Status status() const { return load().status(); }

 private:
  std::string path_;
};

inline std::string utf8(char32_t c) {
  char bytes[4];
  return {bytes, encode_utf8(c, bytes)};
}

// The vocabulary of tests/oracles/make_wordpiece.py: single characters.
inline std::string character_vocabulary() {
  const auto is_space = [](char32_t c) {
    return (c >= 9 && c < 14) || (c >= 0x2000 && c < 0x200b) || c == 0x20 || c == 0x85 ||
           c == 0xa0 || c == 0x1680 || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
           c == 0x3000;
  };
  std::string vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
  for (const std::string_view prefix : {"", "##"}) {
    for (const auto& [first, last] : {std::pair<char32_t, char32_t>{0, 0x3400},
                                      {0xa000, 0xac00},
                                      {0xd7b0, 0xd800},
                                      {0xf900, 0x20000}}) {
      for (char32_t c = first; c < last; ++c) {
        if (!is_space(c)) vocabulary += std::string(prefix) + utf8(c) + "\n";
      }
    }
  }
  return vocabulary;
}

inline std::shared_ptr<const Tokenizer> character_tokenizer(std::string_view config = "{}") {
  static const std::string vocabulary = character_vocabulary();
  static std::map<std::string, std::shared_ptr<const Tokenizer>, std::less<>> made;
  if (const auto at = made.find(config); at != made.end()) return at->second;
  TokenizerFolder folder;
  const auto loaded =
      folder.write("vocab.txt", vocabulary).write("tokenizer_config.json", config).load();
  EXPECT_TRUE(loaded.ok()) << loaded.status().to_string();
  return made[std::string(config)] = loaded.ok() ? *loaded : nullptr;
}

}  // namespace collegium::core
