#include "collegium/core/experts/head_adapter.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "collegium/core/file_envelope.h"
#include "collegium/core/isa.h"
#include "kernels/kernels.h"

namespace collegium::core {
namespace {

constexpr FileKind kAdapterKind{"adapter", 1};

}  // namespace

HeadAdapter::HeadAdapter(std::size_t dim, std::vector<float> weight, std::vector<float> bias)
    : dim_(dim), weight_(std::move(weight)), bias_(std::move(bias)) {}

HeadAdapter HeadAdapter::identity(std::size_t dim) {
  std::vector<float> weight(dim * dim, 0.0f);
  for (std::size_t i = 0; i < dim; ++i) weight[i * dim + i] = 1.0f;
  return HeadAdapter(dim, std::move(weight), std::vector<float>(dim, 0.0f));
}

Result<HeadAdapter> HeadAdapter::create(std::size_t dim, std::vector<float> weight,
                                        std::vector<float> bias) {
  if (dim == 0 || dim > kMaxDim)
    return Status::invalid_argument("adapter: dim " + std::to_string(dim) + " is not in [1, " +
                                    std::to_string(kMaxDim) + "]");
  if (weight.size() != dim * dim || bias.size() != dim)
    return Status::invalid_argument("adapter: " + std::to_string(weight.size()) + " weights and " +
                                    std::to_string(bias.size()) + " biases, dim " +
                                    std::to_string(dim) + " wants " + std::to_string(dim * dim) +
                                    " and " + std::to_string(dim));
  for (const auto* values : {&weight, &bias})
    for (std::size_t i = 0; i < values->size(); ++i)
      if (!std::isfinite((*values)[i]))
        return Status::invalid_argument(std::string("adapter: ") +
                                        (values == &weight ? "weight[" : "bias[") +
                                        std::to_string(i) + "] is not finite");
  return HeadAdapter(dim, std::move(weight), std::move(bias));
}

void HeadAdapter::apply(const float* query, float* out) const noexcept {
  const Kernels& kernels = kernels_for(active_isa());
  for (std::size_t i = 0; i < dim_; ++i)
    out[i] = kernels.dot(&weight_[i * dim_], query, dim_) + bias_[i];
  const float norm = std::sqrt(kernels.dot(out, out, dim_));
  if (!(norm > 0.0f)) {
    std::memcpy(out, query, dim_ * sizeof(float));
    return;
  }
  for (std::size_t i = 0; i < dim_; ++i) out[i] /= norm;
}

HeadAdapter HeadAdapter::interpolated(float strength) const {
  HeadAdapter result = identity(dim_);
  for (std::size_t i = 0; i < weight_.size(); ++i)
    result.weight_[i] += strength * (weight_[i] - result.weight_[i]);
  for (std::size_t i = 0; i < dim_; ++i) result.bias_[i] = strength * bias_[i];
  return result;
}

double HeadAdapter::distance_from_identity() const {
  double sum = 0.0;
  for (std::size_t i = 0; i < dim_; ++i)
    for (std::size_t j = 0; j < dim_; ++j) {
      const double difference = double{weight_[i * dim_ + j]} - (i == j ? 1.0 : 0.0);
      sum += difference * difference;
    }
  return std::sqrt(sum);
}

std::vector<std::byte> HeadAdapter::serialize() const {
  std::vector<std::byte> payload(sizeof(std::uint32_t) +
                                 (weight_.size() + bias_.size()) * sizeof(float));
  const auto dim = static_cast<std::uint32_t>(dim_);
  std::byte* out = payload.data();
  std::memcpy(out, &dim, sizeof dim);
  std::memcpy(out + sizeof dim, weight_.data(), weight_.size() * sizeof(float));
  std::memcpy(out + sizeof dim + weight_.size() * sizeof(float), bias_.data(),
              bias_.size() * sizeof(float));
  return payload;
}

Result<HeadAdapter> HeadAdapter::deserialize(std::span<const std::byte> payload) {
  std::uint32_t dim = 0;
  if (payload.size() < sizeof dim)
    return Status::corruption("adapter: payload of " + std::to_string(payload.size()) +
                              " bytes has no dim");
  std::memcpy(&dim, payload.data(), sizeof dim);
  const std::size_t floats = std::size_t{dim} * dim + dim;
  if (dim == 0 || dim > kMaxDim || payload.size() != sizeof dim + floats * sizeof(float))
    return Status::corruption("adapter: payload of " + std::to_string(payload.size()) +
                              " bytes does not fit dim " + std::to_string(dim));
  std::vector<float> weight(std::size_t{dim} * dim), bias(dim);
  const std::byte* in = payload.data() + sizeof dim;
  std::memcpy(weight.data(), in, weight.size() * sizeof(float));
  std::memcpy(bias.data(), in + weight.size() * sizeof(float), bias.size() * sizeof(float));
  auto adapter = create(dim, std::move(weight), std::move(bias));
  if (!adapter.ok()) return Status::corruption(adapter.status().message());
  return adapter;
}

Status HeadAdapter::save(const std::string& path) const {
  return write_file_envelope(path, kAdapterKind, serialize());
}

Result<HeadAdapter> HeadAdapter::load(const std::string& path) {
  COLLEGIUM_ASSIGN_OR_RETURN(const FileEnvelope file, read_file_envelope(path, kAdapterKind));
  auto adapter = deserialize(file.payload);
  if (!adapter.ok()) return adapter.status().with_context(path);
  return adapter;
}

std::string HeadAdapter::digest() const { return digest_hex(serialize()); }

}  // namespace collegium::core
