#pragma once

#include <string>
#include <vector>

#include "collegium/core/status.h"
#include "text/bert_words.h"

namespace collegium::core {

// What a folder's tokenizer_config.json and special_tokens_map.json say about a WordPiece
// vocabulary; the defaults are BERT's where they say nothing.
struct WordPieceConfig {
  BertWordOptions words;
  std::string unk_token = "[UNK]";
  std::string cls_token = "[CLS]";
  std::string sep_token = "[SEP]";
  std::string pad_token = "[PAD]";
  std::string mask_token = "[MASK]";
  std::vector<std::string> more_special_tokens;  // found in raw text too, besides the five
};

// Both files may be absent. corruption if one is no JSON or a field has the wrong type;
// not_supported, naming the field, if one asks for what would give other ids than ours.
Result<WordPieceConfig> read_wordpiece_config(const std::string& folder);

}  // namespace collegium::core
