#include "text/byte_level_bpe.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "collegium/core/file_envelope.h"
#include "collegium/core/gguf.h"
#include "io/in_quotes.h"
#include "text/aligned_text.h"
#include "text/byte_alphabet.h"
#include "text/gguf_vocabulary.h"
#include "text/normal_forms.h"
#include "text/special_tokens.h"
#include "text/utf8.h"
#include "text/utf8_repair.h"

namespace collegium::core {
namespace {

// The ones whose models want a beginning of sequence where the file does not say.
bool is_llama3(std::string_view name) {
  const auto pre = bpe_pre(name);
  return pre.ok() && pre->whole_tokens;
}

// Longer control tokens would make matching slow, and no model has them.
constexpr std::size_t kMaxAddedTokenBytes = 1024;

}  // namespace

Result<std::shared_ptr<const ByteLevelBpe>> ByteLevelBpe::create(BpeSource source,
                                                                 const std::string& where) {
  // make_shared cannot reach the constructor.
  std::shared_ptr<ByteLevelBpe> bpe(new ByteLevelBpe());
  bpe->source_ = std::move(source);
  COLLEGIUM_RETURN_IF_ERROR(bpe->build(where));
  return std::shared_ptr<const ByteLevelBpe>(std::move(bpe));
}

Status ByteLevelBpe::build(const std::string& where) {
  const auto damage = [&](const std::string& message) {
    return Status::corruption(where + ": " + message);
  };
  const auto pre = bpe_pre(source_.pre);
  if (!pre.ok()) return pre.status().with_context(where);
  pre_ = *pre;

  const std::size_t count = source_.tokens.size();
  if (count == 0) return damage("the vocabulary is empty");
  if (count > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()))
    return damage("the vocabulary has " + std::to_string(count) + " tokens, ids are 32 bits");
  if (source_.types.empty()) source_.types.assign(count, BpeTokenType::kNormal);
  if (source_.types.size() != count)
    return damage(std::to_string(source_.types.size()) + " token types for " +
                  std::to_string(count) + " tokens");
  for (const auto& [name, id] : {std::pair("bos", source_.bos_id), {"eos", source_.eos_id}})
    if (id < -1 || (id >= 0 && static_cast<std::size_t>(id) >= count))
      return damage(std::string(name) + " token id " + std::to_string(id) +
                    " is outside the vocabulary of " + std::to_string(count));

  ids_.reserve(count);
  bytes_.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::string& token = source_.tokens[i];
    const auto id = static_cast<std::int32_t>(i);
    if (!check_utf8(token, "token").ok())
      return damage("token " + std::to_string(i) + " is not UTF-8");
    if (token.empty()) return damage("token " + std::to_string(i) + " is empty");
    if (const std::int32_t other = ids_.find(token); other >= 0)
      return damage("token " + in_quotes(token) + " is there twice, as " + std::to_string(other) +
                    " and " + std::to_string(i));
    ids_.add(token, id);
    const BpeTokenType type = source_.types[i];
    if (type < BpeTokenType::kNormal || type > BpeTokenType::kByte)
      return damage("token " + std::to_string(i) + " has the unknown type " +
                    std::to_string(static_cast<unsigned>(type)));
    bytes_.push_back(read_spelling(token));
    if (type == BpeTokenType::kControl || type == BpeTokenType::kUserDefined) {
      if (token.size() > kMaxAddedTokenBytes)
        return damage("control token " + std::to_string(i) + " has " +
                      std::to_string(token.size()) + " bytes, at most " +
                      std::to_string(kMaxAddedTokenBytes) + " are allowed");
      added_[type == BpeTokenType::kControl ? 0 : 1].push_back({token, id});
    }
  }
  for (auto& level : added_) std::ranges::sort(level, {}, &AddedToken::text);
  std::vector<std::string> control;
  for (const AddedToken& token : added_[0]) control.emplace_back(token.text);
  control_text_ = ControlText(std::move(control));
  for (std::size_t byte = 0; byte < 256; ++byte)
    byte_ids_[byte] = token_id(spell_byte(static_cast<std::uint8_t>(byte)));

  merges_ = BpeMerges(source_.merges.size());
  std::string whole;
  for (std::size_t rank = 0; rank < source_.merges.size(); ++rank) {
    const std::string_view merge = source_.merges[rank];
    const auto bad = [&](const std::string& why) {
      return damage("merge " + std::to_string(rank) + " " + in_quotes(merge) + " " + why);
    };
    const std::size_t space = merge.find(' ');
    if (space == merge.npos || merge.find(' ', space + 1) != merge.npos)
      return bad("is not two tokens with a space between");
    const std::string_view left = merge.substr(0, space);
    const std::string_view right = merge.substr(space + 1);
    whole.assign(left).append(right);
    const std::int32_t left_id = token_id(left);
    const std::int32_t right_id = token_id(right);
    const std::int32_t id = token_id(whole);
    if (left_id < 0 || right_id < 0 || id < 0)
      return bad("has a token that is not in the vocabulary");
    if (rank > std::numeric_limits<std::uint32_t>::max()) return bad("is beyond 32 bits");
    merges_.set(left_id, right_id, static_cast<std::uint32_t>(rank), id);
  }

  Digest digest;
  // Lengths before contents, so that no two vocabularies run together.
  const auto add = [&digest](std::string_view text) {
    const std::uint64_t size = text.size();
    digest.update(std::as_bytes(std::span(&size, 1)));
    digest.update(std::as_bytes(std::span(text)));
  };
  add("byte_level_bpe 1");
  add(source_.pre);
  for (const std::string& token : source_.tokens) add(token);
  digest.update(std::as_bytes(std::span(source_.types)));
  for (const std::string& merge : source_.merges) add(merge);
  const std::array ends = {source_.bos_id, source_.eos_id};
  digest.update(std::as_bytes(std::span(ends)));
  digest_ = digest.hex();
  source_.merges = {};  // their ids are all that is needed from here on
  return {};
}

