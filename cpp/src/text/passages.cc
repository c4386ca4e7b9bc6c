#include "collegium/core/text/passages.h"

#include <algorithm>
#include <utility>

#include "text/utf8.h"
#include "text/white_space.h"

namespace collegium::core {
namespace {

constexpr std::size_t kMinTokens = 16;
constexpr std::size_t kMaxSectionBytes = 200;

// What is never cut while it fits: a sentence, and of one too long what is left of it.
struct Unit {
  ByteSpan bytes;
  std::size_t first_token = 0;  // tokens [first_token, end_token) begin in it
  std::size_t end_token = 0;
  bool begins_paragraph = false;
};

// Units [first, end) under one heading.
struct Section {
  std::string heading;
  std::size_t first = 0;
  std::size_t end = 0;
};

Status check_options(const PassageOptions& options) {
  if (options.max_tokens >= kMinTokens) return {};
  return Status::invalid_argument("max_tokens: " + std::to_string(options.max_tokens) +
                                  " is below " + std::to_string(kMinTokens));
}

// Where a mark of CommonMark's may begin in `line`: behind at most three spaces. A line indented
// further, or by anything else, is code or text: npos.
std::size_t mark_of(std::string_view line) {
  const std::size_t indent = std::min(line.find_first_not_of(' '), line.size());
  return indent <= 3 ? indent : std::string_view::npos;
}

// The heading of a line like "## Dosage ##", or nothing. `line` ends without white space.
bool read_heading(std::string_view line, std::string& heading) {
  const std::size_t mark = mark_of(line);
  if (mark == std::string_view::npos) return false;
  line.remove_prefix(mark);
  const std::size_t hashes = std::min(line.find_first_not_of('#'), line.size());
  if (hashes == 0 || hashes > 6 || hashes == line.size()) return false;
  if (line[hashes] != ' ' && line[hashes] != '\t') return false;
  std::size_t begin = skip_space(line, hashes, line.size());
  std::size_t end = line.size();
  while (end > begin && line[end - 1] == '#') --end;
  end = trim_end(line, begin, end);
  if (end - begin > kMaxSectionBytes) {
    end = begin + kMaxSectionBytes;
    while (is_utf8_continuation(line[end])) --end;
  }
  heading = line.substr(begin, end - begin);
  return true;
}

// Follows the fenced blocks of code ("```", "~~~") from line to line.
class Fence {
 public:
  // True if `line`, which ends without white space, opens or closes a block.
  bool read(std::string_view line) {
    line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
    const char mark = line.empty() ? '\0' : line[0];
    const std::size_t length = std::min(line.find_first_not_of(mark), line.size());
    if ((mark != '`' && mark != '~') || length < 3) return false;
    if (open()) {
      if (mark != mark_ || length < length_ || length != line.size()) return false;
      length_ = 0;
      return true;
    }
    // "```like this```" is code within a line.
    if (mark == '`' && line.find('`', length) != std::string_view::npos) return false;
    mark_ = mark;
    length_ = length;
    return true;
  }
  bool open() const { return length_ > 0; }

 private:
  char mark_ = '\0';
  std::size_t length_ = 0;  // of the fence that opened the block; 0: outside
};

class PassageSplitter {
 public:
  PassageSplitter(std::string_view title, std::string_view text, const Tokenizer& tokenizer,
                  std::size_t max_tokens)
      : title_(title), text_(text), tokenizer_(tokenizer), max_tokens_(max_tokens) {}

  Result<std::vector<PassageSpan>> run() {
    COLLEGIUM_ASSIGN_OR_RETURN(const Encoding around, tokenizer_.encode({}, {}));
    COLLEGIUM_ASSIGN_OR_RETURN(const Encoding title,
                               tokenizer_.encode(title_, {.add_special_tokens = false}));
    COLLEGIUM_ASSIGN_OR_RETURN(Encoding all,
                               tokenizer_.encode(text_, {.add_special_tokens = false}));
    const std::size_t taken = around.ids.size() + title.ids.size();
    budget_ = taken < max_tokens_ ? max_tokens_ - taken : 1;
    tokens_ = std::move(all.offsets);
    for (ByteSpan& token : tokens_) {
      // Of a character that is several byte-level tokens, each is taken for the whole.
      while (token.begin > 0 && is_utf8_continuation(text_[token.begin])) --token.begin;
      while (token.end < text_.size() && is_utf8_continuation(text_[token.end])) ++token.end;
      // SentencePiece's tokens begin at the space before a word.
      token.begin = skip_space(text_, token.begin, token.end);
    }

    find_units();
    count_tokens();
    for (const Section& section : sections_) COLLEGIUM_RETURN_IF_ERROR(pack(section));
    return std::move(passages_);
  }

