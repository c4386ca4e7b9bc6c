#define EIGEN_DONT_PARALLELIZE
#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "routers/kinds.h"

namespace collegium::router {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// So many queries' worth of "as all collections' spread": a collection's own variances count from
// about there on.
constexpr double kVariancePrior = 50.0;

// In the space where the pooled covariance is the identity.
struct Gaussians {
  std::vector<float> whiten;            // (dim, dim): z = whiten x
  std::vector<float> means, variances;  // (collections, dim)
  float scale = 1.0f;                   // one over the temperature
};

// The pooled covariance of rows around their collections' means, shrunk towards a multiple of the
// identity by the intensity of Ledoit and Wolf (A well-conditioned estimator for large-dimensional
// covariance matrices, 2004).
Matrix pooled_covariance(const RouterRows& rows, const std::vector<float>& means, std::size_t dim) {
  const auto n = static_cast<Eigen::Index>(rows.labels.size());
  const auto d = static_cast<Eigen::Index>(dim);
  Matrix centred(n, d);
  for (Eigen::Index i = 0; i < n; ++i)
    for (Eigen::Index j = 0; j < d; ++j) {
      const auto row = static_cast<std::size_t>(i), column = static_cast<std::size_t>(j);
      centred(i, j) =
          double{rows.vectors[row * dim + column]} - double{means[rows.labels[row] * dim + column]};
    }
  Matrix covariance = centred.transpose() * centred / static_cast<double>(n);
  const double mu = covariance.trace() / static_cast<double>(dim);
  const double spread =
      (covariance - mu * Matrix::Identity(d, d)).squaredNorm() / static_cast<double>(dim);
  // beta: the mean over rows of |x x' - S|^2 = |x|^4 - 2 x' S x + |S|^2, over n.
  double beta = 0.0;
  const Matrix projected = centred * covariance;
  const double norm = covariance.squaredNorm();
  for (Eigen::Index i = 0; i < n; ++i) {
    const double square = centred.row(i).squaredNorm();
    beta += square * square - 2.0 * projected.row(i).dot(centred.row(i)) + norm;
  }
  beta /= static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(dim);
  const double shrinkage = spread > 0.0 ? std::min(1.0, beta / spread) : 1.0;
  covariance = (1.0 - shrinkage) * covariance + shrinkage * mu * Matrix::Identity(d, d);
  // Rows without any spread, or fewer than dimensions that are not zero.
  covariance += std::max(1e-6, 1e-6 * mu) * Matrix::Identity(d, d);
  return covariance;
}

class GaussianRouter final : public RouterBase {
 public:
  static RouterResult create(RouterParts parts, Gaussians gaussians) {
    const std::size_t dim = parts.dim, n = parts.collections.size();
    COLLEGIUM_ASSIGN_OR_RETURN(auto prototypes, core::PackedVectors::create(parts.prototypes, dim));
    COLLEGIUM_ASSIGN_OR_RETURN(auto whiten, core::PackedVectors::create(gaussians.whiten, dim));
    // -(z - m)^2 / 2v = -z^2 / 2v + z m / v - m^2 / 2v: a product with (z^2, z).
    std::vector<float> rows(n * 2 * dim), bias(n), volume(n);
    for (std::size_t c = 0; c < n; ++c) {
      double constant = 0.0, logs = 0.0;
      for (std::size_t d = 0; d < dim; ++d) {
        const double mean = gaussians.means[c * dim + d], v = gaussians.variances[c * dim + d];
        rows[c * 2 * dim + d] = static_cast<float>(-0.5 / v);
        rows[c * 2 * dim + dim + d] = static_cast<float>(mean / v);
        constant -= 0.5 * mean * mean / v;
        logs -= 0.5 * std::log(v);
      }
      bias[c] = static_cast<float>(constant);
      volume[c] = static_cast<float>(logs);
    }
    COLLEGIUM_ASSIGN_OR_RETURN(auto packed, core::PackedVectors::create(rows, 2 * dim));
    return std::shared_ptr<const Router>(new GaussianRouter(
        std::move(parts), std::move(prototypes), std::move(gaussians), std::move(whiten),
        std::move(packed), std::move(bias), std::move(volume)));
  }

