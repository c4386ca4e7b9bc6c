#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/status.h"
#include "io/json_file.h"

namespace collegium::core {

enum class Architecture : std::uint8_t {
  kBert,        // arXiv 1810.04805
  kDistilBert,  // arXiv 1910.01108
  kRoberta,     // arXiv 1907.11692; XLM-R (arXiv 1911.02116) is the same trunk
  kMpnet,       // arXiv 2004.09297
  kModernBert,  // arXiv 2412.13663
  kNomicBert,   // arXiv 2402.01613
};

enum class Activation : std::uint8_t { kGelu, kGeluTanh, kSilu, kRelu };

// What one layer's attention looks at.
struct AttentionSpan {
  std::size_t window = 0;   // tokens at most so far away; 0: all
  float rotary_base = 0.0;  // of rotary positions (arXiv 2104.09864); 0: none
};

// What a config.json asks of a trunk, checked: a field that would change vectors and is not run
// here has been refused by name.
struct TrunkConfig {
  Architecture architecture = Architecture::kBert;
  std::size_t vocab_size = 0;
  std::size_t hidden_size = 0;
  std::size_t num_layers = 0;
  std::size_t num_heads = 0;
  std::size_t intermediate_size = 0;
  std::size_t max_positions = 0;    // tokens a sequence may have
  std::size_t type_vocab_size = 0;  // 0: no segments
  float layer_norm_eps = 0.0f;
  Activation activation = Activation::kGelu;

  // Rows of the table of learned positions; 0: none. A sequence begins at row first_position, and
  // a token pad_id takes the row before that and counts for none (RoBERTa's rule).
  std::size_t position_rows = 0;
  std::size_t first_position = 0;
  std::int32_t pad_id = -1;
  std::size_t relative_buckets = 0;  // of distances with a learned bias, MPNet's; 0: none
  std::vector<AttentionSpan> spans;  // (layers,)

  bool pre_norm =
      false;           // norms before attention and feed-forward instead of behind, one at the end
  bool gated = false;  // feed-forward: act(a x) * (b x)
  bool attention_bias = true;
  bool mlp_bias = true;
  bool norm_bias = true;
};

// Of the root of a config.json. corruption, not_supported (field and value by name).
Result<TrunkConfig> read_trunk_config(const JsonValue& root);

// not_supported: `value` is `what`, "here only `allowed` is run".
Status not_run(const JsonValue& value, std::string_view what, std::string_view allowed);
// not_supported: nobody here knows the field.
Status unknown_field(const JsonValue& value);

}  // namespace collegium::core