 private:
  // Sections, paragraphs within them, sentences within those.
  void find_units() {
    sections_.emplace_back();
    Fence fence;                // within one a '#' is no heading
    bool body = false;          // the section has more than its heading
    std::size_t paragraph = 0;  // where the open one begins
    for (std::size_t begin = 0; begin < text_.size();) {
      const std::size_t end = std::min(text_.find('\n', begin), text_.size());
      const std::string_view line = text_.substr(begin, trim_end(text_, begin, end) - begin);
      const std::size_t after = std::min(end + 1, text_.size());
      std::string heading;
      if (line.empty()) {
        add_paragraph(paragraph, begin);
        paragraph = after;
      } else if (fence.read(line)) {
        body = true;
      } else if (!fence.open() && read_heading(line, heading)) {
        add_paragraph(paragraph, begin);
        if (body) {
          sections_.back().end = units_.size();
          sections_.push_back({"", units_.size(), 0});
        }
        sections_.back().heading = std::move(heading);
        body = false;
        add_paragraph(begin, end);
        paragraph = after;
      } else {
        body = true;
      }
      begin = after;
    }
    add_paragraph(paragraph, text_.size());
    sections_.back().end = units_.size();
  }

  void add_paragraph(std::size_t begin, std::size_t end) {
    bool first = true;
    for (const ByteSpan span : split_sentences(text_.substr(begin, end - begin))) {
      units_.push_back({{begin + span.begin, begin + span.end}, 0, 0, first});
      first = false;
    }
  }

  void count_tokens() {
    std::size_t token = 0;
    for (Unit& unit : units_) {
      unit.first_token = token;
      while (token < tokens_.size() && tokens_[token].begin < unit.bytes.end) ++token;
      unit.end_token = token;
    }
  }

  // Fills one passage after the other with the units of a section.
  Status pack(const Section& section) {
    for (std::size_t first = section.first; first < section.end;) {
      std::size_t end = first;
      while (end < section.end && units_[end].end_token - units_[first].first_token <= budget_)
        ++end;
      if (end == first) {
        COLLEGIUM_RETURN_IF_ERROR(cut_unit(units_[first], section.heading));
        if (units_[first].bytes.begin == units_[first].bytes.end) ++first;
        continue;
      }
      // Rather at a paragraph than at a sentence, if that leaves the passage at least half full.
      std::size_t cut = end;
      while (cut > first && cut < section.end && !units_[cut].begins_paragraph) --cut;
      if (cut == first || 2 * (units_[cut - 1].end_token - units_[first].first_token) < budget_)
        cut = end;
      COLLEGIUM_RETURN_IF_ERROR(
          emit({units_[first].bytes.begin, units_[cut - 1].bytes.end}, section.heading));
      first = cut;
    }
    return {};
  }

  // Takes a passage off the front of a unit that is too long for one; the unit keeps the rest.
  Status cut_unit(Unit& unit, const std::string& heading) {
    std::size_t token = unit.first_token + budget_;
    std::size_t cut = tokens_[token].begin;
    std::size_t space = cut;  // the end of the last word before the cut
    while (space > unit.bytes.begin) {
      std::size_t next = previous_character(text_, space);
      const std::size_t character = next;
      if (is_white_space(decode_utf8(text_, next))) break;
      space = character;
    }
    if (space > unit.bytes.begin) {
      cut = space;
    } else {
      // A word that alone is too long: between two characters, of which one may be many tokens.
      while (token > unit.first_token && tokens_[token].begin < tokens_[token - 1].end) --token;
      if (tokens_[token].begin <= unit.bytes.begin) {
        token = unit.first_token;
        while (token < unit.end_token && tokens_[token].begin <= unit.bytes.begin) ++token;
      }
      cut = token < unit.end_token ? tokens_[token].begin : unit.bytes.end;
    }
    const ByteSpan head{unit.bytes.begin, trim_end(text_, unit.bytes.begin, cut)};
    unit.bytes.begin = skip_space(text_, cut, unit.bytes.end);
    while (unit.first_token < unit.end_token && tokens_[unit.first_token].begin < unit.bytes.begin)
      ++unit.first_token;
    return emit(head, heading);
  }

