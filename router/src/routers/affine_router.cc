#include <algorithm>
#include <utility>

#include "logistic.h"
#include "routers/kinds.h"

namespace collegium::router {
namespace {

class AffineRouter final : public RouterBase {
 public:
  // scale: of mean pilots in `weight`.
  static RouterResult create(RouterParts parts, std::vector<float> weight, std::vector<float> bias,
                             float scale) {
    COLLEGIUM_ASSIGN_OR_RETURN(auto packed, core::PackedVectors::create(weight, parts.dim));
    COLLEGIUM_ASSIGN_OR_RETURN(auto prototypes,
                               core::PackedVectors::create(parts.prototypes, parts.dim));
    return std::shared_ptr<const Router>(new AffineRouter(std::move(parts), std::move(prototypes),
                                                          std::move(packed), std::move(weight),
                                                          std::move(bias), scale));
  }

  void scores(const float* query, std::span<float> out) const noexcept override {
    packed_.scores(query, 1, out.data(), bias_.size());
    for (std::size_t c = 0; c < bias_.size(); ++c) out[c] += bias_[c];
  }

  RouterResult add_expert(std::string_view name, std::span<const float> queries) const override {
    if (parts_.kind == "linear") return Router::add_expert(name, queries);
    COLLEGIUM_ASSIGN_OR_RETURN(RouterParts parts, parts_with(name, queries));
    std::vector<float> weight = weight_, bias = bias_;
    const auto n = static_cast<double>(queries.size() / parts.dim);
    for (std::size_t d = 0; d < parts.dim; ++d) {
      double sum = 0.0;
      for (std::size_t i = d; i < queries.size(); i += parts.dim) sum += queries[i];
      weight.push_back(static_cast<float>(sum / n * scale_));
    }
    bias.push_back(0.0f);
    return create(std::move(parts), std::move(weight), std::move(bias), scale_);
  }

  RouterResult remove_expert(std::string_view name) const override {
    std::size_t position = 0;
    COLLEGIUM_ASSIGN_OR_RETURN(RouterParts parts, parts_without(name, position));
    std::vector<float> weight = weight_, bias = bias_;
    drop_row(weight, position, parts.dim);
    drop_row(bias, position, 1);
    return create(std::move(parts), std::move(weight), std::move(bias), scale_);
  }

 protected:
  void write(PayloadWriter& out) const override {
    out.number(std::uint8_t{0});  // no pilots one by one
    out.numbers<float>(weight_);
    out.numbers<float>(bias_);
    out.number(scale_);
  }

 private:
  AffineRouter(RouterParts parts, core::PackedVectors prototypes, core::PackedVectors packed,
               std::vector<float> weight, std::vector<float> bias, float scale)
      : RouterBase(std::move(parts), std::move(prototypes)),
        packed_(std::move(packed)),
        weight_(std::move(weight)),
        bias_(std::move(bias)),
        scale_(scale) {}

  const core::PackedVectors packed_;
  const std::vector<float> weight_;  // (collections, dim), the temperature divided in
  const std::vector<float> bias_;    // (collections,)
  const float scale_;
};

RouterResult calibrated(RouterParts parts, std::vector<float> weight, std::vector<float> bias,
                        const RouterExamples& dev) {
  const std::size_t n = dev.labels.size(), collections = parts.collections.size();
  std::vector<float> logits(n * collections);
  if (n > 0) {
    COLLEGIUM_ASSIGN_OR_RETURN(const auto packed, core::PackedVectors::create(weight, parts.dim));
    packed.scores(dev.vectors.data(), n, logits.data(), collections);
    for (std::size_t i = 0; i < logits.size(); ++i) logits[i] += bias[i % collections];
  }
  const double scale = fit_scale(dev, logits);
  for (auto* values : {&weight, &bias})
    for (float& value : *values) value = static_cast<float>(value * scale);
  return AffineRouter::create(std::move(parts), std::move(weight), std::move(bias),
                              static_cast<float>(kCosineScale * scale));
}

}  // namespace

RouterRows rows_of(const RouterExamples& train) {
  RouterRows rows{train.vectors, train.labels, {}};
  std::vector<bool> has_queries(train.collections.size(), false);
  for (std::uint32_t label : train.labels) has_queries[label] = true;
  for (std::uint32_t c = 0; c < has_queries.size(); ++c) {
    if (has_queries[c]) continue;
    const float* centroid = &train.centroids[c * train.dim];
    rows.vectors.insert(rows.vectors.end(), centroid, centroid + train.dim);
    normalize(&rows.vectors[rows.vectors.size() - train.dim], train.dim);
    rows.labels.push_back(c);
  }
  std::vector<double> counts = train.weights;
  counts.resize(rows.labels.size(), 1.0);
  rows.weights = balanced_weights(rows.labels, has_queries.size(), counts);
  return rows;
}

RouterResult fit_linear(const RouterExamples& train, const RouterExamples& dev,
                        const RouterOptions& options) {
  const RouterRows rows = rows_of(train);
  const std::size_t collections = train.collections.size();
  LogisticModel model =
      fit_logistic({rows.vectors, train.dim, rows.labels, rows.weights, collections, options.l2,
                    options.max_iterations, options.label_smoothing});
  return calibrated(fit_parts("linear", train), std::move(model.weight), std::move(model.bias),
                    dev);
}

RouterResult fit_mean_pilots(std::string_view kind, const RouterExamples& train,
                             const RouterExamples& dev) {
  std::vector<float> weight = query_means(train);
  for (float& value : weight) value *= kCosineScale;
  return calibrated(fit_parts(std::string(kind), train), std::move(weight),
                    std::vector<float>(train.collections.size(), 0.0f), dev);
}

RouterResult read_affine(RouterParts parts, PayloadReader& in) {
  const std::size_t collections = parts.collections.size();
  auto weight = in.numbers<float>(collections * parts.dim);
  auto bias = in.numbers<float>(collections);
  const auto scale = in.numbers<float>(1);
  COLLEGIUM_RETURN_IF_ERROR(read_parts(parts, in));
  return AffineRouter::create(std::move(parts), std::move(weight), std::move(bias), scale[0]);
}

}  // namespace collegium::router
