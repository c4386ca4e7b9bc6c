#include "text/scored_bpe.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "collegium/core/file_envelope.h"
#include "collegium/core/gguf.h"
#include "collegium/core/thread_pool.h"
#include "io/in_quotes.h"
#include "text/gguf_vocabulary.h"
#include "text/special_tokens.h"
#include "text/token_model.h"
#include "text/utf8.h"
#include "text/utf8_repair.h"

namespace collegium::core {
namespace {

constexpr std::string_view kMark = "\xE2\x96\x81";  // U+2581, a space
// A text has one byte for a space where the marked one has three.
constexpr std::size_t kMaxTextBytes = BpeMerges::kMaxTextBytes / kMark.size() - 1;

std::string with_spaces(std::string_view token) {
  std::string text;
  std::size_t done = 0;
  for (std::size_t at; (at = token.find(kMark, done)) != token.npos; done = at + kMark.size())
    text.append(token, done, at - done) += ' ';
  return text.append(token, done);
}

std::string byte_token(std::size_t byte) {
  constexpr char kHex[] = "0123456789ABCDEF";
  return std::string("<0x") + kHex[byte >> 4] + kHex[byte & 15] + ">";
}

}  // namespace

Result<std::shared_ptr<const ScoredBpe>> ScoredBpe::create(ScoredBpeSource source,
                                                           const std::string& where) {
  // make_shared cannot reach the constructor.
  std::shared_ptr<ScoredBpe> bpe(new ScoredBpe());
  bpe->source_ = std::move(source);
  COLLEGIUM_RETURN_IF_ERROR(bpe->build(where));
  return std::shared_ptr<const ScoredBpe>(std::move(bpe));
}

Status ScoredBpe::build(const std::string& where) {
  const auto damage = [&](const std::string& message) {
    return Status::corruption(where + ": " + message);
  };
  const std::size_t count = source_.tokens.size();
  if (count == 0) return damage("the vocabulary is empty");
  if (count > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()) / 4)
    return damage("the vocabulary has " + std::to_string(count) + " tokens, ids are 32 bits");
  if (source_.types.size() != count || source_.scores.size() != count)
    return damage(std::to_string(source_.types.size()) + " token types and " +
                  std::to_string(source_.scores.size()) + " scores for " + std::to_string(count) +
                  " tokens");
  for (const auto& [name, id] : {std::pair("bos", source_.bos_id), {"eos", source_.eos_id}})
    if (id < -1 || (id >= 0 && static_cast<std::size_t>(id) >= count))
      return damage(std::string(name) + " token id " + std::to_string(id) +
                    " is outside the vocabulary of " + std::to_string(count));

  ids_.reserve(count);
  bytes_.reserve(count);
  std::array<std::vector<AddedToken>, 2> added;
  std::array<std::vector<std::string>, 2> contents;
  for (std::size_t i = 0; i < count; ++i) {
    const std::string& token = source_.tokens[i];
    const auto id = static_cast<std::int32_t>(i);
    const auto bad = [&](const std::string& why) {
      return damage("token " + std::to_string(i) + " " + why);
    };
    if (!check_utf8(token, "token").ok()) return bad("is not UTF-8");
    if (token.empty()) return bad("is empty");
    if (token.size() > kMaxTokenBytes)
      return bad("has " + std::to_string(token.size()) + " bytes, at most " +
                 std::to_string(kMaxTokenBytes) + " are allowed");
    if (!std::isfinite(source_.scores[i])) return bad("has a score that is not finite");
    if (const std::int32_t other = ids_.find(token); other >= 0)
      return damage("token " + in_quotes(token) + " is there twice, as " + std::to_string(other) +
                    " and " + std::to_string(i));
    ids_.add(token, id);
    const BpeTokenType type = source_.types[i];
    if (type < BpeTokenType::kNormal || type > BpeTokenType::kByte)
      return bad("has the unknown type " + std::to_string(static_cast<unsigned>(type)));
    const bool is_added = type == BpeTokenType::kControl || type == BpeTokenType::kUserDefined;
    bytes_.push_back(type == BpeTokenType::kControl ? token : with_spaces(token));
    if (is_added) {
      const std::size_t level = type == BpeTokenType::kControl ? 0 : 1;
      added[level].push_back({.content = bytes_.back(), .id = id});
      contents[level].push_back(bytes_.back());
    }
  }
  for (std::size_t byte = 0; byte < 256; ++byte) {
    const std::int32_t id = token_id(byte_token(byte));
    if (id < 0 || source_.types[static_cast<std::size_t>(id)] != BpeTokenType::kByte)
      return Status::not_supported(where + ": the vocabulary has no byte " + byte_token(byte) +
                                   ", which is not run here");
    byte_ids_.push_back(id);
    bytes_[static_cast<std::size_t>(id)] = std::string(1, static_cast<char>(byte));
  }
  control_ = AddedTokenFinder(std::move(added[0]), contents[0]);
  user_defined_ = AddedTokenFinder(std::move(added[1]), contents[1]);
  COLLEGIUM_RETURN_IF_ERROR(build_merges(where));

