#include "text/bert_words.h"

#include <algorithm>

#include "text/utf8.h"

namespace collegium::core {

bool BertWordSplitter::run(std::string_view text, std::size_t begin, std::size_t end) {
  stopped_ = false;
  std::size_t position = begin;
  while (position < end && !stopped_) {
    const std::size_t start = position;
    const char32_t c = decode_utf8(text, position);
    const ByteSpan source{start, position};
    const std::uint8_t flags = tables_.flags(c);
    if (flags & UnicodeTables::kRemoved) continue;
    if (flags & UnicodeTables::kSpace) {
      flush_marks();
      flush_word();
    } else if (c < 0x80) {
      flush_marks();
      last_source_ = source;
      const bool alone = flags & UnicodeTables::kPunctuation;
      if (alone) flush_word();
      const bool lower = options_.lowercase && (flags & UnicodeTables::kLowers);
      append_byte(static_cast<char>(lower ? c + 32 : c), source);
      if (alone) flush_word();
    } else {
      const bool alone = options_.split_chinese_chars && (flags & UnicodeTables::kCjk);
      if (alone) {
        flush_marks();
        flush_word();
      }
      decompose(c, source);
      if (alone) {
        flush_marks();
        flush_word();
      }
    }
  }
  if (!stopped_) flush_marks();
  if (!stopped_) flush_word();
  marks_.clear();
  mark_sources_.clear();
  word_.size = word_.chars = 0;
  return !stopped_;
}

void BertWordSplitter::decompose(char32_t c, ByteSpan source) {
  if (!options_.strip_accents) {
    last_source_ = source;
    put(c);
    return;
  }
  std::array<char32_t, 4> parts;
  const std::size_t count = tables_.decompose(c, parts);
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint8_t combining_class = tables_.combining_class(parts[i]);
    if (combining_class != 0) {
      marks_.push_back({parts[i], combining_class, i == 0});
      if (i == 0) mark_sources_.push_back(source);
      continue;
    }
    flush_marks();
    if (i == 0) last_source_ = source;
    put(parts[i]);
  }
}

void BertWordSplitter::flush_marks() {
  if (marks_.empty()) return;
  const auto before = [](const Mark& a, const Mark& b) {
    return a.combining_class < b.combining_class;
  };
  if (!std::is_sorted(marks_.begin(), marks_.end(), before))
    std::stable_sort(marks_.begin(), marks_.end(), before);
  std::size_t used = 0;
  for (const Mark& mark : marks_) {
    if (mark.fresh) last_source_ = mark_sources_[used++];
    put(mark.c);
  }
  marks_.clear();
  mark_sources_.clear();
}

// One character of the decomposed text, from last_source_.
void BertWordSplitter::put(char32_t c) {
  const std::uint8_t flags = tables_.flags(c);
  if (options_.strip_accents && (flags & UnicodeTables::kMark)) return;
  if (options_.lowercase && (flags & UnicodeTables::kLowers)) {
    std::array<char32_t, 2> lowered;
    const std::size_t count = tables_.lower(c, lowered);
    for (std::size_t i = 0; i < count; ++i) put_final(lowered[i]);
  } else {
    put_final(c);
  }
}

void BertWordSplitter::put_final(char32_t c) {
  const bool alone = tables_.flags(c) & UnicodeTables::kPunctuation;
  if (alone) flush_word();
  append(c, last_source_);
  if (alone) flush_word();
}

void BertWordSplitter::append(char32_t c, ByteSpan source) {
  if (c < 0x80) {
    append_byte(static_cast<char>(c), source);
    return;
  }
  if (word_.chars == 0) word_.source.begin = source.begin;
  word_.source.end = source.end;
  if (++word_.chars > BertWord::kMaxChars) return;
  const std::size_t count = encode_utf8(c, word_.bytes.data() + word_.size);
  for (std::size_t i = 0; i < count; ++i) {
    word_.begins[word_.size + i] = source.begin;
    word_.ends[word_.size + i] = source.end;
  }
  word_.size += count;
}

inline void BertWordSplitter::append_byte(char byte, ByteSpan source) {
  if (word_.chars == 0) word_.source.begin = source.begin;
  word_.source.end = source.end;
  if (++word_.chars > BertWord::kMaxChars) return;
  word_.bytes[word_.size] = byte;
  word_.begins[word_.size] = source.begin;
  word_.ends[word_.size] = source.end;
  ++word_.size;
}

void BertWordSplitter::flush_word() {
  if (word_.chars == 0 || stopped_) return;
  stopped_ = !sink_.word(word_);
  word_.size = word_.chars = 0;
}

}  // namespace collegium::core