Result<std::shared_ptr<const ByteLevelBpe>> ByteLevelBpe::from_gguf(
    const GgufFile& file, std::optional<std::string> pre) {
  const std::string where = file.path();
  // A metadata value that is missing or of another type is damage of the file.
  const auto damage = [](const Status& status) { return Status::corruption(status.message()); };

  const auto model = file.get_string("tokenizer.ggml.model");
  if (!model.ok()) return damage(model.status());
  if (*model != "gpt2")
    return Status::not_supported(where + ": tokenizer.ggml.model: " + in_quotes(*model) +
                                 " is not run here; allowed: gpt2, llama");
  BpeSource source;
  if (pre) {
    source.pre = *pre;
  } else if (!file.has("tokenizer.ggml.pre")) {
    return Status::not_supported(where + ": names no tokenizer.ggml.pre");
  } else {
    const auto name = file.get_string("tokenizer.ggml.pre");
    if (!name.ok()) return damage(name.status());
    source.pre = *name;
  }
  COLLEGIUM_ASSIGN_OR_RETURN(source.tokens, read_gguf_tokens(file));
  const auto merges = file.get_strings("tokenizer.ggml.merges");
  if (!merges.ok()) return damage(merges.status());
  source.merges.assign(merges->begin(), merges->end());
  if (file.has("tokenizer.ggml.token_type")) {
    COLLEGIUM_ASSIGN_OR_RETURN(source.types, read_gguf_token_types(file));
  }
  for (const auto& [flag, key, id] :
       {std::tuple("tokenizer.ggml.add_bos_token", "tokenizer.ggml.bos_token_id", &source.bos_id),
        {"tokenizer.ggml.add_eos_token", "tokenizer.ggml.eos_token_id", &source.eos_id}}) {
    if (file.has(flag)) {
      const auto wanted = file.get_bool(flag);
      if (!wanted.ok()) return damage(wanted.status());
      if (!*wanted) continue;
    } else if (id != &source.bos_id || !file.has(key) || !is_llama3(source.pre)) {
      continue;
    }
    COLLEGIUM_ASSIGN_OR_RETURN(*id, read_gguf_token_id(file, key, source.tokens.size()));
  }
  return create(std::move(source), where);
}

Result<Encoding> ByteLevelBpe::encode(std::string_view text, const EncodeOptions& options) const {
  if (text.size() > BpeMerges::kMaxTextBytes)
    return Status::invalid_argument("text: has " + std::to_string(text.size()) +
                                    " bytes, at most " + std::to_string(BpeMerges::kMaxTextBytes));
  COLLEGIUM_RETURN_IF_ERROR(check_utf8(text, "text"));
  return encode_between(source_.bos_id, source_.eos_id, options, [&](Encoding& encoding) {
    encode_added(text, 0, text.size(), added_, encoding);
  });
}

