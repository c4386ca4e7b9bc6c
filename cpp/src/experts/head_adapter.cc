#include "collegium/core/experts/head_adapter.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "collegium/core/bytes.h"
#include "collegium/core/file_envelope.h"
#include "collegium/core/isa.h"
#include "kernels/kernels.h"

namespace collegium::core {
namespace {

constexpr FileKind kAdapterKind{"adapter", 2};

Status check_dim(std::size_t dim) {
  if (dim != 0 && dim <= HeadAdapter::kMaxDim) return {};
  return Status::invalid_argument("adapter: dim " + std::to_string(dim) + " is not in [1, " +
                                  std::to_string(HeadAdapter::kMaxDim) + "]");
}

Status check_numbers(const char* name, const std::vector<float>& values, std::size_t wanted) {
  if (values.size() != wanted)
    return Status::invalid_argument(std::string("adapter: ") + name + " has " +
                                    std::to_string(values.size()) + " numbers, must have " +
                                    std::to_string(wanted));
  for (std::size_t i = 0; i < values.size(); ++i)
    if (!std::isfinite(values[i]))
      return Status::invalid_argument(std::string("adapter: ") + name + "[" + std::to_string(i) +
                                      "] is not finite");
  return {};
}

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
  COLLEGIUM_RETURN_IF_ERROR(check_dim(dim));
  COLLEGIUM_RETURN_IF_ERROR(check_numbers("weight", weight, dim * dim));
  COLLEGIUM_RETURN_IF_ERROR(check_numbers("bias", bias, dim));
  return HeadAdapter(dim, std::move(weight), std::move(bias));
}

Result<HeadAdapter> HeadAdapter::create_low_rank(std::size_t dim, std::size_t rank,
                                                 std::vector<float> down, std::vector<float> up,
                                                 std::vector<float> bias) {
  COLLEGIUM_RETURN_IF_ERROR(check_dim(dim));
  if (rank == 0 || rank > dim)
    return Status::invalid_argument("adapter: rank " + std::to_string(rank) + " is not in [1, " +
                                    std::to_string(dim) + "]");
  COLLEGIUM_RETURN_IF_ERROR(check_numbers("down", down, rank * dim));
  COLLEGIUM_RETURN_IF_ERROR(check_numbers("up", up, dim * rank));
  COLLEGIUM_RETURN_IF_ERROR(check_numbers("bias", bias, dim));
  HeadAdapter adapter;
  adapter.dim_ = dim;
  adapter.rank_ = rank;
  adapter.down_ = std::move(down);
  adapter.up_ = std::move(up);
  adapter.bias_ = std::move(bias);
  return adapter;
}

std::vector<float> HeadAdapter::weight() const {
  if (rank_ == 0) return weight_;
  std::vector<float> weight = identity(dim_).weight_;
  for (std::size_t i = 0; i < dim_; ++i)
    for (std::size_t r = 0; r < rank_; ++r)
      for (std::size_t j = 0; j < dim_; ++j)
        weight[i * dim_ + j] += up_[i * rank_ + r] * down_[r * dim_ + j];
  return weight;
}

Result<HeadAdapter> HeadAdapter::merge(std::span<const HeadAdapter* const> adapters,
                                       std::span<const float> weights) {
  if (adapters.empty() || adapters.size() != weights.size())
    return Status::invalid_argument("merge: " + std::to_string(adapters.size()) +
                                    " adapters with " + std::to_string(weights.size()) +
                                    " weights");
  const std::size_t dim = adapters[0]->dim_;
  std::size_t rank = 0;
  bool factors = true;
  double sum = 0.0;
  for (std::size_t i = 0; i < adapters.size(); ++i) {
    if (adapters[i]->dim_ != dim)
      return Status::invalid_argument("merge: adapter " + std::to_string(i) + " has dim " +
                                      std::to_string(adapters[i]->dim_) + ", the first has " +
                                      std::to_string(dim));
    if (!(weights[i] >= 0.0f) || !std::isfinite(weights[i]))
      return Status::invalid_argument("merge: weight " + std::to_string(i) + " is " +
                                      std::to_string(weights[i]) + ", must be >= 0");
    sum += weights[i];
    factors = factors && adapters[i]->rank_ != 0;
    rank += adapters[i]->rank_;
  }
  if (sum > 1.0 + 1e-4)
    return Status::invalid_argument("merge: weights sum to " + std::to_string(sum) +
                                    ", must be at most 1");
  const bool low_rank = factors && rank <= dim / 2;
  HeadAdapter merged = low_rank ? HeadAdapter() : identity(dim);
  merged.bias_.assign(dim, 0.0f);
  for (std::size_t i = 0; i < adapters.size(); ++i)
    for (std::size_t d = 0; d < dim; ++d) merged.bias_[d] += weights[i] * adapters[i]->bias_[d];
  if (low_rank) {
    merged.dim_ = dim;
    merged.rank_ = rank;
    merged.up_.resize(dim * rank);
    std::size_t first = 0;
    for (std::size_t i = 0; i < adapters.size(); first += adapters[i]->rank_, ++i) {
      const HeadAdapter& one = *adapters[i];
      merged.down_.insert(merged.down_.end(), one.down_.begin(), one.down_.end());
      for (std::size_t d = 0; d < dim; ++d)
        for (std::size_t r = 0; r < one.rank_; ++r)
          merged.up_[d * rank + first + r] = weights[i] * one.up_[d * one.rank_ + r];
    }
    return merged;
  }
  for (std::size_t i = 0; i < adapters.size(); ++i) {
    const std::vector<float> weight = adapters[i]->weight();
    for (std::size_t j = 0; j < weight.size(); ++j) {
      const float unit = j % (dim + 1) == 0 ? 1.0f : 0.0f;
      merged.weight_[j] += weights[i] * (weight[j] - unit);
    }
  }
  return merged;
}

void HeadAdapter::map(const float* query, float* out) const {
  const Kernels& kernels = kernels_for(active_isa());
  if (rank_ == 0) {
    for (std::size_t i = 0; i < dim_; ++i)
      out[i] = kernels.dot(&weight_[i * dim_], query, dim_) + bias_[i];
  } else {
    std::vector<float> inner(rank_);
    for (std::size_t r = 0; r < rank_; ++r) inner[r] = kernels.dot(&down_[r * dim_], query, dim_);
    for (std::size_t i = 0; i < dim_; ++i)
      out[i] = query[i] + kernels.dot(&up_[i * rank_], inner.data(), rank_) + bias_[i];
  }
}

void HeadAdapter::apply(const float* query, float* out) const {
  map(query, out);
  const Kernels& kernels = kernels_for(active_isa());
  const float norm = std::sqrt(kernels.dot(out, out, dim_));
  if (!(norm > 0.0f)) {
    std::memcpy(out, query, dim_ * sizeof(float));
    return;
  }
  for (std::size_t i = 0; i < dim_; ++i) out[i] /= norm;
}

HeadAdapter HeadAdapter::interpolated(float strength) const {
  if (rank_ != 0) {
    HeadAdapter result = *this;
    for (float& value : result.up_) value *= strength;
    for (float& value : result.bias_) value *= strength;
    return result;
  }
  HeadAdapter result = identity(dim_);
  for (std::size_t i = 0; i < weight_.size(); ++i)
    result.weight_[i] += strength * (weight_[i] - result.weight_[i]);
  for (std::size_t i = 0; i < dim_; ++i) result.bias_[i] = strength * bias_[i];
  return result;
}

double HeadAdapter::distance_from_identity() const {
  const std::vector<float> whole = weight();
  double sum = 0.0;
  for (std::size_t i = 0; i < dim_; ++i)
    for (std::size_t j = 0; j < dim_; ++j) {
      const double difference = double{whole[i * dim_ + j]} - (i == j ? 1.0 : 0.0);
      sum += difference * difference;
    }
  return std::sqrt(sum);
}

std::vector<std::byte> HeadAdapter::serialize() const {
  ByteWriter out;
  if (rank_ == 0) {
    out.write(static_cast<std::uint32_t>(dim_));
    out.write_numbers(std::span<const float>(weight_));
  } else {
    out.write(std::uint32_t{0});
    out.write(static_cast<std::uint32_t>(dim_));
    out.write(static_cast<std::uint32_t>(rank_));
    out.write_numbers(std::span<const float>(down_));
    out.write_numbers(std::span<const float>(up_));
  }
  out.write_numbers(std::span<const float>(bias_));
  return out.bytes();
}

Result<HeadAdapter> HeadAdapter::deserialize(std::span<const std::byte> payload) {
  ByteReader in(payload);
  std::uint32_t dim = 0, rank = 0;
  bool whole = in.read(dim);
  const bool low_rank = whole && dim == 0;
  if (low_rank) whole = in.read(dim) && in.read(rank);
  const std::size_t d = dim, r = rank;  // at most kMaxDim each before they are multiplied
  whole = whole && dim != 0 && dim <= kMaxDim && rank <= dim && low_rank == (rank != 0);
  std::vector<float> first, second, bias;
  whole = whole && (low_rank ? in.read_numbers(r * d, first) && in.read_numbers(d * r, second)
                             : in.read_numbers(d * d, first));
  whole = whole && in.read_numbers(d, bias) && in.remaining() == 0;
  if (!whole)
    return Status::corruption("adapter: payload of " + std::to_string(payload.size()) +
                              " bytes does not fit dim " + std::to_string(dim) + " and rank " +
                              std::to_string(rank));
  auto adapter = low_rank
                     ? create_low_rank(d, r, std::move(first), std::move(second), std::move(bias))
                     : create(d, std::move(first), std::move(bias));
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
