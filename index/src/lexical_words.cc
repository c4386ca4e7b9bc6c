#include "lexical_words.h"

#include <libstemmer.h>
#include <utf8proc.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <utility>

namespace collegium::index {
namespace {

enum class Kind : std::uint8_t {
  kOther,
  kLetter,
  kDigit,
  kMark,      // belongs to the character before it
  kIgnored,   // joiners, soft hyphens, variation selectors: as if not there
  kUnspaced,  // of a script without spaces between words
  kPictograph
};

struct Range {
  char32_t first;
  char32_t last;
};
constexpr Range kUnspacedRanges[] = {
    {0x0E00, 0x0EFF},                                         // Thai, Lao
    {0x1000, 0x109F},                                         // Myanmar
    {0x1780, 0x17FF},                                         // Khmer
    {0x3005, 0x3007},   {0x3040, 0x30FF},  {0x3100, 0x312F},  // kana, Bopomofo
    {0x31A0, 0x31BF},   {0x31F0, 0x31FF},  {0x3400, 0x4DBF},  // Han
    {0x4E00, 0x9FFF},   {0xF900, 0xFAFF},  {0xFF66, 0xFF9D},  // kana of half width
    {0x1B000, 0x1B16F}, {0x20000, 0x3FFFF}};
constexpr Range kPictographRanges[] = {{0x2600, 0x27BF}, {0x1F000, 0x1F3FA}, {0x1F400, 0x1FAFF}};

template <std::size_t n>
bool within(const Range (&ranges)[n], char32_t c) {
  return std::any_of(std::begin(ranges), std::end(ranges),
                     [c](const Range& range) { return c >= range.first && c <= range.last; });
}

Kind kind_of_other(char32_t c) {
  const utf8proc_property_t* property = utf8proc_get_property(static_cast<utf8proc_int32_t>(c));
  if (property->ignorable) return Kind::kIgnored;
  switch (property->category) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
      return Kind::kMark;
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_NL:
      return within(kUnspacedRanges, c) ? Kind::kUnspaced : Kind::kLetter;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NO:
      return Kind::kDigit;
    case UTF8PROC_CATEGORY_SO:
      return within(kPictographRanges, c) ? Kind::kPictograph : Kind::kOther;
    default:
      return Kind::kOther;
  }
}

struct AsciiKinds {
  std::array<Kind, 128> kind{};
  constexpr AsciiKinds() {
    for (std::size_t c = 0; c < 128; ++c) {
      const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
      const bool digit = c >= '0' && c <= '9';
      kind[c] = letter ? Kind::kLetter : digit ? Kind::kDigit : Kind::kOther;
    }
  }
};
constexpr AsciiKinds kAscii;

struct Character {
  char32_t c = 0;
  std::size_t end = 0;  // of its bytes
  Kind kind = Kind::kOther;
};

// Pre: valid UTF-8, `at` on a character.
Character character_at(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) {
    return static_cast<char32_t>(static_cast<unsigned char>(text[at + i]));
  };
  const char32_t lead = byte(0);
  if (lead < 0x80) return {lead, at + 1, kAscii.kind[lead]};
  Character found;
  if (lead < 0xe0) {
    found.c = (lead & 0x1f) << 6 | (byte(1) & 0x3f);
    found.end = at + 2;
  } else if (lead < 0xf0) {
    found.c = (lead & 0x0f) << 12 | (byte(1) & 0x3f) << 6 | (byte(2) & 0x3f);
    found.end = at + 3;
  } else {
    found.c =
        (lead & 0x07) << 18 | (byte(1) & 0x3f) << 12 | (byte(2) & 0x3f) << 6 | (byte(3) & 0x3f);
    found.end = at + 4;
  }
  found.kind = kind_of_other(found.c);
  return found;
}

bool is_apostrophe(char32_t c) { return c == '\'' || c == 0x2019 || c == 0xFF07; }
bool in_word(Kind kind) {
  return kind == Kind::kLetter || kind == Kind::kDigit || kind == Kind::kMark ||
         kind == Kind::kIgnored;
}

