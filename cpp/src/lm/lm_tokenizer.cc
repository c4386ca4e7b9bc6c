#include "lm/lm_tokenizer.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>
#include <system_error>
#include <utility>

#include "io/in_quotes.h"
#include "io/json_file.h"
#include "io/mapped_file.h"
#include "text/byte_level_bpe.h"
#include "text/gguf_vocabulary.h"
#include "text/json_fields.h"
#include "text/scored_bpe.h"
#include "text/token_decoder.h"

namespace collegium::core {
namespace {

constexpr std::size_t kMaxTokenizerBytes = std::size_t{64} << 20;
constexpr std::size_t kMaxConfigBytes = std::size_t{16} << 20;
constexpr std::size_t kMaxAddedTokens = std::size_t{1} << 20;
constexpr std::size_t kMaxEndIds = 1000;

bool is_file(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path, ignored);
}

Result<std::optional<JsonDocument>> open_if_there(const std::string& path) {
  if (!is_file(path)) return std::optional<JsonDocument>();
  COLLEGIUM_ASSIGN_OR_RETURN(auto document, JsonDocument::open(path, kMaxConfigBytes));
  return std::optional<JsonDocument>(std::move(document));
}

template <typename Bpe>
LmTokenizer::Parts parts_of(std::shared_ptr<const Bpe> bpe) {
  LmTokenizer::Parts parts;
  for (std::size_t i = 0; i < bpe->vocab_size(); ++i) {
    const auto id = static_cast<std::int32_t>(i);
    parts.bytes.emplace_back(bpe->token_bytes(id));
    parts.control.push_back(bpe->is_control(id));
  }
  parts.tokenizer = std::move(bpe);
  return parts;
}

// "eos_token_id": 2 or [2, 7], added to `ids`.
Status read_end_ids(const JsonValue& config, std::size_t vocab, std::set<std::int32_t>& ids) {
  const auto value = config.get("eos_token_id");
  if (!value.ok() || value->is_null()) return {};
  std::vector<JsonValue> list = {*value};
  if (value->is_array()) {
    COLLEGIUM_ASSIGN_OR_RETURN(list, value->as_array(kMaxEndIds));
  }
  for (const JsonValue& entry : list) {
    COLLEGIUM_ASSIGN_OR_RETURN(const std::uint64_t id, entry.as_unsigned());
    if (id >= vocab)
      return Status::corruption(entry.where() + ": " + std::to_string(id) +
                                " is outside the vocabulary of " + std::to_string(vocab));
    ids.insert(static_cast<std::int32_t>(id));
  }
  return {};
}

// "bos_token": "<s>" or {"content": "<s>", ...}; "" where there is none.
Result<std::string> read_token(const JsonValue& config, std::string_view key) {
  const auto value = config.get(key);
  if (!value.ok() || value->is_null()) return std::string();
  if (value->is_string()) return value->as_string();
  return required_string(*value, "content");
}

// "chat_template": its text, or a list of templates by name of which "default" is the one.
Result<std::string> read_template(const JsonValue& config) {
  const auto value = config.get("chat_template");
  if (!value.ok() || value->is_null()) return std::string();
  if (value->is_string()) return value->as_string();
  COLLEGIUM_ASSIGN_OR_RETURN(const auto list, value->as_array(kMaxEndIds));
  for (const JsonValue& entry : list) {
    COLLEGIUM_ASSIGN_OR_RETURN(const std::string name, required_string(entry, "name"));
    if (name == "default") return required_string(entry, "template");
  }
  return std::string();
}

// transformers puts these tokens around a text whatever the post-processor says; tokenizer.json is
// run as it is, so the two must agree.
Status check_ends(const JsonValue& config, const Tokenizer& tokenizer, const std::string& bos,
                  const std::string& eos) {
  COLLEGIUM_ASSIGN_OR_RETURN(const Encoding around, tokenizer.encode("", {}));
  const auto check = [&](std::string_view key, const std::string& token, bool seen) -> Status {
    if (!config.has(key) || config.get(key)->is_null()) return {};
    COLLEGIUM_ASSIGN_OR_RETURN(const bool wanted, config.get_bool(key));
    if (wanted == seen || token.empty()) return {};
    return Status::not_supported(config.where() + ": " + std::string(key) + " is " +
                                 (wanted ? "true" : "false") + ", but tokenizer.json " +
                                 (seen ? "puts " : "does not put ") + in_quotes(token) +
                                 " there; programs that build the tokenizer from either would "
                                 "differ");
  };
  const auto is = [&](std::int32_t id, const std::string& token) {
    return !token.empty() && tokenizer.token(id) == token;
  };
  const bool has_bos = !around.ids.empty() && is(around.ids.front(), bos);
  const bool has_eos =
      around.ids.size() > (bos == eos ? std::size_t{has_bos} : 0) && is(around.ids.back(), eos);
  COLLEGIUM_RETURN_IF_ERROR(check("add_bos_token", bos, has_bos));
  return check("add_eos_token", eos, has_eos);
}

// transformers 5 builds these from the vocabulary alone, with a pre-tokeniser where their
// tokenizer.json has a normaliser: other ids for a text that begins with a space, or behind a
// special token.
Status check_class(const JsonValue& config, bool has_normalizer) {
  COLLEGIUM_ASSIGN_OR_RETURN(const std::string name, config.string_or("tokenizer_class", ""));
  if (!has_normalizer || (name != "LlamaTokenizer" && name != "LlamaTokenizerFast")) return {};
  return Status::not_supported(config.where() + ": tokenizer_class " + in_quotes(name) +
                               ", but tokenizer.json has a normaliser, which that class leaves "
                               "out; 'PreTrainedTokenizerFast' runs tokenizer.json as it is");
}

}  // namespace

