#include "text/pre_tokenizer.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "text/bpe_pretokenizer.h"
#include "text/byte_alphabet.h"
#include "text/json_fields.h"
#include "text/unicode.h"
#include "text/white_space.h"

namespace collegium::core {
namespace {

constexpr std::size_t kMaxSteps = 100;
constexpr int kMaxDepth = 8;

template <typename Function>
class FunctionStep final : public PreTokenizer::Step {
 public:
  explicit FunctionStep(Function function) : function_(std::move(function)) {}
  void apply(Pieces& pieces) const override { function_(pieces); }

 private:
  Function function_;
};

template <typename Function>
std::shared_ptr<const PreTokenizer::Step> make_step(Function function) {
  return std::make_shared<FunctionStep<Function>>(std::move(function));
}

// Cuts every piece that is no token. `cut(begin, end, push)` calls push(begin, end) for the parts.
template <typename Cut>
void cut_pieces(Pieces& pieces, Cut cut) {
  std::vector<Piece> made;
  made.reserve(pieces.list.size());
  const auto push = [&made](std::size_t begin, std::size_t end) {
    if (begin < end) made.push_back({begin, end, -1});
  };
  for (const Piece& piece : pieces.list) {
    if (piece.token >= 0) {
      made.push_back(piece);
    } else {
      cut(piece.begin, piece.end, push);
    }
  }
  pieces.list.swap(made);
}

// Writes every piece anew: `write(piece, out, push)` appends to `out` and calls push(begin, end)
// for the parts of it. Tokens are taken as they are.
template <typename Write>
void rewrite_pieces(Pieces& pieces, Write write) {
  Pieces made;
  made.text.origin = pieces.text.origin;
  made.text.text.reserve(pieces.text.text.size() + pieces.text.text.size() / 8);
  made.text.sources.reserve(pieces.text.text.size() + pieces.text.text.size() / 8);
  made.list.reserve(pieces.list.size());
  const auto push = [&made](std::size_t begin, std::size_t end) {
    if (begin < end) made.list.push_back({begin, end, -1});
  };
  for (const Piece& piece : pieces.list) {
    if (piece.token >= 0) {
      const std::size_t begin = made.text.text.size();
      made.text.append(pieces.text, piece.begin, piece.end);
      made.list.push_back({begin, made.text.text.size(), piece.token});
    } else {
      write(piece, made.text, push);
    }
  }
  std::swap(pieces, made);
}

// What becomes of the parts that a pattern matches.
enum class Behaviour { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

// Cuts where `matches(c)`; each matching character is a part of its own.
template <typename Matches>
void cut_at(std::string_view text, std::size_t begin, std::size_t end, Behaviour behaviour,
            Matches matches, const auto& push) {
  std::size_t part = begin;  // what is not pushed yet starts here
  bool after_match = false;
  for (std::size_t at = begin; at < end;) {
    const std::size_t first = at;
    const bool match = matches(decode_utf8(text, at));
    switch (behaviour) {
      case Behaviour::kRemoved:
      case Behaviour::kIsolated:
        if (!match) break;
        push(part, first);
        if (behaviour == Behaviour::kIsolated) push(first, at);
        part = at;
        break;
      case Behaviour::kMergedWithPrevious:
        if (match && !after_match) {
          push(part, at);
          part = at;
        } else if (match) {
          push(first, at);
          part = at;
        }
        break;
      case Behaviour::kMergedWithNext:
        if (!match) break;
        push(part, first);
        part = first;
        break;
      case Behaviour::kContiguous:
        if (match == after_match) break;
        push(part, first);
        part = first;
        break;
    }
    after_match = match;
  }
  push(part, end);
}

void byte_level(Pieces& pieces, bool add_prefix_space, std::optional<BpePattern> pattern) {
  const ByteAlphabet& alphabet = byte_alphabet();
  std::array<std::array<char, 2>, 256> spelled{};
  std::array<std::uint8_t, 256> sizes{};
  for (std::size_t byte = 0; byte < 256; ++byte)
    sizes[byte] =
        static_cast<std::uint8_t>(encode_utf8(alphabet.code_point_of[byte], spelled[byte].data()));
  std::string prefixed;
  std::vector<ByteSpan> parts;
  const std::string_view text = pieces.text.text;
  const std::vector<AlignedText::Source>& sources = pieces.text.sources;
  rewrite_pieces(pieces, [&](const Piece& piece, AlignedText& out, const auto& push) {
    // With the space the piece is copied.
    const bool add_space = add_prefix_space && text[piece.begin] != ' ';
    std::string_view in = text.substr(0, piece.end);
    std::size_t begin = piece.begin;
    if (add_space) {
      prefixed.assign(1, ' ').append(text, piece.begin, piece.end - piece.begin);
      in = prefixed;
      begin = 0;
    }
    parts.clear();
    if (pattern) {
      append_bpe_pieces(in, begin, in.size(), *pattern, parts);
    } else {
      parts.push_back({begin, in.size()});
    }
    const auto size_of = [&](char c) { return sizes[static_cast<unsigned char>(c)]; };
    std::size_t end = out.text.size();
    for (const char c : in.substr(begin)) end += size_of(c);
    std::size_t to = out.text.size();
    out.text.resize(end);
    out.sources.resize(end);
    for (const ByteSpan part : parts) {
      const std::size_t start = to;
      for (std::size_t at = part.begin; at < part.end; ++at) {
        const auto byte = static_cast<unsigned char>(in[at]);
        // The added space comes from the piece's first character.
        const std::size_t from = add_space ? piece.begin + (at == 0 ? 0 : at - 1) : at;
        for (std::size_t i = 0; i < sizes[byte]; ++i, ++to) {
          out.text[to] = spelled[byte][i];
          out.sources[to] = sources[from];
        }
      }
      push(start, to);
    }
  });
}

enum class PrependScheme { kNever, kFirst, kAlways };

void metaspace(Pieces& pieces, char32_t replacement, PrependScheme scheme, bool split) {
  std::array<char, 4> bytes;
  const std::string_view mark(bytes.data(), encode_utf8(replacement, bytes.data()));
  const std::string_view text = pieces.text.text;
  const std::vector<AlignedText::Source>& sources = pieces.text.sources;
  rewrite_pieces(pieces, [&](const Piece& piece, AlignedText& out, const auto& push) {
    const std::size_t start = out.text.size();
    const bool marked = text[piece.begin] == ' ' ||
                        text.substr(piece.begin, piece.end - piece.begin).starts_with(mark);
    const bool first = sources[piece.begin].begin == 0;
    if (!marked && (scheme == PrependScheme::kAlways || (scheme == PrependScheme::kFirst && first)))
      out.append(mark, sources[piece.begin]);
    for (std::size_t at = piece.begin; at < piece.end; ++at)
      out.append(text[at] == ' ' ? mark : text.substr(at, 1), sources[at]);
    if (!split) {
      push(start, out.text.size());
      return;
    }
    cut_at(
        out.text, start, out.text.size(), Behaviour::kMergedWithNext,
        [&](char32_t c) { return c == replacement; }, push);
  });
}

Result<std::shared_ptr<const PreTokenizer::Step>> read_metaspace(const JsonValue& value) {
  COLLEGIUM_RETURN_IF_ERROR(only_fields(
      value, {"type", "replacement", "add_prefix_space", "prepend_scheme", "split", "str_rep"}));
  COLLEGIUM_ASSIGN_OR_RETURN(const std::string mark, required_string(value, "replacement"));
  std::size_t size = 0;
  const char32_t replacement = mark.empty() ? 0 : decode_utf8(mark, size);
  if (mark.empty() || size != mark.size())
    return Status::corruption(value.where() + ": replacement " + in_quotes(mark) +
                              " must be one character");
  COLLEGIUM_ASSIGN_OR_RETURN(const std::string name, value.string_or("prepend_scheme", "always"));
  COLLEGIUM_ASSIGN_OR_RETURN(const bool prefix, value.bool_or("add_prefix_space", true));
  COLLEGIUM_ASSIGN_OR_RETURN(const bool split, value.bool_or("split", true));
  PrependScheme scheme = PrependScheme::kAlways;
  if (name == "never") {
    scheme = PrependScheme::kNever;
  } else if (name == "first") {
    scheme = PrependScheme::kFirst;
  } else if (name != "always") {
    return Status::corruption(value.where() + ": prepend_scheme " + in_quotes(name) +
                              " must be 'always', 'first' or 'never'");
  }
  if (!prefix && scheme != PrependScheme::kNever)
    return Status::corruption(value.where() + ": add_prefix_space false disagrees with " +
                              "prepend_scheme " + in_quotes(name));
  return make_step([replacement, scheme, split](Pieces& pieces) {
    metaspace(pieces, replacement, scheme, split);
  });
}

Result<Behaviour> read_behaviour(const JsonValue& value) {
  COLLEGIUM_ASSIGN_OR_RETURN(const std::string name, required_string(value, "behavior"));
  for (const auto& [known, behaviour] :
       {std::pair("Removed", Behaviour::kRemoved), std::pair("Isolated", Behaviour::kIsolated),
        std::pair("MergedWithPrevious", Behaviour::kMergedWithPrevious),
        std::pair("MergedWithNext", Behaviour::kMergedWithNext),
        std::pair("Contiguous", Behaviour::kContiguous)})
    if (name == known) return behaviour;
  return kind_not_run(value, "behavior", name);
}

Result<std::shared_ptr<const PreTokenizer::Step>> read_split(const JsonValue& value) {
  COLLEGIUM_RETURN_IF_ERROR(only_fields(value, {"type", "pattern", "behavior", "invert"}));
  COLLEGIUM_ASSIGN_OR_RETURN(const Behaviour behaviour, read_behaviour(value));
  COLLEGIUM_ASSIGN_OR_RETURN(const bool invert, required_bool(value, "invert"));
  if (invert) return Status::not_supported(value.where() + ": invert true is not run here");
  COLLEGIUM_ASSIGN_OR_RETURN(const JsonValue pattern, required(value, "pattern"));
  COLLEGIUM_RETURN_IF_ERROR(only_fields(pattern, {"Regex", "String"}));
  if (pattern.has("String")) {
    COLLEGIUM_ASSIGN_OR_RETURN(const std::string wanted, pattern.get_string("String"));
    std::size_t size = 0;
    const char32_t character = wanted.empty() ? 0 : decode_utf8(wanted, size);
    if (wanted.empty() || size != wanted.size()) return kind_not_run(pattern, "pattern", wanted);
    return make_step([behaviour, character](Pieces& pieces) {
      const std::string_view text = pieces.text.text;
      cut_pieces(pieces, [&](std::size_t begin, std::size_t end, const auto& push) {
        cut_at(
            text, begin, end, behaviour, [&](char32_t c) { return c == character; }, push);
      });
    });
  }
  COLLEGIUM_ASSIGN_OR_RETURN(const std::string regex, required_string(pattern, "Regex"));
  const auto known = bpe_pattern_of_regex(regex);
  if (!known) return kind_not_run(pattern, "regular expression", regex);
  if (behaviour != Behaviour::kIsolated)
    return Status::not_supported(value.where() + ": this pattern is run with behavior 'Isolated'");
  return make_step([pattern = *known](Pieces& pieces) {
    std::vector<ByteSpan> parts;
    const std::string_view text = pieces.text.text;
    cut_pieces(pieces, [&](std::size_t begin, std::size_t end, const auto& push) {
      parts.clear();
      append_bpe_pieces(text, begin, end, pattern, parts);
      for (const ByteSpan part : parts) push(part.begin, part.end);
    });
  });
}

template <typename Matches>
std::shared_ptr<const PreTokenizer::Step> make_cut(Behaviour behaviour, Matches matches) {
  return make_step([behaviour, matches](Pieces& pieces) {
    const std::string_view text = pieces.text.text;
    cut_pieces(pieces, [&](std::size_t begin, std::size_t end, const auto& push) {
      cut_at(text, begin, end, behaviour, matches, push);
    });
  });
}

bool is_punctuation(char32_t c) {
  return UnicodeTables::get().flags(c) & UnicodeTables::kPunctuation;
}

}  // namespace

Status PreTokenizer::once(const JsonValue& value, bool& seen) {
  if (seen) return Status::not_supported(value.where() + ": is not run here a second time");
  seen = true;
  return {};
}

Status PreTokenizer::add(const JsonValue& value, int depth) {
  COLLEGIUM_ASSIGN_OR_RETURN(const std::string type, required_string(value, "type"));
  if (steps_.size() >= kMaxSteps || depth == kMaxDepth)
    return Status::not_supported(value.where() + ": has more than " + std::to_string(kMaxSteps) +
                                 " steps or is nested more than " + std::to_string(kMaxDepth) +
                                 " deep");
  if (type == "ByteLevel") {
    COLLEGIUM_RETURN_IF_ERROR(once(value, byte_level_));
    COLLEGIUM_RETURN_IF_ERROR(
        only_fields(value, {"type", "add_prefix_space", "trim_offsets", "use_regex"}));
    COLLEGIUM_ASSIGN_OR_RETURN(const bool prefix, required_bool(value, "add_prefix_space"));
    COLLEGIUM_ASSIGN_OR_RETURN(const bool regex, value.bool_or("use_regex", true));
    const auto pattern = regex ? std::optional(BpePattern::kGpt2) : std::nullopt;
    steps_.push_back(
        make_step([prefix, pattern](Pieces& pieces) { byte_level(pieces, prefix, pattern); }));
  } else if (type == "Digits") {
    COLLEGIUM_RETURN_IF_ERROR(only_fields(value, {"type", "individual_digits"}));
    COLLEGIUM_ASSIGN_OR_RETURN(const bool single, required_bool(value, "individual_digits"));
    steps_.push_back(
        make_cut(single ? Behaviour::kIsolated : Behaviour::kContiguous, is_bpe_digit));
  } else if (type == "WhitespaceSplit") {
    COLLEGIUM_RETURN_IF_ERROR(only_fields(value, {"type"}));
    steps_.push_back(make_cut(Behaviour::kRemoved, is_white_space));
  } else if (type == "Punctuation") {
    COLLEGIUM_RETURN_IF_ERROR(only_fields(value, {"type", "behavior"}));
    Behaviour behaviour = Behaviour::kIsolated;
    if (value.has("behavior")) {
      COLLEGIUM_ASSIGN_OR_RETURN(behaviour, read_behaviour(value));
    }
    steps_.push_back(make_cut(behaviour, is_punctuation));
  } else if (type == "BertPreTokenizer") {
    COLLEGIUM_RETURN_IF_ERROR(only_fields(value, {"type"}));
    steps_.push_back(make_cut(Behaviour::kRemoved, is_white_space));
    steps_.push_back(make_cut(Behaviour::kIsolated, is_punctuation));
  } else if (type == "Metaspace" || type == "Split") {
    if (type == "Metaspace") COLLEGIUM_RETURN_IF_ERROR(once(value, metaspace_));
    COLLEGIUM_ASSIGN_OR_RETURN(auto step,
                               type == "Split" ? read_split(value) : read_metaspace(value));
    steps_.push_back(std::move(step));
  } else if (type == "Sequence") {
    COLLEGIUM_RETURN_IF_ERROR(only_fields(value, {"type", "pretokenizers"}));
    COLLEGIUM_ASSIGN_OR_RETURN(const JsonValue list, required(value, "pretokenizers"));
    COLLEGIUM_ASSIGN_OR_RETURN(const auto children, list.as_array(kMaxSteps));
    for (const JsonValue& child : children) COLLEGIUM_RETURN_IF_ERROR(add(child, depth + 1));
  } else {
    return kind_not_run(value, "pre-tokenizer", type);
  }
  return {};
}

Result<PreTokenizer> PreTokenizer::read(const JsonValue& value) {
  PreTokenizer made;
  if (!value.is_null()) COLLEGIUM_RETURN_IF_ERROR(made.add(value, 0));
  return made;
}

}  // namespace collegium::core
