#include "text/wordpiece_config.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

#include "io/in_quotes.h"
#include "io/json_file.h"

namespace collegium::core {
namespace {

constexpr std::size_t kMaxTokens = 10'000;

constexpr std::string_view kClasses[] = {
    "BertTokenizer",    "BertTokenizerFast",    "DistilBertTokenizer", "DistilBertTokenizerFast",
    "ElectraTokenizer", "ElectraTokenizerFast", "MobileBertTokenizer", "MobileBertTokenizerFast",
};

// Fields of real folders that do not change the ids of one text.
constexpr std::string_view kHarmless[] = {
    "_commit_hash",
    "_name_or_path",
    "backend",
    "clean_up_tokenization_spaces",
    "full_tokenizer_file",
    "is_local",
    "local_files_only",
    "max_len",
    "max_length",
    "model_input_names",
    "model_max_length",
    "name_or_path",
    "pad_to_multiple_of",
    "pad_token_type_id",
    "padding",
    "padding_side",
    "processor_class",
    "return_token_type_ids",
    "special_tokens_map_file",
    "stride",
    "tokenizer_file",
    "transformers_version",
    "truncation",
    "truncation_strategy",
    "use_fast",
    "vocab_file",
    "vocab_size",
};

Status unsupported(const JsonValue& value, std::string_view what) {
  return Status::not_supported(value.where() + ": " + std::string(what));
}

// Fields that must have the one value that means what we do.
Status require_bool(const JsonValue& value, bool wanted) {
  if (value.is_null()) return {};
  COLLEGIUM_ASSIGN_OR_RETURN(const bool seen, value.as_bool());
  if (seen == wanted) return {};
  return unsupported(
      value, wanted ? "false is not supported, only true" : "true is not supported, only false");
}

Status require_string(const JsonValue& value, std::string_view wanted) {
  if (value.is_null()) return {};
  COLLEGIUM_ASSIGN_OR_RETURN(const std::string seen, value.as_string());
  if (seen == wanted) return {};
  return unsupported(value, in_quotes(seen) + " is not supported, only " + in_quotes(wanted));
}

Status require_empty(const JsonValue& value) {
  if (value.is_null()) return {};
  COLLEGIUM_ASSIGN_OR_RETURN(const auto elements, value.as_array(kMaxTokens));
  if (elements.empty()) return {};
  return unsupported(value, "is not supported unless empty");
}

// A token is a string, or an object whose flags say how it is found in raw text.
Result<std::string> read_token(const JsonValue& value) {
  if (value.is_string()) return value.as_string();
  for (const std::string_view flag : {"lstrip", "rstrip", "single_word", "normalized"}) {
    COLLEGIUM_ASSIGN_OR_RETURN(const bool on, value.bool_or(flag, false));
    if (on) return unsupported(value, std::string(flag) + " true is not supported, only false");
  }
  return value.get_string("content");
}

Status add_tokens(const JsonValue& value, std::vector<std::string>& tokens) {
  if (value.is_null()) return {};
  if (value.is_object()) {
    return value.for_each_field([&](std::string_view, const JsonValue& child) -> Status {
      COLLEGIUM_ASSIGN_OR_RETURN(std::string token, read_token(child));
      tokens.push_back(std::move(token));
      return {};
    });
  }
  COLLEGIUM_ASSIGN_OR_RETURN(const auto children, value.as_array(kMaxTokens));
  for (const JsonValue& child : children) {
    COLLEGIUM_ASSIGN_OR_RETURN(std::string token, read_token(child));
    tokens.push_back(std::move(token));
  }
  return {};
}

struct Reader {
  WordPieceConfig config;
  std::optional<bool> strip_accents;
  // The special tokens' names seen so far, to notice two files that disagree.
  struct Name {
    std::string_view field;
    std::string WordPieceConfig::*token;
    std::string where;
  };
  std::array<Name, 5> names = {{{"unk_token", &WordPieceConfig::unk_token, ""},
                                {"cls_token", &WordPieceConfig::cls_token, ""},
                                {"sep_token", &WordPieceConfig::sep_token, ""},
                                {"pad_token", &WordPieceConfig::pad_token, ""},
                                {"mask_token", &WordPieceConfig::mask_token, ""}}};