// Where the word ends that has a letter or digit at `begin`.
std::size_t word_end(std::string_view text, std::size_t begin) {
  std::size_t end = begin;     // of what surely belongs to it
  Kind before = Kind::kOther;  // of the last letter or digit
  for (std::size_t at = begin; at < text.size();) {
    const Character here = character_at(text, at);
    if (in_word(here.kind)) {
      if (here.kind == Kind::kLetter || here.kind == Kind::kDigit) before = here.kind;
      at = end = here.end;
      continue;
    }
    if (here.c == '_') {  // belongs to it if more of the word follows
      at = here.end;
      while (at < text.size() && text[at] == '_') ++at;
      if (at == text.size()) break;
      const Kind next = character_at(text, at).kind;
      if (next != Kind::kLetter && next != Kind::kDigit) break;
      continue;
    }
    if (here.end >= text.size()) break;
    const Kind next = character_at(text, here.end).kind;
    const bool joins = is_apostrophe(here.c) ? before == Kind::kLetter && next == Kind::kLetter
                                             : (here.c == '.' || here.c == ',') &&
                                                   before == Kind::kDigit && next == Kind::kDigit;
    if (!joins) break;
    at = here.end;
  }
  return end;
}

// Without "'s".
std::size_t without_possessive(std::string_view text, std::size_t begin, std::size_t end) {
  for (const std::string_view ending : {"'s", "'S", "\xE2\x80\x99s", "\xE2\x80\x99S"})
    if (end - begin > ending.size() && text.substr(begin, end - begin).ends_with(ending))
      return end - ending.size();
  return end;
}

enum class Case : std::uint8_t { kNone, kLower, kUpper };

Case case_of(const Character& character) {
  if (character.c < 0x80)
    return character.kind != Kind::kLetter ? Case::kNone
           : character.c >= 'a'            ? Case::kLower
                                           : Case::kUpper;
  const utf8proc_category_t category =
      utf8proc_category(static_cast<utf8proc_int32_t>(character.c));
  return category == UTF8PROC_CATEGORY_LL   ? Case::kLower
         : category == UTF8PROC_CATEGORY_LU ? Case::kUpper
                                            : Case::kNone;
}

// The parts of a name: cut at '_', before the upper-case letter in "aB", and before the last of
// several in "ABc", but not in a plural like "PDFs".
std::vector<core::ByteSpan> name_parts(std::string_view text, std::size_t begin, std::size_t end) {
  std::vector<core::ByteSpan> parts;
  std::size_t part = begin;
  const auto cut = [&](std::size_t at, std::size_t next) {
    if (at > part) parts.push_back({part, at});
    part = next;
  };
  Case before = Case::kNone;
  for (std::size_t at = begin; at < end;) {
    const Character here = character_at(text, at);
    if (here.c == '_') {
      cut(at, here.end);
      before = Case::kNone;
    } else {
      const Case now = case_of(here);
      if (now == Case::kUpper && before == Case::kLower) cut(at, at);
      if (now == Case::kUpper && before == Case::kUpper && here.end < end) {
        const Character next = character_at(text, here.end);
        const bool plural = next.c == 's' && next.end == end;
        if (case_of(next) == Case::kLower && !plural) cut(at, at);
      }
      if (here.kind != Kind::kMark && here.kind != Kind::kIgnored) before = now;
    }
    at = here.end;
  }
  cut(end, end);
  return parts;
}

