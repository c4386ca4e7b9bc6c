#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/json_file.h"
#include "lm/decoder_config.h"

namespace collegium::core {

// What a config.json says, beside the arithmetic: how the model's tensors are named and shaped.
struct HfDecoder {
  enum class Norms : std::uint8_t {
    kPre,       // input_layernorm, post_attention_layernorm before the two parts
    kPost,      // OLMo2: post_attention_layernorm, post_feedforward_layernorm behind them
    kSandwich,  // Gemma: all four
  };
  DecoderConfig config;
  Norms norms = Norms::kPre;
  bool norm_adds_one = false;  // Gemma: files hold w, the factor is 1 + w
  bool qk_norm = false;
  bool qkv_bias = false;
  bool output_bias = false;  // of attention
  bool mlp_bias = false;
  bool head_bias = false;  // of the output
  bool selection_bias = false;
  bool shared_gate = false;
  std::size_t extra_layers = 0;  // behind the last, of heads that predict further tokens: not run
};

// The decoders of transformers by their model_type. corruption; not_supported names the field and
// its value, or a field that is not known here.
Result<HfDecoder> read_hf_decoder_config(const JsonValue& root);

// Reads the fields of an object and remembers the first failure and which were read: fields that
// nobody read are refused at the end. Reading goes on after a failure, with values that do not
// matter.
class JsonFields {
 public:
  explicit JsonFields(JsonValue root) : root_(std::move(root)) {}

  const JsonValue& root() const noexcept { return root_; }
  bool ok() const noexcept { return status_.ok(); }
  // The first is kept.
  void fail(Status status);
  // There and not null.
  bool has(std::string_view key) const;
  // Says that a field is known and changes nothing.
  void ignore(std::string_view key) { read_.emplace(key); }

  // A count from 1 (or `least`) to 2^31. Missing is corruption, without a fallback.
  std::size_t count(std::string_view key, std::size_t least = 1);
  std::size_t count_or(std::string_view key, std::size_t fallback, std::size_t least = 0);
  double number(std::string_view key);
  double number_or(std::string_view key, double fallback);
  bool flag_or(std::string_view key, bool fallback);
  std::string text_or(std::string_view key, std::string fallback);
  std::vector<double> numbers(std::string_view key);
  std::vector<std::string> texts(std::string_view key);
  // not_supported unless the field is absent, null or `value`.
  void only_flag(std::string_view key, bool value);
  void only_text(std::string_view key, std::string_view value);
  // Null where it is absent or null.
  const JsonValue* object(std::string_view key);

  // The first failure, or unknown_field of one nobody read.
  Status finish() const;

 private:
  // Null where the field is absent or null; then fallbacks are meant.
  const JsonValue* find(std::string_view key);

  JsonValue root_;
  std::deque<JsonValue> found_;  // stay where they are
  std::set<std::string, std::less<>> read_;
  Status status_;
};

// The rotation that `fields` (rope_parameters, or rope_scaling beside rope_theta) describe, of
// `dims` numbers of a head. `attention_scale` is changed where the variant says so, `context` cut
// to what the variant was trained for where it holds no longer.
struct HfRopeAsk {
  double base;  // where the fields name none
  std::size_t dims;
  double partial = 1.0;  // partial_rotary_factor beside the fields
  RopeLayout layout = RopeLayout::kPairs;
  std::size_t original_context = 0;  // where the fields name none
  bool latent = false;               // DeepSeek: YaRN changes the scale of attention too
  bool long_rope = false;            // Phi-MoE's variant may be asked for
};
Rope read_hf_rope(JsonFields& fields, const HfRopeAsk& ask, float& attention_scale,
                  std::size_t& context);

}  // namespace collegium::core