  // Adds a passage once its tokens are counted as they will be read. The count differs from the
  // sum by units only where a cut makes other tokens; then the passage is halved.
  Status emit(ByteSpan span, const std::string& heading) {
    const std::string input =
        passage_input(title_, text_.substr(span.begin, span.end - span.begin));
    COLLEGIUM_ASSIGN_OR_RETURN(const Encoding encoding,
                               tokenizer_.encode(input, {.max_tokens = max_tokens_}));
    if (!encoding.truncated) {
      passages_.push_back({span, heading});
      return {};
    }
    const std::size_t cut = middle(span);
    if (cut == span.end) {  // one character
      passages_.push_back({span, heading});
      return {};
    }
    COLLEGIUM_RETURN_IF_ERROR(emit({span.begin, trim_end(text_, span.begin, cut)}, heading));
    return emit({skip_space(text_, cut, span.end), span.end}, heading);
  }

  // The white space nearest before the middle of a passage, else behind it, else the character
  // there; span.end if there is only one.
  std::size_t middle(ByteSpan span) const {
    std::size_t half = span.begin + (span.end - span.begin) / 2;
    while (half > span.begin && is_utf8_continuation(text_[half])) --half;
    for (std::size_t at = half; at > span.begin;) {
      std::size_t next = at = previous_character(text_, at);
      if (at > span.begin && is_white_space(decode_utf8(text_, next))) return at;
    }
    for (std::size_t at = half; at < span.end;) {
      std::size_t next = at;
      if (at > span.begin && is_white_space(decode_utf8(text_, next))) return at;
      at += utf8_length(text_[at]);
    }
    return half > span.begin ? half : span.begin + utf8_length(text_[span.begin]);
  }

  std::string_view title_;
  std::string_view text_;
  const Tokenizer& tokenizer_;
  std::size_t max_tokens_;
  std::size_t budget_ = 1;  // tokens a passage has besides title and special tokens
  std::vector<ByteSpan> tokens_;
  std::vector<Unit> units_;
  std::vector<Section> sections_;
  std::vector<PassageSpan> passages_;
};

}  // namespace

bool is_blank(std::string_view text) noexcept {
  return skip_space(text, 0, text.size()) == text.size();
}

std::string passage_input(std::string_view title, std::string_view passage) {
  if (title.empty()) return std::string(passage);
  std::string input;
  input.reserve(title.size() + 1 + passage.size());
  return input.append(title).append(" ").append(passage);
}

Result<std::string> passage_title(std::string_view title, const Tokenizer& tokenizer,
                                  const PassageOptions& options) {
  COLLEGIUM_RETURN_IF_ERROR(check_options(options));
  COLLEGIUM_RETURN_IF_ERROR(check_utf8(title, "title"));
  title.remove_prefix(skip_space(title, 0, title.size()));
  title = title.substr(0, trim_end(title, 0, title.size()));
  const std::size_t limit = options.max_tokens / 4;
  for (;;) {
    COLLEGIUM_ASSIGN_OR_RETURN(
        const Encoding encoding,
        tokenizer.encode(title, {.add_special_tokens = false, .max_tokens = limit + 1}));
    if (encoding.ids.size() <= limit) return std::string(title);
    // At most to where the first token too many begins; less than it was, whatever the offsets.
    const std::size_t most = std::min(encoding.offsets[limit].begin, title.size() - 1);
    std::size_t cut = most;
    while (cut > 0 && is_utf8_continuation(title[cut])) --cut;
    std::size_t word = cut;
    while (word > 0) {
      std::size_t next = word;
      if (is_white_space(decode_utf8(title, next))) break;
      word = previous_character(title, word);
    }
    title = title.substr(0, trim_end(title, 0, word > 0 ? word : cut));
  }
}

Result<std::vector<PassageSpan>> split_passages(std::string_view title, std::string_view text,
                                                const Tokenizer& tokenizer,
                                                const PassageOptions& options) {
  COLLEGIUM_ASSIGN_OR_RETURN(const std::string short_title,
                             passage_title(title, tokenizer, options));
  COLLEGIUM_RETURN_IF_ERROR(check_utf8(text, "text"));
  return PassageSplitter(short_title, text, tokenizer, options.max_tokens).run();
}

}  // namespace collegium::core