// `options` of utf8proc; `keep` says which of the decomposed characters stay.
template <typename Keep>
void transform(std::string& text, std::u32string& room, int options, Keep keep) {
  const auto flags = static_cast<utf8proc_option_t>(options);
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  const auto size = static_cast<utf8proc_ssize_t>(text.size());
  utf8proc_ssize_t count = 0;
  for (;;) {  // it says how much room it needs
    count = utf8proc_decompose(bytes, size, reinterpret_cast<utf8proc_int32_t*>(room.data()),
                               static_cast<utf8proc_ssize_t>(room.size()), flags);
    if (count < 0) return;  // cannot be: valid UTF-8 of a word
    if (static_cast<std::size_t>(count) <= room.size()) break;
    room.resize(static_cast<std::size_t>(count));
  }
  const auto end = room.begin() + count;
  count = std::stable_partition(room.begin(), end, keep) - room.begin();
  auto* characters = reinterpret_cast<utf8proc_int32_t*>(room.data());
  count = utf8proc_normalize_utf32(
      characters, count, static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
  text.clear();
  utf8proc_uint8_t encoded[4];
  for (utf8proc_ssize_t i = 0; i < count; ++i)
    text.append(reinterpret_cast<const char*>(encoded),
                static_cast<std::size_t>(utf8proc_encode_char(characters[i], encoded)));
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

// A term of at most kMaxTermBytes for a longer one.
void shorten(std::string& term) {
  constexpr char kDigits[] = "0123456789abcdef";
  const XXH128_hash_t digest = XXH3_128bits(term.data(), term.size());
  std::size_t end = LexicalWords::kMaxTermBytes - 33;
  while ((static_cast<unsigned char>(term[end]) & 0xc0) == 0x80) --end;
  term.resize(end);
  term.push_back('\x01');  // in no word
  for (const std::uint64_t half : {digest.high64, digest.low64})
    for (int shift = 60; shift >= 0; shift -= 4) term.push_back(kDigits[half >> shift & 15]);
}

}  // namespace

core::ByteSpan whole_characters(std::string_view text, core::ByteSpan bytes) noexcept {
  while (bytes.begin > 0 && inside_character(text, bytes.begin)) --bytes.begin;
  while (inside_character(text, bytes.end)) ++bytes.end;
  return bytes;
}

void LexicalWords::StemmerDeleter::operator()(sb_stemmer* stemmer) const {
  sb_stemmer_delete(stemmer);
}

LexicalWords::LexicalWords(const LexicalSettings& settings)
    : fold_accents_(settings.fold_accents), split_names_(settings.split_names) {
  for (const std::string& word : settings.stop_words) {
    normalise(word);
    stop_words_.insert(term_);
  }
  if (!settings.stemmer.empty()) stemmer_.reset(sb_stemmer_new(settings.stemmer.c_str(), "UTF_8"));
}

std::uint32_t LexicalWords::run(std::string_view text, std::uint32_t position, const Sink& sink) {
  position_ = position;
  for (std::size_t at = 0; at < text.size();) {
    const Character here = character_at(text, at);
    std::size_t end = here.end;
    if (here.kind == Kind::kLetter || here.kind == Kind::kDigit) {
      end = word_end(text, at);
      add_word(text, at, end, sink);
    } else if (here.kind == Kind::kUnspaced) {
      while (end < text.size()) {
        const Character next = character_at(text, end);
        if (next.kind != Kind::kUnspaced && next.kind != Kind::kMark && next.kind != Kind::kIgnored)
          break;
        end = next.end;
      }
      add_unspaced(text, at, end, sink);
    } else if (here.kind == Kind::kPictograph) {
      emit(text, at, end, false, sink);
      ++position_;
    }
    at = end;
  }
  return position_;
}

void LexicalWords::add_word(std::string_view text, std::size_t begin, std::size_t end,
                            const Sink& sink) {
  end = without_possessive(text, begin, end);
  if (split_names_) {
    const std::string_view word = text.substr(begin, end - begin);
    // Most words have nothing but their first letter in upper case.
    const bool plain = std::all_of(word.begin() + 1, word.end(), [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    });
    if (!plain) {
      const std::vector<core::ByteSpan> parts = name_parts(text, begin, end);
      if (parts.size() > 1) {
        emit(text, begin, end, true, sink);
        for (const core::ByteSpan& part : parts) {
          emit(text, part.begin, part.end, false, sink);
          ++position_;
        }
        return;
      }
    }
  }
  emit(text, begin, end, false, sink);
  ++position_;
}

void LexicalWords::add_unspaced(std::string_view text, std::size_t begin, std::size_t end,
                                const Sink& sink) {
  // Characters with their marks.
  std::size_t first = begin;
  std::size_t second = begin;  // 0 length: not seen yet
  std::size_t count = 0;
  for (std::size_t at = begin; at < end;) {
    std::size_t next = character_at(text, at).end;
    while (next < end) {
      const Character mark = character_at(text, next);
      if (mark.kind == Kind::kUnspaced) break;
      next = mark.end;
    }
    if (++count > 1) {
      first = second;
      emit(text, first, next, false, sink);
      ++position_;
    }
    second = at;
    at = next;
  }
  if (count == 1) {
    emit(text, begin, end, false, sink);
    ++position_;
  }
}

void LexicalWords::emit(std::string_view text, std::size_t begin, std::size_t end, bool whole_name,
                        const Sink& sink) {
  normalise(text.substr(begin, end - begin));
  if (term_.empty() || (!stop_words_.empty() && stop_words_.contains(term_))) return;
  if (stemmer_ != nullptr && term_.size() <= kMaxTermBytes) {
    const auto* stem =
        sb_stemmer_stem(stemmer_.get(), reinterpret_cast<const sb_symbol*>(term_.data()),
                        static_cast<int>(term_.size()));
    const auto size = static_cast<std::size_t>(sb_stemmer_length(stemmer_.get()));
    if (stem != nullptr && size > 0) term_.assign(reinterpret_cast<const char*>(stem), size);
  }
  if (fold_accents_) fold_accents();
  if (term_.empty()) return;
  if (term_.size() > kMaxTermBytes) shorten(term_);
  sink({term_, {begin, end}, position_, whole_name});
}

void LexicalWords::normalise(std::string_view word) {
  term_.assign(word);
  if (is_ascii(word)) {
    for (char& c : term_)
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c | 0x20);
    return;
  }
  transform(
      term_, characters_,
      UTF8PROC_COMPAT | UTF8PROC_DECOMPOSE | UTF8PROC_CASEFOLD | UTF8PROC_IGNORE | UTF8PROC_STABLE,
      [](char32_t& c) {
        if (c == 0x2019) c = '\'';
        return c != 0;
      });
}