  Digest digest;
  // Lengths before contents, so that no two vocabularies run together.
  const auto add = [&digest](std::string_view text) {
    const std::uint64_t size = text.size();
    digest.update(std::as_bytes(std::span(&size, 1)));
    digest.update(std::as_bytes(std::span(text)));
  };
  add(source_.add_space_prefix ? "scored_bpe 1 prefix" : "scored_bpe 1");
  for (const std::string& token : source_.tokens) add(token);
  digest.update(std::as_bytes(std::span(source_.types)));
  digest.update(std::as_bytes(std::span(source_.scores)));
  const std::array ends = {source_.bos_id, source_.eos_id};
  digest.update(std::as_bytes(std::span(ends)));
  digest_ = digest.hex();
  source_.scores = {};  // their order is all that is needed from here on
  return {};
}

// Every way to cut a token in two symbols is a merge of its rank. The rank of a token is its place
// by score, so that of two merges the better token comes first and of one token's the leftmost.
Status ScoredBpe::build_merges(const std::string& where) {
  std::vector<std::int32_t> order;
  for (std::size_t i = 0; i < source_.tokens.size(); ++i) {
    const BpeTokenType type = source_.types[i];
    if (type != BpeTokenType::kNormal && type != BpeTokenType::kUserDefined) continue;
    const auto id = static_cast<std::int32_t>(i);
    if (type == BpeTokenType::kNormal &&
        source_.tokens[i].size() > utf8_length(source_.tokens[i][0]))
      order.push_back(id);
  }
  const auto score = [this](std::int32_t id) {
    return source_.scores[static_cast<std::size_t>(id)];
  };
  std::ranges::sort(order, [&](std::int32_t a, std::int32_t b) {
    return score(a) != score(b) ? score(a) > score(b) : a < b;
  });
  // Characters that tokens are made of without being tokens.
  auto next = static_cast<std::int32_t>(source_.tokens.size());
  for (const std::int32_t id : order) {
    const std::string_view token = source_.tokens[static_cast<std::size_t>(id)];
    for (std::size_t at = 0; at < token.size(); at += utf8_length(token[at])) {
      const std::string_view character = token.substr(at, utf8_length(token[at]));
      if (symbol_id(character, TokenTable::hash(character)) < 0) characters_.add(character, next++);
    }
  }
  struct Pair {
    std::int32_t left, right, rank, id;
  };
  // The looking up takes nearly all of the time there is.
  struct Cut {
    std::size_t at;
    std::uint64_t left, right;  // hashes
  };
  constexpr std::size_t kPart = 4096;
  std::vector<std::vector<Pair>> parts((order.size() + kPart - 1) / kPart);
  default_pool().parallel_for(parts.size(), [&](std::size_t part) {
    const std::size_t end = std::min(order.size(), (part + 1) * kPart);
    std::vector<Cut> cuts;
    for (std::size_t rank = part * kPart; rank < end; ++rank) {
      const std::int32_t id = order[rank];
      const std::string_view token = source_.tokens[static_cast<std::size_t>(id)];
      cuts.clear();
      for (std::size_t at = utf8_length(token[0]); at < token.size();
           at += utf8_length(token[at])) {
        cuts.push_back(
            {at, TokenTable::hash(token.substr(0, at)), TokenTable::hash(token.substr(at))});
        ids_.prefetch(cuts.back().left);
        ids_.prefetch(cuts.back().right);
      }
      for (const Cut& cut : cuts) {
        const std::int32_t left = symbol_id(token.substr(0, cut.at), cut.left);
        const std::int32_t right = left < 0 ? -1 : symbol_id(token.substr(cut.at), cut.right);
        if (right >= 0) parts[part].push_back({left, right, static_cast<std::int32_t>(rank), id});
      }
    }
  });
  std::int32_t last = -1;  // the last token that a merge makes
  std::size_t count = 0;
  for (const std::vector<Pair>& part : parts) {
    count += part.size();
    for (const Pair& pair : part) {
      if (pair.id == last) continue;
      if (last >= 0 && score(last) == score(pair.id))
        return Status::not_supported(
            where + ": tokens " + in_quotes(source_.tokens[static_cast<std::size_t>(last)]) +
            " and " + in_quotes(source_.tokens[static_cast<std::size_t>(pair.id)]) +
            " have the same score " + std::to_string(score(last)) + "; such ties are not run here");
      last = pair.id;
    }
  }
  merges_ = BpeMerges(count);
  for (const std::vector<Pair>& part : parts)
    for (const Pair& pair : part)
      merges_.set(pair.left, pair.right, static_cast<std::uint32_t>(pair.rank), pair.id);
  return {};
}

