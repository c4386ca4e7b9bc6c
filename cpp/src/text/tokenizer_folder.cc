#include <algorithm>
#include <filesystem>
#include <iterator>
#include <system_error>

#include "collegium/core/text/tokenizer.h"
#include "text/json_fields.h"
#include "text/tokenizer_json.h"

namespace collegium::core {
namespace {

constexpr std::size_t kMaxConfigBytes = std::size_t{16} << 20;

// Classes that take tokenizer.json as it is. The others are built from tokenizer_config.json by
// transformers 5, which takes vocabulary and post-processor alone from tokenizer.json.
constexpr std::string_view kPlainClasses[] = {"PreTrainedTokenizerFast", "TokenizersBackend"};
constexpr std::string_view kNoSpaceClasses[] = {"RobertaTokenizer", "RobertaTokenizerFast",
                                                "GPT2Tokenizer", "GPT2TokenizerFast"};

template <std::size_t size>
bool is_one_of(const std::string& name, const std::string_view (&names)[size]) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

bool is_file(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path, ignored);
}

Status agree(const JsonValue& config, std::string_view key, bool wanted, bool seen,
             std::string_view field) {
  if (wanted == seen) return {};
  const auto spell = [](bool value) { return std::string(value ? "true" : "false"); };
  const bool given = config.has(key);
  return Status::not_supported(
      config.where() + ": " + std::string(key) + " is " + spell(wanted) +
      (given ? "" : " where it is not given") + ", but tokenizer.json has " + std::string(field) +
      " " + spell(seen) + "; programs that build the tokenizer from either would differ");
}

// not_supported where tokenizer_config.json asks for other ids than tokenizer.json gives.
Status check_config(const std::string& path, const TokenizerSettings& settings) {
  const auto document = JsonDocument::open(path, kMaxConfigBytes);
  if (!document.ok()) return document.status();
  const JsonValue config = document->root();
  // These two are the calling program's, and its default is what is run here.
  COLLEGIUM_ASSIGN_OR_RETURN(const std::string side, config.string_or("truncation_side", "right"));
  if (side != "right") {
    return Status::not_supported(config.where() + ": truncation_side is " + in_quotes(side) +
                                 "; here only 'right' is run");
  }
  COLLEGIUM_ASSIGN_OR_RETURN(const bool split, config.bool_or("split_special_tokens", false));
  if (split) {
    return Status::not_supported(config.where() +
                                 ": split_special_tokens is true; here only false is run");
  }
  COLLEGIUM_ASSIGN_OR_RETURN(const std::string name, config.string_or("tokenizer_class", ""));
  if (is_one_of(name, kPlainClasses)) return {};
  if (settings.lowercase) {
    COLLEGIUM_ASSIGN_OR_RETURN(const bool lowercase, config.bool_or("do_lower_case", true));
    COLLEGIUM_ASSIGN_OR_RETURN(const bool strip, config.bool_or("strip_accents", lowercase));
    COLLEGIUM_ASSIGN_OR_RETURN(const bool chinese, config.bool_or("tokenize_chinese_chars", true));
    COLLEGIUM_RETURN_IF_ERROR(
        agree(config, "do_lower_case", lowercase, *settings.lowercase, "lowercase"));
    COLLEGIUM_RETURN_IF_ERROR(
        agree(config, "strip_accents", strip, *settings.strip_accents, "strip_accents"));
    COLLEGIUM_RETURN_IF_ERROR(agree(config, "tokenize_chinese_chars", chinese,
                                    *settings.split_chinese_chars, "handle_chinese_chars"));
  }
  if (settings.add_prefix_space) {
    // Where it is not given each class has its own default.
    const bool fallback = !is_one_of(name, kNoSpaceClasses) && *settings.add_prefix_space;
    COLLEGIUM_ASSIGN_OR_RETURN(const bool prefix, config.bool_or("add_prefix_space", fallback));
    COLLEGIUM_RETURN_IF_ERROR(
        agree(config, "add_prefix_space", prefix, *settings.add_prefix_space, "add_prefix_space"));
  }
  return {};
}

}  // namespace

Result<LoadedTokenizer> load_tokenizer(const std::string& folder) {
  const std::string json = folder + "/tokenizer.json";
  const std::string config = folder + "/tokenizer_config.json";
  if (is_file(json)) {
    TokenizerSettings settings;
    COLLEGIUM_ASSIGN_OR_RETURN(auto tokenizer, read_tokenizer_json(json, &settings));
    LoadedTokenizer loaded{std::move(tokenizer), {"tokenizer.json"}};
    if (is_file(config)) {
      COLLEGIUM_RETURN_IF_ERROR(check_config(config, settings));
      loaded.files.emplace_back("tokenizer_config.json");
    }
    return loaded;
  }
  if (is_file(folder + "/vocab.txt")) {
    COLLEGIUM_ASSIGN_OR_RETURN(auto tokenizer, load_wordpiece(folder));
    LoadedTokenizer loaded{std::move(tokenizer), {"vocab.txt"}};
    for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"})
      if (is_file(folder + "/" + name)) loaded.files.emplace_back(name);
    return loaded;
  }
  for (const char* name : {"sentencepiece.bpe.model", "spiece.model", "tokenizer.model"})
    if (is_file(folder + "/" + name))
      return Status::not_supported(folder + "/" + name +
                                   ": a SentencePiece model alone does not tell the ids of the "
                                   "model it came with; tokenizer.json does");
  return Status::not_found(folder + ": has neither tokenizer.json nor vocab.txt");
}

}  // namespace collegium::core
