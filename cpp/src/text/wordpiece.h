#pragma once

#include <memory>
#include <string>
#include <vector>

#include "collegium/core/text/tokenizer.h"
#include "text/wordpiece_config.h"

namespace collegium::core {

// BERT's WordPiece from tokens in the order of their ids; `special` are those found in the raw
// text. load_wordpiece() of the same gives an equal tokenizer, with the same digest.
// corruption: a token twice, or no token for one the config names. `where` starts the messages.
Result<std::shared_ptr<const Tokenizer>> make_wordpiece(const std::vector<std::string>& tokens,
                                                        const WordPieceConfig& config,
                                                        const std::vector<std::string>& special,
                                                        const std::string& where);

// What the `tokenizers` package does to each token before it joins them.
void clean_up_wordpiece(std::string& text);

}  // namespace collegium::core