std::int32_t ScoredBpe::symbol_id(std::string_view symbol, std::uint64_t hash) const {
  const std::int32_t id = ids_.find(symbol, hash);
  if (id >= 0) {
    const BpeTokenType type = source_.types[static_cast<std::size_t>(id)];
    if (type == BpeTokenType::kNormal || type == BpeTokenType::kUserDefined) return id;
  }
  return symbol.size() == utf8_length(symbol[0]) ? characters_.find(symbol, hash) : -1;
}

Result<std::shared_ptr<const ScoredBpe>> ScoredBpe::from_gguf(const GgufFile& file) {
  const std::string where = file.path();
  // A metadata value that is missing or of another type is damage of the file.
  const auto damage = [](const Status& status) { return Status::corruption(status.message()); };
  const auto model = file.get_string("tokenizer.ggml.model");
  if (!model.ok()) return damage(model.status());
  if (*model != "llama")
    return Status::not_supported(where + ": tokenizer.ggml.model: " + in_quotes(*model) +
                                 " is not run here; allowed: gpt2, llama");
  ScoredBpeSource source;
  COLLEGIUM_ASSIGN_OR_RETURN(source.tokens, read_gguf_tokens(file));
  const auto scores = file.get_numbers("tokenizer.ggml.scores");
  if (!scores.ok()) return damage(scores.status());
  for (const double score : *scores) source.scores.push_back(static_cast<float>(score));
  COLLEGIUM_ASSIGN_OR_RETURN(source.types, read_gguf_token_types(file));
  const auto flag = [&](const char* key, bool fallback) -> Result<bool> {
    if (!file.has(key)) return fallback;
    const auto value = file.get_bool(key);
    if (!value.ok()) return damage(value.status());
    return *value;
  };
  // These two change ids beyond what is run here.
  for (const char* key :
       {"tokenizer.ggml.remove_extra_whitespaces", "tokenizer.ggml.treat_whitespace_as_suffix"}) {
    COLLEGIUM_ASSIGN_OR_RETURN(const bool wanted, flag(key, false));
    if (wanted) return Status::not_supported(where + ": " + key + " true is not run here");
  }
  if (file.has("tokenizer.ggml.precompiled_charsmap"))
    return Status::not_supported(where +
                                 ": tokenizer.ggml.precompiled_charsmap is not run here for BPE");
  COLLEGIUM_ASSIGN_OR_RETURN(source.add_space_prefix,
                             flag("tokenizer.ggml.add_space_prefix", true));
  for (const auto& [name, key, fallback, id] :
       {std::tuple("tokenizer.ggml.add_bos_token", "tokenizer.ggml.bos_token_id", true,
                   &source.bos_id),
        {"tokenizer.ggml.add_eos_token", "tokenizer.ggml.eos_token_id", false, &source.eos_id}}) {
    COLLEGIUM_ASSIGN_OR_RETURN(const bool wanted, flag(name, fallback));
    if (!wanted) continue;
    COLLEGIUM_ASSIGN_OR_RETURN(*id, read_gguf_token_id(file, key, source.tokens.size()));
  }
  return create(std::move(source), where);
}

