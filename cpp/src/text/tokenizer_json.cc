#include <algorithm>
#include <filesystem>
#include <limits>
#include <memory>
#include <utility>

#include "collegium/core/text/tokenizer.h"
#include "text/added_tokens.h"
#include "text/json_fields.h"
#include "text/post_processor.h"
#include "text/token_table.h"
#include "text/wordpiece.h"

namespace collegium::core {
namespace {

constexpr std::size_t kMaxFileBytes = std::size_t{64} << 20;

// The parts of the file that decide ids.
struct Parts {
  JsonValue normalizer;
  JsonValue pre_tokenizer;
  JsonValue decoder;
  JsonValue model;
  std::vector<AddedToken> added;
  PostProcessor post_processor;
  TokenTable tokens;  // of the model, then those that are only added
};

bool has_type(const JsonValue& value, std::string_view type) {
  const auto seen = value.get_string("type");
  return seen.ok() && *seen == type;
}

// {"token": id, ...}
Status read_vocabulary(const JsonValue& model, TokenTable& tokens) {
  COLLEGIUM_ASSIGN_OR_RETURN(const JsonValue value, required(model, "vocab"));
  simdjson::dom::object object;
  if (value.element().get(object) != simdjson::SUCCESS)
    return Status::corruption(value.where() + ": is no object of tokens and ids");
  // A few gaps are left in real vocabularies; many would be room for nothing.
  const std::uint64_t limit = std::uint64_t{2} * object.size() + 65'536;
  for (const auto field : object) {
    std::uint64_t id = 0;
    const auto where = [&] { return value.where() + ": token " + in_quotes(field.key) + ": "; };
    if (field.value.get(id) != simdjson::SUCCESS)
      return Status::corruption(where() + "its id is no whole number");
    if (id >= limit)
      return Status::corruption(where() + "id " + std::to_string(id) + " is not in [0, " +
                                std::to_string(limit) + ")");
    if (!tokens.add(field.key, static_cast<std::int32_t>(id)))
      return Status::corruption(where() + "id " + std::to_string(id) + " is taken by " +
                                in_quotes(tokens.token(static_cast<std::int32_t>(id))));
  }
  if (tokens.size() == 0) return Status::corruption(value.where() + ": is empty");
  return {};
}

// Gives added tokens the ids they get in the `tokenizers` package, which must be those of the file:
// the model's where it has the token, else the next free one.
Status add_tokens(const JsonValue& where, const std::vector<AddedToken>& added,
                  TokenTable& tokens) {
  // The package counts the model's tokens to find the first id for a token of its own.
  std::int32_t next = static_cast<std::int32_t>(tokens.count());
  std::int32_t largest = -1;
  for (const AddedToken& token : added) {
    std::int32_t id = tokens.find(token.content);
    if (id < 0) {
      id = std::max(next, largest + 1);
      if (!tokens.add(token.content, id))
        return Status::corruption(where.where() + ": added token " + in_quotes(token.content) +
                                  " would get the id " + std::to_string(id) + " of " +
                                  in_quotes(tokens.token(id)));
    }
    if (id != token.id)
      return Status::corruption(where.where() + ": added token " + in_quotes(token.content) +
                                " has the id " + std::to_string(token.id) + ", must be " +
                                std::to_string(id));
    largest = std::max(largest, id);
  }
  return {};
}

Result<bool> bool_is(const JsonValue& value, std::string_view key, bool wanted) {
  COLLEGIUM_ASSIGN_OR_RETURN(const bool seen, required_bool(value, key));
  return seen == wanted;
}

// The WordPiece of BERT, where the file asks for exactly that; else null.
Result<std::shared_ptr<const Tokenizer>> try_bert(const Parts& parts, const std::string& where) {
  const std::shared_ptr<const Tokenizer> no;
  if (!has_type(parts.model, "WordPiece") || !has_type(parts.normalizer, "BertNormalizer") ||
      !has_type(parts.pre_tokenizer, "BertPreTokenizer") || !has_type(parts.decoder, "WordPiece"))
    return no;
  WordPieceConfig config;
  COLLEGIUM_ASSIGN_OR_RETURN(const bool clean, bool_is(parts.normalizer, "clean_text", true));
  COLLEGIUM_ASSIGN_OR_RETURN(config.words.split_chinese_chars,
                             required_bool(parts.normalizer, "handle_chinese_chars"));
  COLLEGIUM_ASSIGN_OR_RETURN(config.words.lowercase, required_bool(parts.normalizer, "lowercase"));
  COLLEGIUM_ASSIGN_OR_RETURN(
      config.words.strip_accents,
      parts.normalizer.bool_or("strip_accents", config.words.lowercase));
  COLLEGIUM_ASSIGN_OR_RETURN(config.unk_token, required_string(parts.model, "unk_token"));
  COLLEGIUM_ASSIGN_OR_RETURN(const std::string prefix,
                             required_string(parts.model, "continuing_subword_prefix"));
  COLLEGIUM_ASSIGN_OR_RETURN(const std::uint64_t longest,
                             parts.model.unsigned_or("max_input_chars_per_word", 100));
  COLLEGIUM_ASSIGN_OR_RETURN(const std::string decoder_prefix,
                             required_string(parts.decoder, "prefix"));
  COLLEGIUM_ASSIGN_OR_RETURN(const bool cleanup, required_bool(parts.decoder, "cleanup"));
  const PostProcessor& post = parts.post_processor;
  if (!clean || !cleanup || prefix != "##" || decoder_prefix != "##" ||
      longest != BertWord::kMaxChars || parts.tokens.count() != parts.tokens.size() ||
      post.trim_offsets || post.single.size() != 3)
    return no;
  const std::int32_t cls = post.single.front().id;
  const std::int32_t sep = post.single.back().id;
  const PostProcessor::Items single = {{cls, 0, 0}, {-1, 0, 0}, {sep, 0, 0}};
  const PostProcessor::Items pair = {
      {cls, 0, 0}, {-1, 0, 0}, {sep, 0, 0}, {-1, 1, 1}, {sep, 0, 1}};
  const PostProcessor::Items plain_pair = {{-1, 0, 0}, {-1, 1, 1}};
  if (cls < 0 || sep < 0 || post.single != single || post.pair != pair ||
      post.pair_plain != plain_pair)
    return no;
  config.cls_token = parts.tokens.token(cls);
  config.sep_token = parts.tokens.token(sep);
  std::vector<std::string> special;
  for (const AddedToken& token : parts.added) {
    if (!token.special || !token.plain()) return no;
    special.push_back(token.content);
  }
  std::vector<std::string> tokens;
  tokens.reserve(parts.tokens.size());
  for (std::size_t i = 0; i < parts.tokens.size(); ++i)
    tokens.emplace_back(parts.tokens.token(static_cast<std::int32_t>(i)));
  return make_wordpiece(tokens, config, special, where);
}

// A field that may be absent, as null then.
JsonValue field_or_null(const JsonValue& root, std::string_view key) {
  auto found = root.get(key);
  if (found.ok()) return *found;
  static const auto null = JsonDocument::parse(std::as_bytes(std::span("null", 4)), "null");
  return JsonValue(null->root().element(), root.where() + ": " + std::string(key));
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> load_tokenizer_json(const std::string& path) {
  COLLEGIUM_ASSIGN_OR_RETURN(const JsonDocument document, JsonDocument::open(path, kMaxFileBytes));
  const JsonValue root = document.root();
  COLLEGIUM_RETURN_IF_ERROR(
      only_fields(root, {"version", "truncation", "padding", "added_tokens", "normalizer",
                         "pre_tokenizer", "post_processor", "decoder", "model"}));
  COLLEGIUM_ASSIGN_OR_RETURN(const std::string version, root.string_or("version", "1.0"));
  if (version != "1.0")
    return Status::not_supported(path + ": version " + in_quotes(version) +
                                 " is not read here, only '1.0'");
  COLLEGIUM_ASSIGN_OR_RETURN(const JsonValue model, required(root, "model"));
  Parts parts{field_or_null(root, "normalizer"), field_or_null(root, "pre_tokenizer"),
              field_or_null(root, "decoder"), model, {}, {}, {}};
  const JsonValue added = field_or_null(root, "added_tokens");
  COLLEGIUM_ASSIGN_OR_RETURN(parts.added, read_added_tokens(added));
  COLLEGIUM_ASSIGN_OR_RETURN(parts.post_processor,
                             PostProcessor::read(field_or_null(root, "post_processor")));
  COLLEGIUM_RETURN_IF_ERROR(read_vocabulary(model, parts.tokens));
  COLLEGIUM_RETURN_IF_ERROR(add_tokens(added, parts.added, parts.tokens));
  if (const std::int32_t id = parts.post_processor.largest_id();
      id >= 0 && static_cast<std::size_t>(id) >= parts.tokens.size())
    return Status::corruption(path + ": post_processor: id " + std::to_string(id) +
                              " is outside the vocabulary of " +
                              std::to_string(parts.tokens.size()));
  COLLEGIUM_ASSIGN_OR_RETURN(auto bert, try_bert(parts, path));
  if (bert != nullptr) return bert;
  COLLEGIUM_ASSIGN_OR_RETURN(const std::string type, required_string(model, "type"));
  return not_run(model, "model", type);
}

}  // namespace collegium::core