void LexicalWords::fold_accents() {
  if (is_ascii(term_)) return;
  transform(term_, characters_, UTF8PROC_DECOMPOSE | UTF8PROC_STABLE,
            [](char32_t c) { return c < 0x300 || c > 0x36f; });
}

Status LexicalSettings::validate() const {
  if (!(k1 >= 0.0 && k1 <= 1000.0))
    return Status::invalid_argument("lexical settings: k1 is " + std::to_string(k1) +
                                    ", allowed are 0 to 1000");
  if (!(b >= 0.0 && b <= 1.0))
    return Status::invalid_argument("lexical settings: b is " + std::to_string(b) +
                                    ", allowed are 0 to 1");
  if (!stemmer.empty()) {
    const std::vector<std::string> known = stemmers();
    if (std::find(known.begin(), known.end(), stemmer) == known.end()) {
      std::string names;
      for (const std::string& name : known) names.append(names.empty() ? "" : ", ").append(name);
      return Status::invalid_argument("lexical settings: no stemmer '" + stemmer + "', there are " +
                                      names);
    }
  }
  for (const std::string& word : stop_words)
    COLLEGIUM_RETURN_IF_ERROR(core::check_utf8(word, "lexical settings: a stop word"));
  return {};
}

bool LexicalSettings::same_words(const LexicalSettings& other) const {
  return stemmer == other.stemmer && stop_words == other.stop_words &&
         fold_accents == other.fold_accents && split_names == other.split_names;
}

std::vector<std::string> LexicalSettings::stemmers() {
  std::vector<std::string> names;
  for (const char** name = sb_stemmer_list(); *name != nullptr; ++name) names.emplace_back(*name);
  std::sort(names.begin(), names.end());
  return names;
}

// The list of Lucene's EnglishAnalyzer.
std::vector<std::string> LexicalSettings::english_stop_words() {
  return {"a",   "an",    "and",  "are",   "as",    "at",   "be",   "but", "by",  "for",  "if",
          "in",  "into",  "is",   "it",    "no",    "not",  "of",   "on",  "or",  "such", "that",
          "the", "their", "then", "there", "these", "they", "this", "to",  "was", "will", "with"};
}

Result<std::vector<LexicalToken>> lexical_tokens(std::string_view text,
                                                 const LexicalSettings& settings) {
  COLLEGIUM_RETURN_IF_ERROR(settings.validate());
  COLLEGIUM_RETURN_IF_ERROR(core::check_utf8(text, "text"));
  std::vector<LexicalToken> tokens;
  LexicalWords words(settings);
  words.run(text, 0, [&](const LexicalWords::Word& word) {
    tokens.push_back({std::string(word.term), word.bytes, word.position, word.whole_name});
  });
  return tokens;
}

}  // namespace collegium::index
