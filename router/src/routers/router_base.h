#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "collegium/core/experts/packed_vectors.h"
#include "collegium/router/router.h"
#include "payload.h"

// What all routers share: names, probabilities from scores, familiarity, files.
namespace collegium::router {

inline constexpr std::size_t kQuantiles = 101;
inline constexpr std::size_t kMaxCollections = 100000;
// Cosines differ by tenths: a temperature of 0.05 unless dev knows better.
inline constexpr float kCosineScale = 20.0f;

struct RouterParts {
  std::string kind;
  std::size_t dim = 0;
  std::vector<std::string> collections;
  std::vector<float> prototypes;  // (collections, dim) unit vectors, for familiarity
  std::vector<float> nearness;    // (kQuantiles,) ascending, of the training queries
};

class RouterBase : public Router {
 public:
  std::string_view kind() const noexcept override { return parts_.kind; }
  std::size_t dim() const noexcept override { return parts_.dim; }
  const std::vector<std::string>& collections() const noexcept override {
    return parts_.collections;
  }
  void probabilities(const float* query, std::span<float> out) const noexcept override;
  float familiarity(const float* query) const noexcept override;
  std::vector<std::byte> serialize() const override;
  Result<std::vector<RouterReason>> explain(std::span<const float> query) const override;

  // out (collections,): what a softmax makes probabilities of, the temperature divided in.
  virtual void scores(const float* query, std::span<float> out) const noexcept = 0;

 protected:
  RouterBase(RouterParts parts, core::PackedVectors prototypes)
      : parts_(std::move(parts)), packed_prototypes_(std::move(prototypes)) {}
  // What the kind has between the names and the prototypes in its file.
  virtual void write(PayloadWriter& out) const = 0;
  // What explain() says of the collection beside the similarity, or nothing.
  virtual std::string why(const float* /*query*/, std::size_t /*collection*/) const { return {}; }
  float quantile_of(float near) const noexcept;
  // The parts with collection `name` and its unit vector added last, or without it.
  Result<RouterParts> parts_with(std::string_view name, std::span<const float> queries) const;
  Result<RouterParts> parts_without(std::string_view name, std::size_t& position) const;

  const RouterParts parts_;
  const core::PackedVectors packed_prototypes_;
};

// Of each query of `dev`: the same one's place in `train` (the last), or kNotThere.
inline constexpr std::size_t kNotThere = static_cast<std::size_t>(-1);
std::vector<std::size_t> places_in(const RouterExamples& train, const RouterExamples& dev);

// Checks as fit_router() promises.
Status check_examples(const RouterExamples& train, const RouterExamples& dev);

// (collections, dim): the mean of each one's queries; of its documents where it has none.
std::vector<float> query_means(const RouterExamples& train);
// kQuantiles of `values`, ascending; of none, such that everything is above.
std::vector<float> quantiles(std::vector<float> values);
void normalize(float* vector, std::size_t dim);
// Kind, names, prototypes and the quantiles of nearness.
RouterParts fit_parts(std::string kind, const RouterExamples& train);

// By what the logits (n, collections) of the queries of `dev` are multiplied so that they are
// calibrated; 1 without queries. See router_base.cc.
double fit_scale(const RouterExamples& dev, std::span<const float> logits);

// Removes `position` from rows of `width` floats.
void drop_row(std::vector<float>& rows, std::size_t position, std::size_t width);

// By kind; of the bytes behind the names. The caller checks finish().
using RouterResult = Result<std::shared_ptr<const Router>>;
RouterResult read_affine(RouterParts parts, PayloadReader& in);
RouterResult read_mlp(RouterParts parts, PayloadReader& in);
RouterResult read_prototypes(RouterParts parts, PayloadReader& in);
RouterResult read_gaussians(RouterParts parts, PayloadReader& in);
RouterResult read_two_step(RouterParts parts, PayloadReader& in);
// Prototypes and nearness, which come last in the file, and then finish().
Status read_parts(RouterParts& parts, PayloadReader& in);

}  // namespace collegium::router
