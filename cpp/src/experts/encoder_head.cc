#include "experts/encoder_head.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>

#include "collegium/core/safetensors.h"
#include "experts/digest.h"
#include "experts/finite_tensors.h"
#include "io/in_quotes.h"

namespace collegium::core {
namespace {

Result<Linear> read_dense(const std::string& folder, const DenseConfig& config,
                          const Kernels& kernels, ModelDigest& digest) {
  const std::string path = folder + "/" + config.path + "model.safetensors";
  std::error_code error;
  if (!std::filesystem::exists(path, error)) {
    return no_weights(path.substr(0, path.rfind('/')));
  }
  COLLEGIUM_ASSIGN_OR_RETURN(const SafeTensors file, SafeTensors::open(path));
  for (const auto& [name, tensor] : file.tensors()) {
    if (name == "linear.weight" || (config.bias && name == "linear.bias")) continue;
    return Status::not_supported(path + ": tensor " + in_quotes(name) + " is no part of a Dense");
  }
  COLLEGIUM_ASSIGN_OR_RETURN(
      const auto weight, read_finite(file, path, "linear.weight", {config.outputs, config.inputs}));
  Linear linear;
  linear.inputs = config.inputs;
  linear.outputs = config.outputs;
  AlignedBuffer<float> panels(num_panels(config.outputs) * config.inputs * kPanelWidth);
  kernels.pack_panels(weight.data(), config.inputs, config.outputs, config.inputs, panels.data());
  linear.panels = WeightArray<float>(std::move(panels));
  if (config.bias) {
    COLLEGIUM_ASSIGN_OR_RETURN(const auto bias,
                               read_finite(file, path, "linear.bias", {config.outputs}));
    linear.bias = WeightArray<float>(std::span<const float>(bias));
  }
  digest.add(std::span<const float>(weight));
  digest.add(linear.bias.span());
  digest.add(static_cast<std::uint64_t>(config.activation));
  return linear;
}

}  // namespace

EncoderHead::EncoderHead(const EncoderConfig& config, const Kernels& kernels)
    : kernels_(kernels),
      pooling_(config.pooling),
      hidden_(config.trunk.hidden_size),
      whole_dim_(config.dim),
      dim_(config.output_dim()),
      normalized_(config.normalized()),
      steps_(config.head) {}

Result<std::unique_ptr<EncoderHead>> EncoderHead::load(const std::string& folder,
                                                       const EncoderConfig& config,
                                                       const Kernels& kernels,
                                                       ModelDigest& digest) {
  std::unique_ptr<EncoderHead> head(new EncoderHead(config, kernels));
  for (const HeadStep& step : config.head) {
    digest.add(static_cast<std::uint64_t>(step.dense.has_value()));
    Linear& linear = head->dense_.emplace_back();
    if (!step.dense.has_value()) continue;
    COLLEGIUM_ASSIGN_OR_RETURN(linear, read_dense(folder, *step.dense, kernels, digest));
  }
  return head;
}

void EncoderHead::pool(PoolingMode mode, const float* states, std::size_t first, std::size_t tokens,
                       float* out) const {
  const auto scale = [&](float by) {
    for (std::size_t i = 0; i < hidden_; ++i) out[i] /= by;
  };
  const auto count = static_cast<float>(tokens - first);
  std::copy_n(states + (mode == PoolingMode::kLastToken ? tokens - 1 : first) * hidden_, hidden_,
              out);
  switch (mode) {
    case PoolingMode::kCls:
    case PoolingMode::kLastToken:
      return;
    case PoolingMode::kMax:
      for (std::size_t t = first + 1; t < tokens; ++t) {
        // NaN stays, as in the sums, and is noticed behind.
        for (std::size_t i = 0; i < hidden_; ++i) {
          const float x = states[t * hidden_ + i];
          if (!(x <= out[i])) out[i] = x;
        }
      }
      return;
    case PoolingMode::kWeightedMean:
      // A token's weight is its place in the whole text, whatever is left out before it.
      for (std::size_t i = 0; i < hidden_; ++i) out[i] *= static_cast<float>(first + 1);
      for (std::size_t t = first + 1; t < tokens; ++t) {
        kernels_.axpy(static_cast<float>(t + 1), states + t * hidden_, hidden_, out);
      }
      return scale(static_cast<float>((tokens * (tokens + 1) - first * (first + 1)) / 2));
    case PoolingMode::kMean:
    case PoolingMode::kMeanSqrtLength:
      for (std::size_t t = first + 1; t < tokens; ++t) {
        kernels_.axpy(1.0f, states + t * hidden_, hidden_, out);
      }
      return scale(mode == PoolingMode::kMean ? count : std::sqrt(count));
  }
}

void EncoderHead::normalize(float* x, std::size_t n) const {
  float norm = std::max(std::sqrt(kernels_.dot(x, x, n)), 1e-12f);
  // x / inf would be a zero that looks like a vector.
  if (std::isinf(norm)) norm = std::numeric_limits<float>::quiet_NaN();
  for (std::size_t i = 0; i < n; ++i) x[i] /= norm;
}

void EncoderHead::apply(const float* states, std::size_t first, std::size_t tokens,
                        float* out) const {
  std::vector<float> x(pooling_.size() * hidden_);
  for (std::size_t i = 0; i < pooling_.size(); ++i) {
    pool(pooling_[i], states, first, tokens, x.data() + i * hidden_);
  }
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    if (!steps_[i].dense.has_value()) {
      normalize(x.data(), x.size());
      continue;
    }
    const Linear& linear = dense_[i];
    std::vector<float> y(linear.outputs);
    kernels_.gemm_panels(x.data(), linear.inputs, 1, linear.panels.data(), linear.outputs,
                         linear.inputs, linear.bias.empty() ? nullptr : linear.bias.data(),
                         y.data(), linear.outputs);
    switch (steps_[i].dense->activation) {
      case DenseActivation::kIdentity:
        break;
      case DenseActivation::kTanh:
        for (float& value : y) value = static_cast<float>(std::tanh(static_cast<double>(value)));
        break;
      case DenseActivation::kRelu:
        kernels_.relu(y.data(), y.size());
        break;
      case DenseActivation::kGelu:
        kernels_.gelu(y.data(), y.size());
        break;
      case DenseActivation::kSilu:
        kernels_.silu(y.data(), y.size());
        break;
    }
    x = std::move(y);
  }
  if (dim_ < whole_dim_ && normalized_) normalize(x.data(), dim_);
  std::copy_n(x.data(), dim_, out);
}

}  // namespace collegium::core