LmTokenizer::LmTokenizer(Parts parts) : parts_(std::move(parts)) {
  std::vector<std::string> control;
  for (std::size_t i = 0; i < parts_.bytes.size(); ++i)
    if (parts_.control[i]) control.push_back(parts_.bytes[i]);
  control_text_ = ControlText(std::move(control));
}

bool LmTokenizer::is_end(std::int32_t id) const noexcept {
  return std::binary_search(parts_.end_ids.begin(), parts_.end_ids.end(), id);
}

Result<LmTokenizer> read_lm_tokenizer(const GgufFile& file) {
  const auto model = file.get_string("tokenizer.ggml.model");
  if (!model.ok()) return Status::corruption(model.status().message());
  LmTokenizer::Parts parts;
  if (*model == "llama") {
    COLLEGIUM_ASSIGN_OR_RETURN(auto bpe, ScoredBpe::from_gguf(file));
    parts = parts_of(std::move(bpe));
  } else {
    COLLEGIUM_ASSIGN_OR_RETURN(auto bpe, ByteLevelBpe::from_gguf(file));
    parts = parts_of(std::move(bpe));
  }
  const std::size_t vocab = parts.bytes.size();
  const auto read_id = [&](const char* key, std::int32_t& out) -> Status {
    if (!file.has(key)) return {};
    COLLEGIUM_ASSIGN_OR_RETURN(out, read_gguf_token_id(file, key, vocab));
    return {};
  };
  std::int32_t bos = -1;
  std::int32_t eos = -1;
  std::int32_t turn = -1;
  COLLEGIUM_RETURN_IF_ERROR(read_id("tokenizer.ggml.bos_token_id", bos));
  COLLEGIUM_RETURN_IF_ERROR(read_id("tokenizer.ggml.eos_token_id", eos));
  COLLEGIUM_RETURN_IF_ERROR(read_id("tokenizer.ggml.eot_token_id", turn));
  if (bos >= 0) parts.bos_token = parts.tokenizer->token(bos);
  if (eos >= 0) parts.eos_token = parts.tokenizer->token(eos);
  std::set<std::int32_t> ends;
  for (const std::int32_t id : {eos, turn})
    if (id >= 0) ends.insert(id);
  parts.end_ids.assign(ends.begin(), ends.end());
  if (file.has("tokenizer.chat_template")) {
    const auto text = file.get_string("tokenizer.chat_template");
    if (!text.ok()) return Status::corruption(text.status().message());
    parts.chat_template = *text;
  }
  return LmTokenizer(std::move(parts));
}

