#include "collegium/router/gate.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "logistic.h"
#include "payload.h"

namespace collegium::router {
namespace {

constexpr std::size_t kMaxFeatures = 1024;
constexpr std::size_t kMaxRows = 1 << 20;

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }
double logit(double p) {
  p = std::clamp(p, 1e-9, 1.0 - 1e-9);
  return std::log(p / (1.0 - p));
}

std::string rounded(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", value);
  return text;
}

// What each feature adds to the logit, in the model's order.
std::vector<double> contributions(const Gate::Model& model, std::span<const GateFeature> features) {
  std::vector<double> result(model.names.size(), 0.0);
  for (std::size_t i = 0; i < model.names.size(); ++i) {
    // Callers give the features in the model's order; any other is found by name.
    const GateFeature* feature =
        i < features.size() && features[i].name == model.names[i] ? &features[i] : nullptr;
    for (std::size_t j = 0; feature == nullptr && j < features.size(); ++j)
      if (features[j].name == model.names[i]) feature = &features[j];
    if (feature != nullptr && std::isfinite(feature->value))
      result[i] = model.weight[i] * (feature->value - model.mean[i]) / model.scale[i];
  }
  return result;
}

double probability_of(const Gate::Model& model, std::span<const GateFeature> features) {
  double sum = model.bias;
  for (double value : contributions(model, features)) sum += value;
  return sigmoid(sum);
}

// "most by top_score (+2.10) and direction (-1.20)"
std::string main_causes(const Gate::Model& model, std::span<const GateFeature> features) {
  const std::vector<double> added = contributions(model, features);
  std::vector<std::size_t> order(added.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::abs(added[a]) > std::abs(added[b]);
  });
  std::string text;
  for (std::size_t i = 0; i < std::min<std::size_t>(2, order.size()); ++i)
    text += (i == 0 ? "most by " : " and ") + model.names[order[i]] + " (" +
            (added[order[i]] < 0 ? "" : "+") + rounded(added[order[i]]) + ")";
  return text;
}

GateOutcome outcome(const Gate::Model& model, std::span<const GateFeature> features,
                    GateStage stage, double probability, bool retrieve) {
  GateOutcome result;
  result.decision = retrieve ? GateDecision::kRetrieve : GateDecision::kInternal;
  result.probability = probability;
  result.threshold = model.threshold;
  result.stage = stage;
  result.features.assign(features.begin(), features.end());
  result.reason = "P(retrieval helps) " + rounded(probability) +
                  (probability >= model.threshold ? " reaches " : " is below ") +
                  rounded(model.threshold) + ", " + main_causes(model, features);
  return result;
}

Status check(const GateExamples& examples, const char* name) {
  if (examples.before.size() != examples.helps.size() ||
      examples.after.size() != examples.helps.size())
    return Status::invalid_argument(std::string("gate examples (") + name +
                                    "): " + std::to_string(examples.before.size()) +
                                    " rows before, " + std::to_string(examples.after.size()) +
                                    " after, " + std::to_string(examples.helps.size()) + " labels");
  for (const auto* rows : {&examples.before, &examples.after})
    for (const auto& row : *rows) {
      if (row.size() != rows->front().size())
        return Status::invalid_argument(std::string("gate examples (") + name +
                                        "): rows of different length");
      for (std::size_t i = 0; i < row.size(); ++i)
        if (row[i].name != rows->front()[i].name || !std::isfinite(row[i].value))
          return Status::invalid_argument(std::string("gate examples (") + name + "): feature '" +
                                          row[i].name + "' is out of order or not finite");
    }
  return Status();
}

Gate::Model fit_stage(const std::vector<std::vector<GateFeature>>& rows,
                      const std::vector<bool>& helps) {
  const std::size_t n = rows.size(), dim = rows.front().size();
  Gate::Model model;
  std::vector<std::uint32_t> labels;
  for (bool label : helps) labels.push_back(label ? 1 : 0);
  const std::vector<double> weights = balanced_weights(labels, 2);
  double total = 0.0;
  for (double weight : weights) total += weight;
  for (std::size_t d = 0; d < dim; ++d) {
    double mean = 0.0, square = 0.0;
    for (std::size_t i = 0; i < n; ++i) mean += weights[i] * rows[i][d].value / total;
    for (std::size_t i = 0; i < n; ++i)
      square += weights[i] * (rows[i][d].value - mean) * (rows[i][d].value - mean) / total;
    model.names.push_back(rows.front()[d].name);
    model.mean.push_back(mean);
    model.scale.push_back(square > 1e-18 ? std::sqrt(square) : 1.0);
  }
  std::vector<float> standardised;
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t d = 0; d < dim; ++d)
      standardised.push_back(
          static_cast<float>((rows[i][d].value - model.mean[d]) / model.scale[d]));
  const LogisticModel fitted = fit_logistic({standardised, dim, labels, weights, 2, 1e-2, 200});
  for (std::size_t d = 0; d < dim; ++d)
    model.weight.push_back(double{fitted.weight[dim + d]} - double{fitted.weight[d]});
  model.bias = double{fitted.bias[1]} - double{fitted.bias[0]};
  return model;
}