// Cuts [begin, end) at the added tokens of the first level, leftmost and longest first, and gives
// what is between them to the next level.
void ByteLevelBpe::encode_added(std::string_view text, std::size_t begin, std::size_t end,
                                std::span<const std::vector<AddedToken>> levels,
                                Encoding& out) const {
  if (levels.empty()) {
    encode_plain(text, begin, end, out);
    return;
  }
  const std::vector<AddedToken>& added = levels.front();
  std::size_t plain = begin;
  for (std::size_t at = begin; at < end;) {
    // The tokens that agree with the text from `at` on are a range of the sorted list, which
    // narrows byte by byte.
    auto low = added.begin();
    auto high = added.end();
    const AddedToken* longest = nullptr;
    for (std::size_t depth = 0; low != high && at + depth < end; ++depth) {
      const auto wanted = static_cast<unsigned char>(text[at + depth]);
      const auto byte_at = [depth](const AddedToken& token) {
        return depth < token.text.size()
                   ? static_cast<int>(static_cast<unsigned char>(token.text[depth]))
                   : -1;
      };
      low = std::lower_bound(low, high, static_cast<int>(wanted),
                             [&](const AddedToken& t, int byte) { return byte_at(t) < byte; });
      high = std::upper_bound(low, high, static_cast<int>(wanted),
                              [&](int byte, const AddedToken& t) { return byte < byte_at(t); });
      if (low != high && low->text.size() == depth + 1) longest = &*low;
    }
    if (longest == nullptr) {
      ++at;
      continue;
    }
    encode_added(text, plain, at, levels.subspan(1), out);
    out.ids.push_back(longest->id);
    out.offsets.push_back({at, at + longest->text.size()});
    at += longest->text.size();
    plain = at;
  }
  encode_added(text, plain, end, levels.subspan(1), out);
}

void ByteLevelBpe::encode_plain(std::string_view text, std::size_t begin, std::size_t end,
                                Encoding& out) const {
  BpeMerges::Scratch scratch;
  const std::string_view part = text.substr(begin, end - begin);
  const bool ascii =
      std::ranges::all_of(part, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  if (!pre_.composed || ascii) {
    for (const ByteSpan piece : split_bpe_pieces(part, pre_.patterns))
      encode_piece(text, {begin + piece.begin, begin + piece.end}, scratch, out);
    return;
  }
  AlignedText composed = AlignedText::slice(text, begin, end);
  apply_normal_form(NormalForm::kNfc, composed);
  const std::size_t first = out.offsets.size();
  for (const ByteSpan piece : split_bpe_pieces(composed.text, pre_.patterns))
    encode_piece(composed.text, piece, scratch, out);
  for (std::size_t i = first; i < out.offsets.size(); ++i)
    out.offsets[i] = composed.source(out.offsets[i].begin, out.offsets[i].end);
}

void ByteLevelBpe::encode_piece(std::string_view text, ByteSpan piece, BpeMerges::Scratch& scratch,
                                Encoding& out) const {
  scratch.symbols.clear();
  if (pre_.whole_tokens) {
    std::string spelling;
    for (std::size_t at = piece.begin; at < piece.end; ++at)
      spelling += spell_byte(static_cast<std::uint8_t>(text[at]));
    const std::int32_t id = token_id(spelling);
    if (id >= 0 && source_.types[static_cast<std::size_t>(id)] == BpeTokenType::kNormal) {
      out.ids.push_back(id);
      out.offsets.push_back(piece);
      return;
    }
  }
  for (std::size_t at = piece.begin; at < piece.end; ++at) {
    const std::int32_t id = byte_ids_[static_cast<std::uint8_t>(text[at])];
    if (id >= 0) scratch.add(id, at, at + 1);
  }
  if (scratch.symbols.empty()) return;
  merges_.merge(scratch);
  for (std::uint32_t i = 0; i != BpeMerges::kNone; i = scratch.symbols[i].next) {
    const BpeMerges::Symbol& symbol = scratch.symbols[i];
    out.ids.push_back(symbol.id);
    out.offsets.push_back({symbol.begin, symbol.end});
  }
}

Result<std::string> ByteLevelBpe::decode(std::span<const std::int32_t> ids,
                                         bool skip_special_tokens) const {
  std::string bytes;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || static_cast<std::size_t>(ids[i]) >= vocab_size())
      return Status::invalid_argument("ids[" + std::to_string(i) + "]: " + std::to_string(ids[i]) +
                                      " is outside the vocabulary of " +
                                      std::to_string(vocab_size()));
    if (!skip_special_tokens || !is_control(ids[i])) bytes += token_bytes(ids[i]);
  }
  return repair_utf8(bytes);
}

std::int32_t ByteLevelBpe::token_id(std::string_view token) const { return ids_.find(token); }

std::string_view ByteLevelBpe::token(std::int32_t id) const {
  if (id < 0 || static_cast<std::size_t>(id) >= vocab_size()) return {};
  return source_.tokens[static_cast<std::size_t>(id)];
}

bool ByteLevelBpe::is_control(std::int32_t id) const {
  return source_.types[static_cast<std::size_t>(id)] == BpeTokenType::kControl;
}

Result<std::shared_ptr<const Tokenizer>> load_byte_level_bpe(const std::string& gguf_path) {
  COLLEGIUM_ASSIGN_OR_RETURN(const auto file, GgufFile::open(gguf_path));
  COLLEGIUM_ASSIGN_OR_RETURN(auto bpe, ByteLevelBpe::from_gguf(file));
  return std::shared_ptr<const Tokenizer>(std::move(bpe));
}

}  // namespace collegium::core
