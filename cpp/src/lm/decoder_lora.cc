#include "lm/decoder_lora.h"

#include <algorithm>
#include <charconv>
#include <span>
#include <string_view>
#include <utility>

#include "experts/peft_folder.h"
#include "io/in_quotes.h"
#include "lm/decoder.h"

namespace collegium::core {
namespace {

struct Named {
  std::string_view module;
  LoraTarget target;
};
constexpr Named kNamed[] = {
    {"self_attn.q_proj", LoraTarget::kQ},
    {"self_attn.k_proj", LoraTarget::kK},
    {"self_attn.v_proj", LoraTarget::kV},
    {"self_attn.o_proj", LoraTarget::kAttentionOutput},
    {"self_attn.q_a_proj", LoraTarget::kQDown},
    {"self_attn.q_b_proj", LoraTarget::kQUp},
    {"self_attn.kv_a_proj_with_mqa", LoraTarget::kKvDown},
    {"self_attn.kv_b_proj", LoraTarget::kKvUp},
    {"mlp.gate_proj", LoraTarget::kGate},
    {"mlp.up_proj", LoraTarget::kUp},
    {"mlp.down_proj", LoraTarget::kDown},
};

const QuantizedLinear& linear_of(const DecoderLayerWeights& layer, LoraTarget target) {
  switch (target) {
    case LoraTarget::kQ:
      return layer.q;
    case LoraTarget::kK:
      return layer.k;
    case LoraTarget::kV:
      return layer.v;
    case LoraTarget::kAttentionOutput:
      return layer.attention_output;
    case LoraTarget::kQDown:
      return layer.q_down;
    case LoraTarget::kQUp:
      return layer.q_up;
    case LoraTarget::kKvDown:
      return layer.kv_down;
    case LoraTarget::kKvUp:
      return layer.kv_up;
    case LoraTarget::kGate:
      return layer.mlp.gate;
    case LoraTarget::kUp:
      return layer.mlp.up;
    case LoraTarget::kDown:
      break;
  }
  return layer.mlp.down;
}

// Where a checkpoint's heads have halves and the base pairs (GGUF files of the "llama"
// architecture), rows (outputs) of B go where the base has them.
std::vector<float> rows_in_pairs(const std::vector<float>& b, std::size_t rank,
                                 std::size_t head_dim) {
  std::vector<float> out(b.size());
  const std::size_t rows = b.size() / rank;
  for (std::size_t row = 0; row < rows; ++row) {
    const std::size_t in_head = row % head_dim;
    const std::size_t half = head_dim / 2;
    const std::size_t to =
        row - in_head + (in_head < half ? 2 * in_head : 2 * (in_head - half) + 1);
    std::copy_n(b.data() + row * rank, rank, out.data() + to * rank);
  }
  return out;
}

GgufTensor as_matrix(const std::vector<float>& numbers, std::size_t rows, std::size_t columns) {
  return {GgmlType::kF32, {rows, columns}, std::as_bytes(std::span(numbers))};
}

}  // namespace

Result<std::shared_ptr<const DecoderLora>> read_decoder_lora(const std::string& folder,
                                                             const Decoder& base) {
  COLLEGIUM_ASSIGN_OR_RETURN(PeftLora read, read_peft_lora(folder, "model."));
  const DecoderConfig& config = base.config();
  auto lora = std::make_shared<DecoderLora>();
  lora->rank = read.rank;
  lora->layers.resize(config.layers.size());
  for (auto& [module, matrices] : read.modules) {
    // "layers.3.self_attn.q_proj"
    constexpr std::string_view kLayers = "layers.";
    std::string_view rest(module);
    std::size_t number = 0;
    const Named* named = std::end(kNamed);
    if (rest.starts_with(kLayers)) {
      rest.remove_prefix(kLayers.size());
      const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
      rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
      if (error == std::errc() && rest.starts_with("."))
        named = std::find_if(std::begin(kNamed), std::end(kNamed),
                             [&](const Named& one) { return one.module == rest.substr(1); });
    }
    if (named == std::end(kNamed))
      return Status::not_supported(read.path + ": module " + in_quotes(module) +
                                   " is not adapted here; attention and dense feed-forward "
                                   "projections are");
    if (number >= config.layers.size())
      return Status::corruption(read.path + ": module " + in_quotes(module) + ", but there are " +
                                std::to_string(config.layers.size()) + " layers");
    const DecoderLayerWeights& layer = base.weights().layers[number];
    const QuantizedLinear& linear = linear_of(layer, named->target);
    if (linear.empty())
      return Status::not_supported(read.path + ": module " + in_quotes(module) +
                                   " is no dense projection of this model");
    if (matrices.inputs != linear.inputs() || matrices.outputs != linear.outputs())
      return Status::corruption(read.path + ": module " + in_quotes(module) + " is adapted from " +
                                std::to_string(matrices.inputs) + " to " +
                                std::to_string(matrices.outputs) + " numbers, but goes from " +
                                std::to_string(linear.inputs()) + " to " +
                                std::to_string(linear.outputs()) + " in this model");
    DecoderLoraTerm& term = lora->layers[number][static_cast<std::size_t>(named->target)];
    term.a = std::move(matrices.a);
    term.b = std::move(matrices.b);
    for (float& number_of_b : term.b) number_of_b *= matrices.scale;
    const std::size_t rope = config.layers[number].rope;
    const bool turned = named->target == LoraTarget::kQ || named->target == LoraTarget::kK;
    if (turned && config.latent.kv_rank == 0 && rope != kNoRope &&
        config.ropes[rope].layout == RopeLayout::kPairs)
      term.b = rows_in_pairs(term.b, read.rank, config.head_dim);
    term.down = QuantizedLinear(as_matrix(term.a, read.rank, matrices.inputs), base.isa());
    term.up = QuantizedLinear(as_matrix(term.b, matrices.outputs, read.rank), base.isa());
    lora->modules.push_back(module);
  }
  return std::shared_ptr<const DecoderLora>(std::move(lora));
}

}  // namespace collegium::core
