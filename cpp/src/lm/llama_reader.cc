// LlamaModel::read: from a file's metadata and tensors, trusting neither.
#include <array>
#include <cmath>
#include <set>

#include "io/in_quotes.h"
#include "lm/llama.h"

namespace collegium::core {
namespace {

// Beyond any model; products of two stay far from overflow, and positions are exact in fp32.
constexpr std::size_t kMaxContext = std::size_t{1} << 24;
constexpr std::size_t kMaxWidth = std::size_t{1} << 20;
constexpr std::size_t kMaxHeads = std::size_t{1} << 12;
constexpr std::size_t kMaxLayers = std::size_t{1} << 12;

// Reads metadata and tensors of one file and remembers which tensors were used.
class Reader {
 public:
  explicit Reader(const GgufFile& file) : file_(file) {}

  Status damage(const std::string& message) const {
    return Status::corruption(file_.path() + ": " + message);
  }

  // An integer in [1, most].
  Status read_count(const std::string& key, std::size_t most, std::size_t& out) const {
    const auto value = file_.get_unsigned(key);
    if (!value.ok()) return Status::corruption(value.status().message());
    if (*value < 1 || *value > most)
      return damage(key + " is " + std::to_string(*value) + ", must be in [1, " +
                    std::to_string(most) + "]");
    out = static_cast<std::size_t>(*value);
    return {};
  }

  Status read_positive(const std::string& key, float& out) const {
    const auto value = file_.get_number(key);
    if (!value.ok()) return Status::corruption(value.status().message());
    out = static_cast<float>(*value);
    if (!(out > 0.0f) || !std::isfinite(out))
      return damage(key + " is " + std::to_string(*value) + ", must be positive and finite");
    return {};
  }

  // Metadata that changes the arithmetic is refused unless it says what we compute anyway.
  Status refuse_unless(const std::string& key, double neutral) const {
    if (!file_.has(key)) return {};
    const auto value = file_.get_number(key);
    if (!value.ok()) return Status::corruption(value.status().message());
    if (*value == neutral) return {};
    return Status::not_supported(file_.path() + ": " + key + " is " + std::to_string(*value) +
                                 ", only " + std::to_string(neutral) + " is run here");
  }

  Result<GgufTensor> find(const std::string& name, std::vector<std::size_t> shape) {
    auto tensor = file_.find(name, shape);
    if (!tensor.ok()) {
      if (tensor.status().code() == StatusCode::kNotSupported) return tensor.status();
      return Status::corruption(tensor.status().message());
    }
    used_.insert(name);
    return tensor;
  }

  Status read_vector(const std::string& name, std::size_t size, std::vector<float>& out) {
    COLLEGIUM_ASSIGN_OR_RETURN(const auto tensor, find(name, {size}));
    out.resize(size);
    dequantize(tensor.type, tensor.bytes.data(), size, out.data());
    return {};
  }

  Status read_linear(const std::string& name, std::size_t outputs, std::size_t inputs, Isa isa,
                     QuantizedLinear& out) {
    COLLEGIUM_ASSIGN_OR_RETURN(const auto tensor, find(name, {outputs, inputs}));
    out = QuantizedLinear(tensor, isa);
    return {};
  }

  // A tensor nobody asked for would change the result if it were known.
  Status refuse_unused() const {
    for (const auto& [name, tensor] : file_.tensors())
      if (!used_.contains(name))
        return Status::not_supported(file_.path() + ": tensor " + in_quotes(name) +
                                     " is no part of the Llama architecture as it is run here");
    return {};
  }