Result<LmTokenizer> read_lm_tokenizer(const std::string& folder, std::size_t vocab) {
  const std::string path = folder + "/tokenizer.json";
  if (!is_file(path)) return Status::not_found(folder + ": has no tokenizer.json");
  COLLEGIUM_ASSIGN_OR_RETURN(const LoadedTokenizer loaded, load_tokenizer(folder));
  LmTokenizer::Parts parts;
  parts.tokenizer = loaded.tokenizer;
  bool has_normalizer = false;
  const std::size_t tokens = loaded.tokenizer->vocab_size();
  if (tokens > vocab)
    return Status::corruption(path + ": has " + std::to_string(tokens) +
                              " tokens, more than the model's " + std::to_string(vocab));
  {
    COLLEGIUM_ASSIGN_OR_RETURN(const auto document, JsonDocument::open(path, kMaxTokenizerBytes));
    const JsonValue root = document.root();
    has_normalizer = root.has("normalizer") && !root.get("normalizer")->is_null();
    const auto decoder_value = root.get("decoder");
    if (!decoder_value.ok() || decoder_value->is_null())
      return Status::not_supported(path + ": has no decoder, which is not run here");
    COLLEGIUM_ASSIGN_OR_RETURN(const auto decoder, TokenDecoder::read(*decoder_value));
    parts.bytes.resize(vocab);
    parts.control.resize(vocab);
    for (std::size_t i = 0; i < tokens; ++i) {
      const std::string_view token = loaded.tokenizer->token(static_cast<std::int32_t>(i));
      auto bytes = decoder.token_bytes(token);
      if (!bytes.ok()) return bytes.status().with_context(path);
      parts.bytes[i] = *std::move(bytes);
    }
    if (root.has("added_tokens") && !root.get("added_tokens")->is_null()) {
      COLLEGIUM_ASSIGN_OR_RETURN(const auto added,
                                 root.get("added_tokens")->as_array(kMaxAddedTokens));
      for (const JsonValue& token : added) {
        COLLEGIUM_ASSIGN_OR_RETURN(const std::uint64_t id, token.get_unsigned("id"));
        COLLEGIUM_ASSIGN_OR_RETURN(const bool special, token.bool_or("special", false));
        if (!special || id >= tokens) continue;
        parts.control[id] = true;
        COLLEGIUM_ASSIGN_OR_RETURN(parts.bytes[id], token.get_string("content"));
      }
    }
  }
  std::set<std::int32_t> ends;
  COLLEGIUM_ASSIGN_OR_RETURN(const auto generation,
                             open_if_there(folder + "/generation_config.json"));
  COLLEGIUM_ASSIGN_OR_RETURN(const auto config, open_if_there(folder + "/config.json"));
  // Where both say, the one that is about generation counts, as in transformers.
  if (generation) COLLEGIUM_RETURN_IF_ERROR(read_end_ids(generation->root(), vocab, ends));
  if (config && ends.empty()) COLLEGIUM_RETURN_IF_ERROR(read_end_ids(config->root(), vocab, ends));
  COLLEGIUM_ASSIGN_OR_RETURN(const auto tokenizer_config,
                             open_if_there(folder + "/tokenizer_config.json"));
  if (tokenizer_config) {
    const JsonValue root = tokenizer_config->root();
    COLLEGIUM_RETURN_IF_ERROR(check_class(root, has_normalizer));
    COLLEGIUM_ASSIGN_OR_RETURN(parts.bos_token, read_token(root, "bos_token"));
    COLLEGIUM_ASSIGN_OR_RETURN(parts.eos_token, read_token(root, "eos_token"));
    COLLEGIUM_ASSIGN_OR_RETURN(parts.chat_template, read_template(root));
    COLLEGIUM_RETURN_IF_ERROR(check_ends(root, *parts.tokenizer, parts.bos_token, parts.eos_token));
    if (ends.empty() && !parts.eos_token.empty()) {
      const std::int32_t id = parts.tokenizer->token_id(parts.eos_token);
      if (id >= 0) ends.insert(id);
    }
  }
  // A file of its own counts more.
  if (const std::string jinja = folder + "/chat_template.jinja"; is_file(jinja)) {
    COLLEGIUM_ASSIGN_OR_RETURN(const auto text, MappedFile::open(jinja));
    if (text.bytes().size() > kMaxConfigBytes)
      return Status::resource_exhausted(jinja + ": has " + std::to_string(text.bytes().size()) +
                                        " bytes, at most " + std::to_string(kMaxConfigBytes));
    parts.chat_template.assign(reinterpret_cast<const char*>(text.bytes().data()),
                               text.bytes().size());
    if (!check_utf8(parts.chat_template, "template").ok())
      return Status::corruption(jinja + ": is not UTF-8");
  }
  parts.end_ids.assign(ends.begin(), ends.end());
  return LmTokenizer(std::move(parts));
}

}  // namespace collegium::core
