#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>

#include "collegium/index/lexical.h"

struct sb_stemmer;

namespace collegium::index {

// Whether valid UTF-8 `text` has `at` between two bytes of one character.
inline bool inside_character(std::string_view text, std::size_t at) noexcept {
  return at < text.size() && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80;
}

// `bytes` with all of the characters it cuts. Stores of before WriteSet looked may have such.
core::ByteSpan whole_characters(std::string_view text, core::ByteSpan bytes) noexcept;

// Finds the words of a text as LexicalSettings describes them. One serves one thread.
class LexicalWords {
 public:
  // A term has at most this many bytes: of a longer word the end is replaced by a digest of all.
  static constexpr std::size_t kMaxTermBytes = 255;

  // `term` is valid during the call; see LexicalToken.
  struct Word {
    std::string_view term;
    core::ByteSpan bytes;
    std::uint32_t position = 0;
    bool whole_name = false;
  };
  using Sink = std::function<void(const Word&)>;

  // Pre: settings.validate() is ok.
  explicit LexicalWords(const LexicalSettings& settings);

  // Calls `sink` for every word of `text`, positions from `position` on; returns the next one.
  // Pre: valid UTF-8.
  std::uint32_t run(std::string_view text, std::uint32_t position, const Sink& sink);

 private:
  struct StemmerDeleter {
    void operator()(sb_stemmer* stemmer) const;
  };
  void add_word(std::string_view text, std::size_t begin, std::size_t end, const Sink& sink);
  void add_unspaced(std::string_view text, std::size_t begin, std::size_t end, const Sink& sink);
  // `text[begin, end)` as a term, unless it is a stop word or nothing is left of it.
  void emit(std::string_view text, std::size_t begin, std::size_t end, bool whole_name,
            const Sink& sink);
  void normalise(std::string_view word);  // into term_
  void fold_accents();                    // of term_

  bool fold_accents_;
  bool split_names_;
  std::unordered_set<std::string> stop_words_;
  std::unique_ptr<sb_stemmer, StemmerDeleter> stemmer_;
  std::uint32_t position_ = 0;
  std::string term_;
  std::u32string characters_;
};

// Of the words that are found in a fixed text and of the Unicode version: another one when this
// library, libstemmer or utf8proc has changed in what it makes of a text. Never 0.
// Pre: settings.validate() is ok.
std::uint64_t words_digest(const LexicalSettings& settings);

}  // namespace collegium::index
