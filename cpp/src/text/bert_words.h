#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "collegium/core/text/tokenizer.h"
#include "text/unicode.h"

namespace collegium::core {

struct BertWordOptions {
  bool lowercase = true;
  bool strip_accents = true;
  bool split_chinese_chars = true;
};

// A word of normalised text and where in the original its bytes come from.
struct BertWord {
  static constexpr std::size_t kMaxChars = 100;  // WordPiece's max_input_chars_per_word

  std::size_t size = 0;   // bytes
  std::size_t chars = 0;  // may pass kMaxChars; the bytes beyond are not kept
  ByteSpan source;        // the whole word
  // Per byte, (size,): the byte, and begin and end of the original character. Not initialised.
  std::array<char, kMaxChars * 4> bytes;
  std::array<std::size_t, kMaxChars * 4> begins;
  std::array<std::size_t, kMaxChars * 4> ends;

  std::string_view text() const noexcept { return {bytes.data(), size}; }
  bool too_long() const noexcept { return chars > kMaxChars; }
};

// What BERT does before WordPiece, as the `tokenizers` package does it (BertNormalizer, then
// BertPreTokenizer): drops control characters, sets ideographs apart, decomposes and drops accents,
// lowers, and cuts at white space and around punctuation. Streams: memory does not grow with the
// text but for a run of combining marks. One splitter serves one thread.
class BertWordSplitter {
 public:
  // Called for each word in order; false stops.
  class Sink {
   public:
    virtual ~Sink() = default;
    virtual bool word(const BertWord& word) = 0;
  };

  BertWordSplitter(const BertWordOptions& options, Sink& sink)
      : options_(options), sink_(sink), tables_(UnicodeTables::get()) {}

  // Words of text[begin, end), sources relative to `text`. Pre: valid UTF-8, both on characters.
  // False if the sink stopped.
  bool run(std::string_view text, std::size_t begin, std::size_t end);

 private:
  struct Mark {
    char32_t c;
    std::uint8_t combining_class;
    bool fresh;  // the first of what an original character became
  };
  void decompose(char32_t c, ByteSpan source);
  void flush_marks();
  void put(char32_t c);
  void put_final(char32_t c);
  void append(char32_t c, ByteSpan source);
  void append_byte(char byte, ByteSpan source);
  void flush_word();

  BertWordOptions options_;
  Sink& sink_;
  const UnicodeTables& tables_;
  bool stopped_ = false;
  BertWord word_;
  // Combining marks since the last character that is none, to be put in canonical order; the
  // original characters not yet used up; and the one used last. `tokenizers` moves characters when
  // it orders marks but leaves their places where they were, so offsets are given out in order.
  std::vector<Mark> marks_;
  std::vector<ByteSpan> mark_sources_;
  ByteSpan last_source_;
};

}  // namespace collegium::core
