#include <filesystem>
#include <optional>
#include <span>
#include <system_error>

#include "collegium/core/text/tokenizer.h"
#include "text/json_fields.h"

namespace collegium::core {
namespace {

bool is_file(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path, ignored);
}

}  // namespace

Result<LoadedTokenizer> load_tokenizer(const std::string& folder) {
  const std::string json = folder + "/tokenizer.json";
  if (is_file(json)) {
    COLLEGIUM_ASSIGN_OR_RETURN(auto tokenizer, load_tokenizer_json(json));
    return LoadedTokenizer{std::move(tokenizer), {"tokenizer.json"}};
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
