#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "collegium/core/status.h"

namespace collegium::core {

enum class Pooling { kMean, kCls };

// What a Hugging Face folder asks of a BERT encoder, checked: a field, module or option that would
// change vectors and is not run here has been refused by name.
struct EncoderConfig {
  std::size_t vocab_size = 0;
  std::size_t hidden_size = 0;
  std::size_t num_layers = 0;
  std::size_t num_heads = 0;
  std::size_t intermediate_size = 0;
  std::size_t max_positions = 0;
  std::size_t type_vocab_size = 0;
  float layer_norm_eps = 0.0f;

  Pooling pooling = Pooling::kMean;  // mean without modules.json, as in sentence-transformers
  bool normalize = false;
  std::size_t max_tokens = 0;  // special tokens included
  std::string query_prompt;    // put before a query, or empty
  std::string document_prompt;

  // Where config.json, vocab.txt and model.safetensors are: "" or "0_Transformer/".
  std::string trunk;
  // Every file read so far, relative to the folder.
  std::vector<std::string> files;
};

// not_found for a file that must be there, corruption, not_supported.
Result<EncoderConfig> read_encoder_config(const std::string& folder);

}  // namespace collegium::core