 private:
  const GgufFile& file_;
  std::set<std::string, std::less<>> used_;
};

Result<LlamaConfig> read_config(const GgufFile& file, const Reader& reader) {
  const auto architecture = file.get_string("general.architecture");
  if (!architecture.ok()) return Status::corruption(architecture.status().message());
  if (*architecture != "llama")
    return Status::not_supported(file.path() + ": architecture " + in_quotes(*architecture) +
                                 " is not run here; allowed: llama");
  LlamaConfig config;
  COLLEGIUM_RETURN_IF_ERROR(reader.read_count("llama.block_count", kMaxLayers, config.layers));
  COLLEGIUM_RETURN_IF_ERROR(reader.read_count("llama.context_length", kMaxContext, config.context));
  COLLEGIUM_RETURN_IF_ERROR(reader.read_count("llama.embedding_length", kMaxWidth, config.width));
  COLLEGIUM_RETURN_IF_ERROR(
      reader.read_count("llama.feed_forward_length", kMaxWidth, config.hidden));
  COLLEGIUM_RETURN_IF_ERROR(
      reader.read_count("llama.attention.head_count", kMaxHeads, config.heads));
  config.kv_heads = config.heads;
  if (file.has("llama.attention.head_count_kv"))
    COLLEGIUM_RETURN_IF_ERROR(
        reader.read_count("llama.attention.head_count_kv", config.heads, config.kv_heads));
  if (config.heads % config.kv_heads != 0)
    return reader.damage(std::to_string(config.heads) + " heads are no multiple of " +
                         std::to_string(config.kv_heads) + " key-value heads");

  if (file.has("llama.attention.key_length")) {
    COLLEGIUM_RETURN_IF_ERROR(
        reader.read_count("llama.attention.key_length", kMaxWidth, config.head_dim));
  } else if (config.width % config.heads == 0) {
    config.head_dim = config.width / config.heads;
  } else {
    return reader.damage("width " + std::to_string(config.width) + " is no multiple of " +
                         std::to_string(config.heads) + " heads");
  }
  if (config.head_dim % 2 != 0)
    return reader.damage("heads of " + std::to_string(config.head_dim) +
                         " numbers cannot be rotated in pairs");
  for (const char* key : {"llama.attention.value_length", "llama.rope.dimension_count"})
    COLLEGIUM_RETURN_IF_ERROR(reader.refuse_unless(key, static_cast<double>(config.head_dim)));
  for (const char* key : {"llama.expert_count", "llama.expert_used_count",
                          "llama.attention.sliding_window", "llama.leading_dense_block_count"})
    COLLEGIUM_RETURN_IF_ERROR(reader.refuse_unless(key, 0.0));
  for (const char* key : {"llama.rope.scaling.factor", "llama.rope.scale_linear",
                          "llama.logit_scale", "llama.embedding_scale", "llama.residual_scale"})
    COLLEGIUM_RETURN_IF_ERROR(reader.refuse_unless(key, 1.0));
  if (file.has("llama.rope.scaling.type")) {
    const auto scaling = file.get_string("llama.rope.scaling.type");
    if (!scaling.ok()) return Status::corruption(scaling.status().message());
    if (*scaling != "none")
      return Status::not_supported(file.path() + ": rotary scaling " + in_quotes(*scaling) +
                                   " is not run here; allowed: none");
  }
  COLLEGIUM_RETURN_IF_ERROR(
      reader.read_positive("llama.attention.layer_norm_rms_epsilon", config.rms_eps));
  config.rope_base = 10000.0f;
  if (file.has("llama.rope.freq_base"))
    COLLEGIUM_RETURN_IF_ERROR(reader.read_positive("llama.rope.freq_base", config.rope_base));

  const auto embeddings = file.find("token_embd.weight");
  if (!embeddings.ok()) return Status::corruption(embeddings.status().message());
  if (embeddings->shape.size() != 2 || embeddings->shape[0] == 0)
    return reader.damage("token_embd.weight is not a matrix with rows");
  config.vocab = embeddings->shape[0];
  if (file.has("llama.vocab_size")) {
    std::size_t stated = 0;
    COLLEGIUM_RETURN_IF_ERROR(reader.read_count("llama.vocab_size", std::size_t{1} << 31, stated));
    if (stated != config.vocab)
      return reader.damage("llama.vocab_size is " + std::to_string(stated) +
                           ", token_embd.weight has " + std::to_string(config.vocab) + " rows");
  }
  return config;
}

}  // namespace

Result<LlamaModel> LlamaModel::read(const GgufFile& file, Isa isa) {
  Reader reader(file);
  LlamaModel model;
  COLLEGIUM_ASSIGN_OR_RETURN(model.config_, read_config(file, reader));
  const LlamaConfig& c = model.config_;
  model.kernels_ = &kernels_for(isa);
  COLLEGIUM_ASSIGN_OR_RETURN(model.embeddings_,
                             reader.find("token_embd.weight", {c.vocab, c.width}));
  COLLEGIUM_RETURN_IF_ERROR(reader.read_vector("output_norm.weight", c.width, model.output_norm_));
  for (std::size_t l = 0; l < c.layers; ++l) {
    const std::string prefix = "blk." + std::to_string(l) + ".";
    // One of these is missing long before a false number of layers costs memory.
    Layer& layer = model.layers_.emplace_back();
    COLLEGIUM_RETURN_IF_ERROR(
        reader.read_vector(prefix + "attn_norm.weight", c.width, layer.attention_norm));
    COLLEGIUM_RETURN_IF_ERROR(
        reader.read_vector(prefix + "ffn_norm.weight", c.width, layer.hidden_norm));
    const auto linear = [&](const char* name, std::size_t outputs, std::size_t inputs,
                            QuantizedLinear& out) {
      return reader.read_linear(prefix + name, outputs, inputs, isa, out);
    };
    COLLEGIUM_RETURN_IF_ERROR(linear("attn_q.weight", c.q_width(), c.width, layer.q));
    COLLEGIUM_RETURN_IF_ERROR(linear("attn_k.weight", c.kv_width(), c.width, layer.k));
    COLLEGIUM_RETURN_IF_ERROR(linear("attn_v.weight", c.kv_width(), c.width, layer.v));
    COLLEGIUM_RETURN_IF_ERROR(
        linear("attn_output.weight", c.width, c.q_width(), layer.attention_output));
    COLLEGIUM_RETURN_IF_ERROR(linear("ffn_gate.weight", c.hidden, c.width, layer.gate));
    COLLEGIUM_RETURN_IF_ERROR(linear("ffn_up.weight", c.hidden, c.width, layer.up));
    COLLEGIUM_RETURN_IF_ERROR(linear("ffn_down.weight", c.width, c.hidden, layer.down));
  }
  if (file.tensors().contains("output.weight")) {
    COLLEGIUM_RETURN_IF_ERROR(
        reader.read_linear("output.weight", c.vocab, c.width, isa, model.output_));
  } else {
    model.output_ = QuantizedLinear(model.embeddings_, isa);
  }
  COLLEGIUM_RETURN_IF_ERROR(reader.refuse_unused());
  return model;
}

}  // namespace collegium::core
