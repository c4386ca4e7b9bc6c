#include "text/tokenizer_json.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <span>
#include <system_error>
#include <utility>

#include "collegium/core/file_envelope.h"
#include "collegium/core/text/tokenizer.h"
#include "text/added_tokens.h"
#include "text/json_fields.h"
#include "text/pipeline_tokenizer.h"
#include "text/post_processor.h"
#include "text/token_table.h"
#include "text/wordpiece.h"

namespace collegium::core {
namespace {

constexpr std::size_t kMaxFileBytes = std::size_t{64} << 20;

// The values of the file that decide ids.
struct Fields {
  JsonValue normalizer;
  JsonValue pre_tokenizer;
  JsonValue post_processor;
  JsonValue decoder;
  JsonValue added_tokens;
  JsonValue model;
};

bool has_type(const JsonValue& value, std::string_view type) {
  const auto seen = value.get_string("type");
  return seen.ok() && *seen == type;
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

bool is_bert(const Fields& fields) {
  // Old files name no type; TokenModel::read() tells them apart in the same way.
  const JsonValue& model = fields.model;
  const bool wordpiece = has_type(model, "WordPiece") ||
                         (!model.has("type") && !model.has("merges") && !model.has("unk_id") &&
                          model.has("max_input_chars_per_word"));
  return wordpiece && has_type(fields.normalizer, "BertNormalizer") &&
         has_type(fields.pre_tokenizer, "BertPreTokenizer") &&
         has_type(fields.decoder, "WordPiece");
}

// [CLS] text [SEP], [CLS] text [SEP] text [SEP].
bool is_bert(const PostProcessor& post) {
  if (post.trim_offsets || post.single.size() != 3) return false;
  const std::int32_t cls = post.single.front().id;
  const std::int32_t sep = post.single.back().id;
  const PostProcessor::Items single = {{cls, 0, 0}, {-1, 0, 0}, {sep, 0, 0}};
  const PostProcessor::Items pair = {{cls, 0, 0}, {-1, 0, 0}, {sep, 0, 0}, {-1, 1, 1}, {sep, 0, 1}};
  const PostProcessor::Items plain_pair = {{-1, 0, 0}, {-1, 1, 1}};
  return cls >= 0 && sep >= 0 && post.single == single && post.pair == pair &&
         post.pair_plain == plain_pair;
}

// The WordPiece of BERT, which streams and is faster than the parts one by one, where the file
// asks for exactly that; else null.
Result<std::shared_ptr<const Tokenizer>> try_bert(const Fields& fields, const TokenTable& tokens,
                                                  const std::vector<AddedToken>& added,
                                                  const PostProcessor& post,
                                                  const std::string& where) {
  WordPieceConfig config;
  const JsonValue& normalizer = fields.normalizer;
  COLLEGIUM_RETURN_IF_ERROR(only_fields(
      fields.model,
      {"type", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word", "vocab"}));
  COLLEGIUM_ASSIGN_OR_RETURN(const bool clean, required_bool(normalizer, "clean_text"));
  COLLEGIUM_ASSIGN_OR_RETURN(config.words.split_chinese_chars,
                             required_bool(normalizer, "handle_chinese_chars"));
  COLLEGIUM_ASSIGN_OR_RETURN(config.words.lowercase, required_bool(normalizer, "lowercase"));
  COLLEGIUM_ASSIGN_OR_RETURN(config.words.strip_accents,
                             normalizer.bool_or("strip_accents", config.words.lowercase));
  COLLEGIUM_ASSIGN_OR_RETURN(config.unk_token, required_string(fields.model, "unk_token"));
  COLLEGIUM_ASSIGN_OR_RETURN(const std::string prefix,
                             required_string(fields.model, "continuing_subword_prefix"));
  COLLEGIUM_ASSIGN_OR_RETURN(const std::uint64_t longest,
                             fields.model.unsigned_or("max_input_chars_per_word", 100));
  COLLEGIUM_ASSIGN_OR_RETURN(const std::string decoder_prefix,
                             required_string(fields.decoder, "prefix"));
  COLLEGIUM_ASSIGN_OR_RETURN(const bool cleanup, required_bool(fields.decoder, "cleanup"));
  const std::shared_ptr<const Tokenizer> no;
  // Tokens of the model alone, and none twice: one a id.
  if (!clean || !cleanup || prefix != "##" || decoder_prefix != "##" ||
      longest != BertWord::kMaxChars || tokens.count() != tokens.size() || !is_bert(post))
    return no;
  config.cls_token = tokens.token(post.single.front().id);
  config.sep_token = tokens.token(post.single.back().id);
  std::vector<std::string> special;
  for (const AddedToken& token : added) {
    if (!token.special || !token.plain() || tokens.find_model(token.content) < 0) return no;
    special.push_back(token.content);
  }
  std::vector<std::string> all;
  all.reserve(tokens.size());
  for (std::size_t i = 0; i < tokens.size(); ++i)
    all.emplace_back(tokens.token(static_cast<std::int32_t>(i)));
  return make_wordpiece(all, config, special, where);
}

// A field that may be absent, as null then.
JsonValue field_or_null(const JsonValue& root, std::string_view key) {
  auto found = root.get(key);
  if (found.ok()) return *found;
  static const auto null = JsonDocument::parse(std::as_bytes(std::span("null", 4)), "null");
  return JsonValue(null->root().element(), root.where() + ": " + std::string(key));
}

std::string digest_of(const PipelineTokenizer::Parts& parts, const Fields& fields) {
  Digest digest;
  // Lengths before contents, so that no two files run together.
  const auto add = [&digest](std::string_view text) {
    const std::uint64_t size = text.size();
    digest.update(std::as_bytes(std::span(&size, 1)));
    digest.update(std::as_bytes(std::span(text)));
  };
  add("tokenizer.json 1");
  for (const JsonValue* value :
       {&fields.normalizer, &fields.pre_tokenizer, &fields.post_processor, &fields.added_tokens})
    add(simdjson::minify(value->element()));
  for (std::size_t i = 0; i < parts.tokens->size(); ++i)
    add(parts.tokens->token(static_cast<std::int32_t>(i)));
  parts.model->add_to(digest);
  return digest.hex();
}

// Looks through a part and, if it is a Sequence, its children in `key`. Called for parts that have
// been read, so that their types are right.
void find_settings(const JsonValue& value, std::string_view key, TokenizerSettings& settings) {
  const auto flag = [&](std::string_view name, bool fallback) {
    const auto seen = value.bool_or(name, fallback);
    return seen.ok() ? *seen : fallback;
  };
  if (has_type(value, "BertNormalizer")) {
    settings.lowercase = flag("lowercase", true);
    settings.strip_accents = flag("strip_accents", *settings.lowercase);
    settings.split_chinese_chars = flag("handle_chinese_chars", true);
  } else if (has_type(value, "ByteLevel")) {
    settings.add_prefix_space = flag("add_prefix_space", true);
  } else if (has_type(value, "Metaspace")) {
    const auto scheme = value.string_or("prepend_scheme", "always");
    settings.add_prefix_space = scheme.ok() && *scheme != "never";
  } else if (has_type(value, "Sequence")) {
    const auto children = value.get(key);
    if (!children.ok()) return;
    const auto list = children->as_array(1000);
    if (!list.ok()) return;
    for (const JsonValue& child : *list) find_settings(child, key, settings);
  }
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> load_tokenizer_json(const std::string& path) {
  return read_tokenizer_json(path, nullptr);
}

Result<std::shared_ptr<const Tokenizer>> read_tokenizer_json(const std::string& path,
                                                             TokenizerSettings* settings) {
  std::error_code error;
  if (std::filesystem::file_size(path, error) == 0 && !error)
    return Status::corruption(path + ": is empty");
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
  const Fields fields{field_or_null(root, "normalizer"),     field_or_null(root, "pre_tokenizer"),
                      field_or_null(root, "post_processor"), field_or_null(root, "decoder"),
                      field_or_null(root, "added_tokens"),   model};
  PipelineTokenizer::Parts parts;
  COLLEGIUM_ASSIGN_OR_RETURN(parts.added, read_added_tokens(fields.added_tokens));
  COLLEGIUM_ASSIGN_OR_RETURN(parts.post_processor, PostProcessor::read(fields.post_processor));
  const auto finish_tokens = [&](TokenTable& tokens) -> Status {
    tokens.end_model();
    COLLEGIUM_RETURN_IF_ERROR(add_tokens(fields.added_tokens, parts.added, tokens));
    for (const std::int32_t id : parts.post_processor.special_ids())
      if (!tokens.has(id))
        return Status::corruption(fields.post_processor.where() + ": id " + std::to_string(id) +
                                  " is no token");
    return {};
  };
  COLLEGIUM_ASSIGN_OR_RETURN(parts.normalizer, Normalizer::read(fields.normalizer));
  COLLEGIUM_ASSIGN_OR_RETURN(parts.pre_tokenizer, PreTokenizer::read(fields.pre_tokenizer));
  COLLEGIUM_ASSIGN_OR_RETURN(parts.decoder, TokenDecoder::read(fields.decoder));
  if (settings != nullptr) {
    find_settings(fields.normalizer, "normalizers", *settings);
    find_settings(fields.pre_tokenizer, "pretokenizers", *settings);
  }
  if (is_bert(fields)) {
    TokenTable tokens;
    COLLEGIUM_RETURN_IF_ERROR(read_vocabulary(model, tokens));
    COLLEGIUM_RETURN_IF_ERROR(finish_tokens(tokens));
    COLLEGIUM_ASSIGN_OR_RETURN(auto bert,
                               try_bert(fields, tokens, parts.added, parts.post_processor, path));
    if (bert != nullptr) return bert;
  }
  auto tokens = std::make_unique<TokenTable>();
  COLLEGIUM_ASSIGN_OR_RETURN(parts.model, TokenModel::read(model, *tokens));
  COLLEGIUM_RETURN_IF_ERROR(finish_tokens(*tokens));
  if (parts.post_processor.trim_offsets && parts.model->name() == "Unigram")
    return Status::not_supported(fields.post_processor.where() +
                                 ": trim_offsets is not run here for Unigram");
  parts.tokens = std::move(tokens);
  parts.digest = digest_of(parts, fields);
  return PipelineTokenizer::create(std::move(parts), path);
}

}  // namespace collegium::core