  // Minus half the squared distance to each, in its own deviations.
  void distances(const float* query, std::span<float> out) const noexcept {
    const std::size_t dim = parts_.dim;
    thread_local std::vector<float> row;
    row.resize(2 * dim);
    whiten_.scores(query, 1, row.data() + dim, dim);
    for (std::size_t d = 0; d < dim; ++d) row[d] = row[dim + d] * row[dim + d];
    packed_.scores(row.data(), 1, out.data(), bias_.size());
    for (std::size_t c = 0; c < bias_.size(); ++c) out[c] += bias_[c];
  }
  void scores(const float* query, std::span<float> out) const noexcept override {
    distances(query, out);
    for (std::size_t c = 0; c < bias_.size(); ++c)
      out[c] = gaussians_.scale * (out[c] + volume_[c]);
  }
  float familiarity(const float* query) const noexcept override {
    thread_local std::vector<float> found;
    found.resize(bias_.size());
    distances(query, found);
    return quantile_of(*std::max_element(found.begin(), found.end()));
  }

  RouterResult add_expert(std::string_view name, std::span<const float> queries) const override {
    COLLEGIUM_ASSIGN_OR_RETURN(RouterParts parts, parts_with(name, queries));
    Gaussians gaussians = gaussians_;
    append(whiten_, queries, parts.dim, gaussians);
    return create(std::move(parts), std::move(gaussians));
  }
  RouterResult remove_expert(std::string_view name) const override {
    std::size_t position = 0;
    COLLEGIUM_ASSIGN_OR_RETURN(RouterParts parts, parts_without(name, position));
    Gaussians gaussians = gaussians_;
    drop_row(gaussians.means, position, parts.dim);
    drop_row(gaussians.variances, position, parts.dim);
    return create(std::move(parts), std::move(gaussians));
  }

  // Adds a Gaussian of `queries` (n, dim).
  static void append(const core::PackedVectors& whiten, std::span<const float> queries,
                     std::size_t dim, Gaussians& gaussians) {
    const std::size_t n = queries.size() / dim;
    std::vector<float> z(queries.size());
    whiten.scores(queries.data(), n, z.data(), dim);
    for (std::size_t d = 0; d < dim; ++d) {
      double mean = 0.0, square = 0.0;
      for (std::size_t i = 0; i < n; ++i) mean += z[i * dim + d];
      mean /= static_cast<double>(n);
      for (std::size_t i = 0; i < n; ++i) {
        const double difference = double{z[i * dim + d]} - mean;
        square += difference * difference;
      }
      gaussians.means.push_back(static_cast<float>(mean));
      gaussians.variances.push_back(static_cast<float>(
          (square + kVariancePrior) / (static_cast<double>(n - 1) + kVariancePrior)));
    }
  }

 protected:
  void write(PayloadWriter& out) const override {
    out.numbers<float>(gaussians_.whiten);
    out.numbers<float>(gaussians_.means);
    out.numbers<float>(gaussians_.variances);
    out.number(gaussians_.scale);
  }

  // SEED's measure of what two experts share: here the coefficient of Bhattacharyya.
  std::string why(const float* query, std::size_t collection) const override {
    std::vector<float> found(bias_.size());
    distances(query, found);
    double most = -1.0;
    std::size_t other = 0;
    for (std::size_t c = 0; c < bias_.size(); ++c) {
      if (c == collection) continue;
      double distance = 0.0;
      for (std::size_t d = 0; d < parts_.dim; ++d) {
        const double a = gaussians_.variances[collection * parts_.dim + d];
        const double b = gaussians_.variances[c * parts_.dim + d];
        const double between = double{gaussians_.means[collection * parts_.dim + d]} -
                               double{gaussians_.means[c * parts_.dim + d]};
        distance +=
            0.25 * between * between / (a + b) + 0.5 * std::log((a + b) / (2.0 * std::sqrt(a * b)));
      }
      if (const double overlap = std::exp(-distance); overlap > most) most = overlap, other = c;
    }
    char text[64];
    std::snprintf(text, sizeof text, ", distance %.1f",
                  std::sqrt(std::max(0.0, -2.0 * double{found[collection]})));
    std::string result = text;
    if (most < 0.0) return result;
    std::snprintf(text, sizeof text, " (%.3f)", most);
    return result + ", overlaps most with " + parts_.collections[other] + text;
  }

