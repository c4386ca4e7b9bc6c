#define EIGEN_DONT_PARALLELIZE
#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "collegium/core/random.h"
#include "logistic.h"
#include "routers/kinds.h"

namespace collegium::router {
namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

constexpr std::size_t kBatch = 64;
constexpr float kLearningRate = 2e-3f;
constexpr std::size_t kMaxHidden = 4096;

struct Layers {
  std::vector<float> in, in_bias;  // (hidden, dim), (hidden,)
  // (collections, hidden), (collections,), the temperature divided in.
  std::vector<float> out, out_bias;
};

class MlpRouter final : public RouterBase {
 public:
  static RouterResult create(RouterParts parts, Layers layers) {
    COLLEGIUM_ASSIGN_OR_RETURN(auto prototypes,
                               core::PackedVectors::create(parts.prototypes, parts.dim));
    COLLEGIUM_ASSIGN_OR_RETURN(auto in, core::PackedVectors::create(layers.in, parts.dim));
    COLLEGIUM_ASSIGN_OR_RETURN(auto out,
                               core::PackedVectors::create(layers.out, layers.in_bias.size()));
    return std::shared_ptr<const Router>(new MlpRouter(
        std::move(parts), std::move(prototypes), std::move(layers), std::move(in), std::move(out)));
  }

  void scores(const float* query, std::span<float> out) const noexcept override {
    thread_local std::vector<float> hidden;
    hidden.resize(layers_.in_bias.size());
    in_.scores(query, 1, hidden.data(), hidden.size());
    for (std::size_t h = 0; h < hidden.size(); ++h)
      hidden[h] = std::max(0.0f, hidden[h] + layers_.in_bias[h]);
    out_.scores(hidden.data(), 1, out.data(), layers_.out_bias.size());
    for (std::size_t c = 0; c < layers_.out_bias.size(); ++c) out[c] += layers_.out_bias[c];
  }

  RouterResult remove_expert(std::string_view name) const override {
    std::size_t position = 0;
    COLLEGIUM_ASSIGN_OR_RETURN(RouterParts parts, parts_without(name, position));
    Layers layers = layers_;
    drop_row(layers.out, position, layers.in_bias.size());
    drop_row(layers.out_bias, position, 1);
    return create(std::move(parts), std::move(layers));
  }

 protected:
  void write(PayloadWriter& out) const override {
    out.number(static_cast<std::uint32_t>(layers_.in_bias.size()));
    for (const auto* values : {&layers_.in, &layers_.in_bias, &layers_.out, &layers_.out_bias})
      out.numbers<float>(*values);
  }

 private:
  MlpRouter(RouterParts parts, core::PackedVectors prototypes, Layers layers,
            core::PackedVectors in, core::PackedVectors out)
      : RouterBase(std::move(parts), std::move(prototypes)),
        layers_(std::move(layers)),
        in_(std::move(in)),
        out_(std::move(out)) {}
  const Layers layers_;
  const core::PackedVectors in_, out_;
};

// Adam (arXiv 1412.6980) with decoupled decay (1711.05101) of one matrix; biases are its last
// column.
struct Layer {
  Matrix value, gradient, first, second;
  Layer(std::size_t rows, std::size_t columns)
      : value(Matrix::Zero(static_cast<Eigen::Index>(rows), static_cast<Eigen::Index>(columns))),
        gradient(value),
        first(value),
        second(value) {}
  void step(std::size_t t, float decay) {
    first = 0.9f * first + 0.1f * gradient;
    second = 0.999f * second + 0.001f * gradient.cwiseAbs2();
    const auto steps = static_cast<float>(t);
    const float c1 = 1.0f - std::pow(0.9f, steps), c2 = 1.0f - std::pow(0.999f, steps);
    value.leftCols(value.cols() - 1) *= 1.0f - kLearningRate * decay;
    value.array() -= kLearningRate * (first.array() / c1) / ((second.array() / c2).sqrt() + 1e-8f);
  }
};

void split(const Layer& layer, float scale, std::vector<float>& weight, std::vector<float>& bias) {
  for (Eigen::Index row = 0; row < layer.value.rows(); ++row) {
    for (Eigen::Index column = 0; column + 1 < layer.value.cols(); ++column)
      weight.push_back(scale * layer.value(row, column));
    bias.push_back(scale * layer.value(row, layer.value.cols() - 1));
  }
}

}  // namespace