Result<Encoding> ScoredBpe::encode(std::string_view text, const EncodeOptions& options) const {
  if (text.size() > kMaxTextBytes)
    return Status::invalid_argument("text: has " + std::to_string(text.size()) +
                                    " bytes, at most " + std::to_string(kMaxTextBytes));
  COLLEGIUM_RETURN_IF_ERROR(check_utf8(text, "text"));
  return encode_between(source_.bos_id, source_.eos_id, options, [&](Encoding& encoding) {
    BpeMerges::Scratch scratch;
    for (const auto& part : control_.find(text)) {
      if (part.id >= 0) {
        encoding.ids.push_back(part.id);
        encoding.offsets.push_back({part.begin, part.end});
        continue;
      }
      for (const auto& inner : user_defined_.find(text.substr(part.begin, part.end - part.begin))) {
        const std::size_t begin = part.begin + inner.begin;
        const std::size_t end = part.begin + inner.end;
        if (inner.id < 0) {
          encode_plain(text, begin, end, scratch, encoding);
          continue;
        }
        encoding.ids.push_back(inner.id);
        encoding.offsets.push_back({begin, end});
      }
    }
  });
}

void ScoredBpe::encode_plain(std::string_view text, std::size_t begin, std::size_t end,
                             BpeMerges::Scratch& scratch, Encoding& out) const {
  if (begin == end) return;
  scratch.symbols.clear();
  // Symbols' places are bytes of the text. One that is in no table stays alone.
  constexpr std::int32_t kNowhere = std::numeric_limits<std::int32_t>::max();
  const auto add = [&](std::string_view symbol, std::size_t from, std::size_t to) {
    const std::int32_t id = symbol_id(symbol, TokenTable::hash(symbol));
    scratch.add(id < 0 ? kNowhere : id, from, to);
  };
  if (source_.add_space_prefix) add(kMark, begin, begin);
  for (std::size_t at = begin; at < end;) {
    const std::size_t size = utf8_length(text[at]);
    add(text[at] == ' ' ? kMark : text.substr(at, size), at, at + size);
    at += size;
  }
  merges_.merge(scratch);
  for (std::uint32_t i = 0; i != BpeMerges::kNone; i = scratch.symbols[i].next) {
    const BpeMerges::Symbol& symbol = scratch.symbols[i];
    if (static_cast<std::size_t>(symbol.id) < vocab_size()) {
      out.ids.push_back(symbol.id);
      out.offsets.push_back({symbol.begin, symbol.end});
      continue;
    }
    // A character without a token. A space is its mark's three bytes, all in one place.
    const bool mark = symbol.begin == symbol.end || text[symbol.begin] == ' ';
    const std::string_view bytes =
        mark ? kMark : text.substr(symbol.begin, symbol.end - symbol.begin);
    for (std::size_t j = 0; j < bytes.size(); ++j) {
      out.ids.push_back(byte_ids_[static_cast<unsigned char>(bytes[j])]);
      out.offsets.push_back(mark ? ByteSpan{symbol.begin, symbol.end}
                                 : ByteSpan{symbol.begin + j, symbol.begin + j + 1});
    }
  }
}

Result<std::string> ScoredBpe::decode(std::span<const std::int32_t> ids,
                                      bool skip_special_tokens) const {
  std::string bytes;
  bool first = true;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || static_cast<std::size_t>(ids[i]) >= vocab_size())
      return Status::invalid_argument("ids[" + std::to_string(i) + "]: " + std::to_string(ids[i]) +
                                      " is outside the vocabulary of " +
                                      std::to_string(vocab_size()));
    if (is_control(ids[i])) {
      if (!skip_special_tokens) bytes += token_bytes(ids[i]);
      continue;
    }
    std::string_view piece = token_bytes(ids[i]);
    if (first && source_.add_space_prefix && piece.starts_with(' ')) piece.remove_prefix(1);
    first = false;
    bytes += piece;
  }
  return repair_utf8(bytes);
}

std::int32_t ScoredBpe::token_id(std::string_view token) const { return ids_.find(token); }

std::string_view ScoredBpe::token(std::int32_t id) const {
  if (id < 0 || static_cast<std::size_t>(id) >= vocab_size()) return {};
  return source_.tokens[static_cast<std::size_t>(id)];
}

}  // namespace collegium::core