  Status special_name(Name& name, const JsonValue& value) {
    if (value.is_null()) return {};
    COLLEGIUM_ASSIGN_OR_RETURN(std::string token, read_token(value));
    if (!name.where.empty() && config.*name.token != token)
      return unsupported(value, in_quotes(token) + " disagrees with " + name.where + ", " +
                                    in_quotes(config.*name.token));
    config.*name.token = std::move(token);
    name.where = value.where();
    return {};
  }

  Status special_field(std::string_view key, const JsonValue& value, bool& known) {
    known = true;
    for (Name& name : names) {
      if (key == name.field) return special_name(name, value);
    }
    if (key == "additional_special_tokens" || key == "extra_special_tokens")
      return add_tokens(value, config.more_special_tokens);
    known = false;
    return {};
  }

  Status field(std::string_view key, const JsonValue& value) {
    bool known = false;
    COLLEGIUM_RETURN_IF_ERROR(special_field(key, value, known));
    if (known) return {};
    if (key == "do_lower_case") return read_bool(value, config.words.lowercase);
    if (key == "tokenize_chinese_chars") return read_bool(value, config.words.split_chinese_chars);
    if (key == "strip_accents") {
      if (value.is_null()) return {};
      COLLEGIUM_ASSIGN_OR_RETURN(strip_accents, value.as_bool());
      return {};
    }
    if (key == "do_basic_tokenize" || key == "clean_text") return require_bool(value, true);
    if (key == "split_special_tokens") return require_bool(value, false);
    if (key == "truncation_side") return require_string(value, "right");
    if (key == "wordpieces_prefix") return require_string(value, "##");
    if (key == "never_split") return require_empty(value);
    if (key == "added_tokens_decoder") return add_tokens(value, config.more_special_tokens);
    if (key == "tokenizer_class") return tokenizer_class(value);
    if (std::find(std::begin(kHarmless), std::end(kHarmless), key) != std::end(kHarmless))
      return {};
    return unsupported(value, "this field is unknown and might change ids; remove it if not");
  }

  static Status read_bool(const JsonValue& value, bool& to) {
    if (value.is_null()) return {};
    COLLEGIUM_ASSIGN_OR_RETURN(to, value.as_bool());
    return {};
  }

  static Status tokenizer_class(const JsonValue& value) {
    if (value.is_null()) return {};
    COLLEGIUM_ASSIGN_OR_RETURN(const std::string name, value.as_string());
    if (std::find(std::begin(kClasses), std::end(kClasses), name) != std::end(kClasses)) return {};
    return unsupported(value, in_quotes(name) + " is no WordPiece tokenizer of BERT's kind");
  }
};

// Calls `function` for each field of a file that may be absent.
template <typename Function>
Status for_each_field(const std::string& path, Function function) {
  const auto document = JsonDocument::open(path, std::size_t{16} << 20);
  if (document.status().code() == StatusCode::kNotFound) return {};
  if (!document.ok()) return document.status();
  return document->root().for_each_field(function);
}

}  // namespace

Result<WordPieceConfig> read_wordpiece_config(const std::string& folder) {
  Reader reader;
  COLLEGIUM_RETURN_IF_ERROR(for_each_field(
      folder + "/tokenizer_config.json",
      [&](std::string_view key, const JsonValue& value) { return reader.field(key, value); }));
  COLLEGIUM_RETURN_IF_ERROR(for_each_field(
      folder + "/special_tokens_map.json", [&](std::string_view key, const JsonValue& value) {
        bool known = false;
        Status status = reader.special_field(key, value, known);
        if (status.ok() && !known) return unsupported(value, "this field is unknown");
        return status;
      }));
  // As in BERT: unless said otherwise, accents go when capitals do.
  reader.config.words.strip_accents = reader.strip_accents.value_or(reader.config.words.lowercase);
  return std::move(reader.config);
}

}  // namespace collegium::core