RouterResult fit_mlp(const RouterExamples& train, const RouterExamples& dev,
                     const RouterOptions& options) {
  const std::size_t dim = train.dim, classes = train.collections.size(), hidden = options.hidden;
  const RouterRows rows = rows_of(train);
  core::Random random(options.seed);
  Layer in(hidden, dim + 1), out(classes, hidden + 1);
  const double deviation = std::sqrt(2.0 / static_cast<double>(dim));
  for (Eigen::Index i = 0; i < in.value.rows(); ++i)
    for (Eigen::Index j = 0; j + 1 < in.value.cols(); ++j)
      in.value(i, j) = static_cast<float>(deviation * random.normal());

  std::vector<std::size_t> order(rows.labels.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto smoothing = static_cast<float>(options.label_smoothing);
  const auto decay = static_cast<float>(options.l2);
  std::size_t t = 0;
  for (std::size_t epoch = 0; epoch < options.epochs; ++epoch) {
    random.shuffle(std::span<std::size_t>(order));
    for (std::size_t start = 0; start < order.size(); start += kBatch) {
      const std::size_t n = std::min(kBatch, order.size() - start);
      const auto count = static_cast<Eigen::Index>(n);
      Matrix x(count, static_cast<Eigen::Index>(dim + 1));
      for (std::size_t i = 0; i < n; ++i) {
        const float* row = &rows.vectors[order[start + i] * dim];
        const auto at = static_cast<Eigen::Index>(i);
        for (std::size_t d = 0; d < dim; ++d) x(at, static_cast<Eigen::Index>(d)) = row[d];
        x(at, static_cast<Eigen::Index>(dim)) = 1.0f;
      }
      Matrix h = Matrix::Ones(count, static_cast<Eigen::Index>(hidden + 1));
      h.leftCols(static_cast<Eigen::Index>(hidden)) = (x * in.value.transpose()).cwiseMax(0.0f);
      Matrix residual = h * out.value.transpose();
      for (std::size_t i = 0; i < n; ++i) {
        auto row = residual.row(static_cast<Eigen::Index>(i));
        row = (row.array() - row.maxCoeff()).exp();
        row /= row.sum();
        row.array() -= smoothing / static_cast<float>(classes);
        row[static_cast<Eigen::Index>(rows.labels[order[start + i]])] -= 1.0f - smoothing;
        row *= static_cast<float>(rows.weights[order[start + i]]) / static_cast<float>(n);
      }
      out.gradient = residual.transpose() * h;
      Matrix back = residual * out.value;
      const auto width = static_cast<Eigen::Index>(hidden);
      back.leftCols(width).array() *= (h.leftCols(width).array() > 0.0f).cast<float>();
      in.gradient = back.leftCols(width).transpose() * x;
      ++t;
      in.step(t, decay);
      out.step(t, decay);
    }
  }

  RouterParts parts = fit_parts("mlp", train);
  Layers layers;
  split(in, 1.0f, layers.in, layers.in_bias);
  split(out, 1.0f, layers.out, layers.out_bias);
  COLLEGIUM_ASSIGN_OR_RETURN(const auto made, MlpRouter::create(parts, layers));
  std::vector<float> logits(dev.labels.size() * classes);
  for (std::size_t i = 0; i < dev.labels.size(); ++i)
    static_cast<const MlpRouter&>(*made).scores(&dev.vectors[i * dim],
                                                {&logits[i * classes], classes});
  const auto scale = static_cast<float>(fit_scale(dev, logits));
  for (auto* values : {&layers.out, &layers.out_bias})
    for (float& value : *values) value *= scale;
  return MlpRouter::create(std::move(parts), std::move(layers));
}

RouterResult read_mlp(RouterParts parts, PayloadReader& in) {
  const std::size_t hidden = in.number<std::uint32_t>(), collections = parts.collections.size();
  if (hidden == 0 || hidden > kMaxHidden) in.fail(std::to_string(hidden) + " hidden units");
  if (!in.ok()) return in.finish();
  Layers layers;
  layers.in = in.numbers<float>(hidden * parts.dim);
  layers.in_bias = in.numbers<float>(hidden);
  layers.out = in.numbers<float>(collections * hidden);
  layers.out_bias = in.numbers<float>(collections);
  COLLEGIUM_RETURN_IF_ERROR(read_parts(parts, in));
  return MlpRouter::create(std::move(parts), std::move(layers));
}

}  // namespace collegium::router