 private:
  GaussianRouter(RouterParts parts, core::PackedVectors prototypes, Gaussians gaussians,
                 core::PackedVectors whiten, core::PackedVectors packed, std::vector<float> bias,
                 std::vector<float> volume)
      : RouterBase(std::move(parts), std::move(prototypes)),
        gaussians_(std::move(gaussians)),
        whiten_(std::move(whiten)),
        packed_(std::move(packed)),
        bias_(std::move(bias)),
        volume_(std::move(volume)) {}

  const Gaussians gaussians_;
  const core::PackedVectors whiten_, packed_;
  const std::vector<float> bias_, volume_;  // (collections,)
};

}  // namespace

RouterResult fit_gaussians(const RouterExamples& train, const RouterExamples& dev,
                           const RouterOptions&) {
  const std::size_t dim = train.dim, collections = train.collections.size();
  const RouterRows rows = rows_of(train);
  const Matrix covariance = pooled_covariance(rows, query_means(train), dim);
  const Matrix factor = covariance.llt().matrixL();
  const Matrix inverse = factor.triangularView<Eigen::Lower>().solve(
      Matrix::Identity(static_cast<Eigen::Index>(dim), static_cast<Eigen::Index>(dim)));
  Gaussians gaussians;
  for (Eigen::Index i = 0; i < inverse.rows(); ++i)
    for (Eigen::Index j = 0; j < inverse.cols(); ++j)
      gaussians.whiten.push_back(static_cast<float>(inverse(i, j)));
  COLLEGIUM_ASSIGN_OR_RETURN(const auto whiten, core::PackedVectors::create(gaussians.whiten, dim));
  std::vector<std::vector<float>> by_collection(collections);
  for (std::size_t i = 0; i < rows.labels.size(); ++i) {
    const float* row = &rows.vectors[i * dim];
    by_collection[rows.labels[i]].insert(by_collection[rows.labels[i]].end(), row, row + dim);
  }
  for (const auto& queries : by_collection) GaussianRouter::append(whiten, queries, dim, gaussians);
  RouterParts parts = fit_parts("gaussians", train);
  COLLEGIUM_ASSIGN_OR_RETURN(const auto made, GaussianRouter::create(parts, gaussians));
  const auto& router = static_cast<const GaussianRouter&>(*made);
  std::vector<float> logits(dev.labels.size() * collections), near;
  for (std::size_t i = 0; i < dev.labels.size(); ++i)
    router.scores(&dev.vectors[i * dim], {&logits[i * collections], collections});
  gaussians.scale = static_cast<float>(fit_scale(dev, logits));
  std::vector<float> found(collections);
  for (std::size_t i = 0; i < train.labels.size(); ++i) {
    router.distances(&train.vectors[i * dim], found);
    near.push_back(*std::max_element(found.begin(), found.end()));
  }
  if (near.empty()) near.push_back(-1e30f);  // nothing is farther
  parts.nearness = quantiles(std::move(near));
  return GaussianRouter::create(std::move(parts), std::move(gaussians));
}

RouterResult read_gaussians(RouterParts parts, PayloadReader& in) {
  const std::size_t collections = parts.collections.size(), dim = parts.dim;
  Gaussians gaussians;
  gaussians.whiten = in.numbers<float>(dim * dim);
  gaussians.means = in.numbers<float>(collections * dim);
  gaussians.variances = in.numbers<float>(collections * dim);
  const auto scale = in.numbers<float>(1);
  for (float variance : gaussians.variances)
    if (!(variance > 0.0f)) in.fail("a variance that is not above 0");
  COLLEGIUM_RETURN_IF_ERROR(read_parts(parts, in));
  gaussians.scale = scale[0];
  return GaussianRouter::create(std::move(parts), std::move(gaussians));
}

}  // namespace collegium::router
