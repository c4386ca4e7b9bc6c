#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "collegium/core/status.h"
#include "experts/trunk_config.h"

namespace collegium::core {

// How the tokens' states become one vector (arXiv 1908.10084).
enum class PoolingMode : std::uint8_t {
  kCls,  // the first token's
  kMax,  // the largest of each dimension
  kMean,
  kMeanSqrtLength,  // the sum by the square root of the length
  kWeightedMean,    // the mean with weights 1, 2, 3, ... (arXiv 2202.08904)
  kLastToken,
};

enum class DenseActivation : std::uint8_t { kTanh, kIdentity, kRelu, kGelu, kSilu };

struct DenseConfig {
  std::string path;  // of its folder, "2_Dense/"
  std::size_t inputs = 0;
  std::size_t outputs = 0;
  bool bias = true;
  DenseActivation activation = DenseActivation::kTanh;
};

// What happens to a pooled vector: a Dense, or without one L2 normalisation.
struct HeadStep {
  std::optional<DenseConfig> dense;
};

// What a Hugging Face folder asks of an encoder, checked: a field, module or option that would
// change vectors and is not run here has been refused by name.
struct EncoderConfig {
  TrunkConfig trunk;
  // One vector after another; mean without modules.json, as in sentence-transformers.
  std::vector<PoolingMode> pooling = {PoolingMode::kMean};
  bool include_prompt = true;  // false: a prompt's tokens are seen by the trunk, but not pooled
  std::vector<HeadStep> head;
  std::size_t dim = 0;           // of a vector before truncation
  std::size_t truncate_dim = 0;  // keep so many dimensions (arXiv 2205.13147); 0: all
  std::size_t max_tokens = 0;    // special tokens included
  bool lower_case = false;       // the tokenizer must make capitals small
  std::string query_prompt;      // put before a query, or empty
  std::string document_prompt;

  // Where config.json, tokenizer and model.safetensors are: "" or "0_Transformer/".
  std::string trunk_folder;
  // Every file read so far, relative to the folder.
  std::vector<std::string> files;

  std::size_t output_dim() const { return truncate_dim == 0 ? dim : truncate_dim; }
  bool normalized() const { return !head.empty() && !head.back().dense.has_value(); }
};

// What to say of `folder`, which lacks "model.safetensors": not_supported with the name of a file
// that holds weights in a format that is not read here, else not_found.
Status no_weights(const std::string& folder);

// not_found for a file that must be there, corruption, not_supported.
Result<EncoderConfig> read_encoder_config(const std::string& folder);

}  // namespace collegium::core