// The highest threshold that the share `recall` of `positives` reaches, moved down to the middle
// (in logits) between it and the next negative below: as far from both as the examples allow.
double threshold_for(std::vector<double> positives, const std::vector<double>& negatives,
                     double recall) {
  std::sort(positives.begin(), positives.end());
  const auto lost = static_cast<std::size_t>(
      std::floor((1.0 - recall) * static_cast<double>(positives.size()) + 1e-9));
  const double highest = positives[std::min(lost, positives.size() - 1)];
  double below = 0.0;
  for (double p : negatives)
    if (p < highest) below = std::max(below, p);
  return sigmoid(0.5 * (logit(highest) + logit(below)));
}

}  // namespace

std::string_view gate_decision_name(GateDecision decision) noexcept {
  switch (decision) {
    case GateDecision::kRetrieve:
      return "retrieve";
    case GateDecision::kInternal:
      return "internal";
    case GateDecision::kBoth:
      return "both";
    case GateDecision::kRefuse:
      return "refuse";
  }
  return "retrieve";
}

std::string_view gate_stage_name(GateStage stage) noexcept {
  switch (stage) {
    case GateStage::kBeforeSearch:
      return "before search";
    case GateStage::kAfterSearch:
      return "after search";
    case GateStage::kAlways:
      return "always";
  }
  return "always";
}

Status GateOptions::validate() const {
  if (!(target_recall > 0.0 && target_recall <= 1.0))
    return Status::invalid_argument("GateOptions.target_recall is " +
                                    std::to_string(target_recall) + ", must be in (0, 1]");
  if (!(early_confidence >= 0.5 && early_confidence <= 1.0))
    return Status::invalid_argument("GateOptions.early_confidence is " +
                                    std::to_string(early_confidence) + ", must be in [0.5, 1]");
  return Status();
}

std::vector<GateFeature> Gate::features_before(const Router* router,
                                               std::span<const float> query) const {
  if (!fitted() || query.size() != reference_.dim) return {};
  return gate_features_before(reference_, router, query);
}

std::optional<GateOutcome> Gate::decide_before(std::span<const GateFeature> features) const {
  if (!fitted()) return decide_after(features);
  const double probability = probability_of(*before_, features);
  if (probability < before_->threshold)
    return outcome(*before_, features, GateStage::kBeforeSearch, probability, false);
  if (probability > before_->sure_retrieve)
    return outcome(*before_, features, GateStage::kBeforeSearch, probability, true);
  return std::nullopt;
}

GateOutcome Gate::decide_after(std::span<const GateFeature> features) const {
  if (!fitted()) {
    GateOutcome always;
    always.reason = note_;
    return always;
  }
  const double probability = probability_of(*after_, features);
  return outcome(*after_, features, GateStage::kAfterSearch, probability,
                 probability >= after_->threshold);
}

Result<Gate> fit_gate(const GateExamples& train, const GateExamples& dev,
                      const GateOptions& options) {
  COLLEGIUM_RETURN_IF_ERROR(options.validate());
  COLLEGIUM_RETURN_IF_ERROR(check(train, "train"));
  COLLEGIUM_RETURN_IF_ERROR(check(dev, "dev"));
  const auto count = [](const GateExamples& examples, bool helps) {
    return static_cast<std::size_t>(
        std::count(examples.helps.begin(), examples.helps.end(), helps));
  };
  Gate gate;
  if (count(train, true) == 0) {
    gate.note_ = "no questions that need the corpus to learn from: always retrieves";
    return gate;
  }
  if (count(train, false) == 0) return gate;

  Gate::Model before = fit_stage(train.before, train.helps);
  Gate::Model after = fit_stage(train.after, train.helps);
  const bool dev_has_both = count(dev, true) > 0 && count(dev, false) > 0;
  std::vector<const GateExamples*> sources{&dev};
  if (!dev_has_both) sources.push_back(&train);

  std::vector<double> before_positives, before_negatives, after_positives, after_negatives;
  for (const GateExamples* examples : sources)
    for (std::size_t i = 0; i < examples->helps.size(); ++i) {
      const bool helps = examples->helps[i];
      (helps ? before_positives : before_negatives)
          .push_back(probability_of(before, examples->before[i]));
      (helps ? after_positives : after_negatives)
          .push_back(probability_of(after, examples->after[i]));
    }
  // Both stages may lose questions; each gets half of what may be lost.
  const double recall = 1.0 - 0.5 * (1.0 - options.target_recall);
  before.threshold = std::min(threshold_for(before_positives, before_negatives, recall),
                              1.0 - options.early_confidence);
  before.sure_retrieve = std::max(options.early_confidence, before.threshold);
  after.threshold = threshold_for(after_positives, after_negatives, recall);
  after.sure_retrieve = after.threshold;
  gate.note_ = "fitted on " + std::to_string(count(train, true)) +
               " questions that need the corpus and " + std::to_string(count(train, false)) +
               " that do not; thresholds from " +
               (dev_has_both ? std::to_string(dev.helps.size()) + " on dev"
                             : std::string("train and dev together, as dev lacks a class"));
  gate.before_ = std::move(before);
  gate.after_ = std::move(after);
  return gate;
}

std::vector<std::byte> Gate::serialize() const {
  PayloadWriter out;
  out.text(note_);
  out.number(static_cast<std::uint8_t>(fitted() ? 1 : 0));
  if (!fitted()) return out.take();
  for (const Model* model : {&*before_, &*after_}) {
    out.number(static_cast<std::uint32_t>(model->names.size()));
    for (const auto& name : model->names) out.text(name);
    out.numbers<double>(model->mean);
    out.numbers<double>(model->scale);
    out.numbers<double>(model->weight);
    const double rest[] = {model->bias, model->threshold, model->sure_retrieve};
    out.numbers<double>(rest);
  }
  out.number(static_cast<std::uint32_t>(reference_.dim));
  const std::size_t dim = std::max<std::size_t>(reference_.dim, 1);
  for (const auto* rows : {&reference_.centroids, &reference_.questions, &reference_.negatives}) {
    out.number(static_cast<std::uint32_t>(rows->size() / dim));
    out.numbers<float>(*rows);
  }
  out.numbers<float>(reference_.direction);
  out.number(reference_.direction_bias);
  return out.take();
}

Result<Gate> Gate::deserialize(std::span<const std::byte> bytes) {
  PayloadReader in("gate", bytes);
  Gate gate;
  gate.note_ = in.text();
  const auto fitted = in.number<std::uint8_t>();
  if (in.ok() && fitted > 1) in.fail("flag " + std::to_string(fitted));
  if (!in.ok() || fitted == 0) {
    COLLEGIUM_RETURN_IF_ERROR(in.finish());
    return gate;
  }
  for (auto* target : {&gate.before_, &gate.after_}) {
    Model model;
    const auto features = in.number<std::uint32_t>();
    if (features == 0 || features > kMaxFeatures) in.fail(std::to_string(features) + " features");
    if (!in.ok()) return in.finish();
    for (std::uint32_t i = 0; i < features && in.ok(); ++i) model.names.push_back(in.text(256));
    model.mean = in.numbers<double>(features);
    model.scale = in.numbers<double>(features);
    model.weight = in.numbers<double>(features);
    const std::vector<double> rest = in.numbers<double>(3);
    if (!in.ok()) return in.finish();
    if (std::any_of(model.scale.begin(), model.scale.end(), [](double s) { return !(s > 0.0); }))
      in.fail("a scale that is not positive");
    model.bias = rest[0];
    model.threshold = rest[1];
    model.sure_retrieve = rest[2];
    *target = std::move(model);
  }
  GateReference& reference = gate.reference_;
  reference.dim = in.number<std::uint32_t>();
  if (reference.dim > 65536) in.fail("dim " + std::to_string(reference.dim));
  for (auto* rows : {&reference.centroids, &reference.questions, &reference.negatives}) {
    const auto count = in.number<std::uint32_t>();
    if (count > kMaxRows) in.fail(std::to_string(count) + " rows");
    if (!in.ok()) return in.finish();
    *rows = in.numbers<float>(std::uint64_t{count} * reference.dim);
  }
  reference.direction = in.numbers<float>(reference.dim);
  reference.direction_bias = in.number<double>();
  if (in.ok() && !std::isfinite(reference.direction_bias)) in.fail("a number that is not finite");
  COLLEGIUM_RETURN_IF_ERROR(in.finish());
  return gate;
}

}  // namespace collegium::router
