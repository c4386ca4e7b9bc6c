#define EIGEN_DONT_PARALLELIZE
#include "collegium/router/ranker.h"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <numeric>
#include <unordered_map>
#include <utility>

#include "lbfgs.h"
#include "learning_data.h"
#include "payload.h"

namespace collegium::router {
namespace {

constexpr std::size_t kFolds = 2;   // of the calibration
constexpr std::size_t kShown = 10;  // of a ranking, which is what probabilities are fitted on
constexpr std::size_t kMaxOwn = 100000;
constexpr std::size_t kBias = kRankerFeatures;
constexpr std::size_t kPrior = 4;
static_assert(kRankerFeatureNames[kPrior] == "prior");

// A list's scores: of a document, or of its last.
struct List {
  explicit List(std::span<const index::RankedDocument> documents) : documents_(documents) {
    if (documents.empty()) return;
    for (const auto& document : documents) mean_ += document.score;
    mean_ /= static_cast<double>(documents.size());
    double square = 0.0;
    for (const auto& document : documents) {
      const double difference = document.score - mean_;
      square += difference * difference;
    }
    deviation_ = std::sqrt(square / static_cast<double>(documents.size()));
  }
  double score(std::size_t position) const {
    if (documents_.empty()) return 0.0;
    return position == index::kNotRanked ? documents_.back().score : documents_[position].score;
  }
  double z(std::size_t position) const {
    return deviation_ > 0.0 ? (score(position) - mean_) / deviation_ : 0.0;
  }

 private:
  std::span<const index::RankedDocument> documents_;
  double mean_ = 0.0, deviation_ = 0.0;
};

Status check(const RankerSource& source) {
  if (!(source.probability > 0.0 && source.probability <= 1.0))
    return Status::invalid_argument("ranker: probability " + std::to_string(source.probability) +
                                    " of '" + std::string(source.collection) +
                                    "', must be in (0, 1]");
  for (const auto& list : {source.plain, source.own, source.lexical})
    for (const auto& document : list)
      if (!std::isfinite(document.score))
        return Status::invalid_argument("ranker: the score of document '" +
                                        std::string(document.id) + "' of '" +
                                        std::string(source.collection) + "' is not finite");
  return Status();
}

// log sum exp of the `kShown` largest; `scores` descending.
double rivals_of(std::span<const double> scores) {
  if (scores.empty()) return 0.0;
  double sum = 0.0;
  for (std::size_t i = 0; i < std::min(scores.size(), kShown); ++i)
    sum += std::exp(scores[i] - scores[0]);
  return scores[0] + std::log(sum);
}

double sigmoid(double x) {
  return x >= 0.0 ? 1.0 / (1.0 + std::exp(-x)) : std::exp(x) / (1.0 + std::exp(x));
}

}  // namespace

Result<std::vector<RankedCandidate>> ranker_candidates(std::span<const RankerSource> sources,
                                                       std::size_t depth) {
  double best_lexical = 0.0;
  for (const RankerSource& source : sources) {
    COLLEGIUM_RETURN_IF_ERROR(check(source));
    if (!source.lexical.empty())
      best_lexical = std::max(best_lexical, source.lexical.front().score);
  }
  std::vector<RankedCandidate> candidates;
  std::unordered_map<std::string_view, std::size_t> plain_at, dense_at, lexical_at;
  for (std::size_t s = 0; s < sources.size(); ++s) {
    const RankerSource& source = sources[s];
    const auto& dense = source.own.empty() ? source.plain : source.own;
    const List plain_list(source.plain), dense_list(dense), lexical_list(source.lexical);
    plain_at.clear(), dense_at.clear(), lexical_at.clear();
    for (std::size_t i = 0; i < source.plain.size(); ++i) plain_at.emplace(source.plain[i].id, i);
    for (std::size_t i = 0; i < dense.size(); ++i) dense_at.emplace(dense[i].id, i);
    for (std::size_t i = 0; i < source.lexical.size(); ++i)
      lexical_at.emplace(source.lexical[i].id, i);
    const auto place = [](const auto& positions, std::string_view id) {
      const auto found = positions.find(id);
      return found == positions.end() ? index::kNotRanked : found->second;
    };
    const auto add = [&](std::string_view id) {
      RankedCandidate one;
      one.source = s;
      one.id = id;
      one.dense = place(dense_at, id);
      one.lexical = place(lexical_at, id);
      const double words = source.lexical.empty() ? 0.0 : lexical_list.score(one.lexical);
      one.features = {
          static_cast<float>(plain_list.score(place(plain_at, id))),
          static_cast<float>(dense_list.score(one.dense)),
          static_cast<float>(lexical_list.z(one.lexical)),
          static_cast<float>(best_lexical > 0.0 ? words / best_lexical : 0.0),
          std::max(static_cast<float>(std::log(source.probability)), kRankerLeastPrior)};
      candidates.push_back(one);
    };
    for (std::size_t i = 0; i < std::min(depth, dense.size()); ++i) add(dense[i].id);
    for (std::size_t i = 0; i < std::min(depth, source.lexical.size()); ++i)
      if (const std::size_t at = place(dense_at, source.lexical[i].id);
          at == index::kNotRanked || at >= depth)
        add(source.lexical[i].id);
  }
  return candidates;
}

Status RankerOptions::validate() const {
  for (const auto& [name, value] : {std::pair("l2", l2), std::pair("l2_collection", l2_collection)})
    if (!(value >= 1e-9 && value <= 1e9))
      return Status::invalid_argument(std::string("RankerOptions.") + name + " is " +
                                      std::to_string(value) + ", must be in [1e-9, 1e9]");
  return Status();
}

std::uint32_t RankerExamples::number_of(std::string_view collection) {
  const auto [at, added] = numbers_.emplace(collection, static_cast<std::uint32_t>(names_.size()));
  if (added) names_.emplace_back(collection);
  return at->second;
}

Status RankerExamples::add(std::string_view collection, std::span<const RankerSource> sources,
                           const Judgments& judgments) {
  COLLEGIUM_ASSIGN_OR_RETURN(const auto candidates, ranker_candidates(sources));
  Query query{number_of(collection), 0.0, {}};
  std::vector<double> gains;
  for (const auto& [id, gain] : judgments)
    if (gain > 0.0) gains.push_back(gain);
  std::sort(gains.rbegin(), gains.rend());
  for (std::size_t i = 0; i < std::min<std::size_t>(10, gains.size()); ++i)
    query.ideal += gains[i] / std::log2(static_cast<double>(i) + 2.0);
  bool teaches = false;
  for (const RankedCandidate& one : candidates) {
    const std::string_view of = sources[one.source].collection;
    float gain = 0.0f;
    if (of == collection)
      if (const auto judged = judgments.find(std::string(one.id)); judged != judgments.end())
        gain = static_cast<float>(std::max(0.0, judged->second));
    const bool near = one.dense < kRankerNegatives || one.lexical < kRankerNegatives;
    if (gain == 0.0f && !near) continue;
    teaches = teaches || gain > 0.0f;
    query.rows.push_back({one.features, number_of(of), gain});
  }
  if (!teaches) query.rows.clear();
  queries_.push_back(std::move(query));
  return Status();
}

const Ranker::Weights& Ranker::weights_of(std::string_view collection) const {
  const auto found = own_.find(collection);
  return found == own_.end() ? shared_ : found->second;
}

double Ranker::raw_score(const Weights& weights, const RankerFeatures& features) const noexcept {
  double sum = weights[kBias];
  for (std::size_t f = 0; f < kRankerFeatures; ++f)
    sum += weights[f] * (double{features[f]} - mean_[f]) / scale_[f];
  return sum;
}

RankerFeatures Ranker::features_under(const Weights& weights, RankerFeatures features) const {
  if (&weights == &shared_) features[kPrior] = std::max(features[kPrior], kRankerUnknownPrior);
  return features;
}

Ranker::Shown Ranker::shown(const RankerExamples& examples, std::size_t query) const {
  const auto& asked = examples.queries_[query];
  Shown shown;
  for (const auto& row : asked.rows) {
    const Weights& weights = weights_of(examples.names_[row.collection]);
    shown.best.emplace_back(raw_score(weights, features_under(weights, row.features)), row.gain);
  }
  std::sort(shown.best.rbegin(), shown.best.rend());
  shown.best.resize(std::min(shown.best.size(), kShown));
  for (std::size_t i = 0; i < shown.best.size() && asked.ideal > 0.0; ++i)
    shown.ndcg +=
        double{shown.best[i].second} / std::log2(static_cast<double>(i) + 2.0) / asked.ideal;
  return shown;
}

Ranker Ranker::fit_weights(const RankerExamples& examples, std::span<const std::size_t> queries,
                           const RankerOptions& options) {
  Ranker ranker;
  std::vector<double> counts(examples.names_.size(), 0.0);
  double rows = 0.0;
  for (std::size_t q : queries) {
    const auto& query = examples.queries_[q];
    counts[query.collection] += 1.0;
    for (const auto& row : query.rows) {
      rows += 1.0;
      for (std::size_t f = 0; f < kRankerFeatures; ++f) ranker.mean_[f] += double{row.features[f]};
    }
  }
  for (double& mean : ranker.mean_) mean /= std::max(rows, 1.0);
  for (std::size_t q : queries)
    for (const auto& row : examples.queries_[q].rows)
      for (std::size_t f = 0; f < kRankerFeatures; ++f) {
        const double difference = double{row.features[f]} - ranker.mean_[f];
        ranker.scale_[f] += difference * difference;
      }
  for (double& scale : ranker.scale_) {
    scale = std::sqrt(scale / std::max(rows, 1.0));
    if (!(scale > 1e-9)) scale = 1.0;  // a feature that is always the same
  }
  const auto present = static_cast<double>(
      std::count_if(counts.begin(), counts.end(), [](double n) { return n > 0.0; }));

  // Shared weights, then what each collection's differ by; the shared bias is of no effect here.
  constexpr std::size_t kWidth = kRankerFeatures + 1;
  const std::size_t size = kWidth * (1 + counts.size());
  const Objective loss = [&](const Eigen::VectorXd& parameters, Eigen::VectorXd& gradient) {
    double total = 0.0;
    gradient.setZero();
    std::vector<double> scores;
    std::vector<std::array<double, kWidth>> inputs;
    for (std::size_t q : queries) {
      const auto& query = examples.queries_[q];
      if (query.rows.empty()) continue;
      const double weight = 1.0 / (present * counts[query.collection]);
      scores.clear(), inputs.clear();
      double gains = 0.0, top = -1e300;
      for (const auto& row : query.rows) {
        auto& input = inputs.emplace_back();
        for (std::size_t f = 0; f < kRankerFeatures; ++f)
          input[f] = (double{row.features[f]} - ranker.mean_[f]) / ranker.scale_[f];
        input[kBias] = 1.0;
        const auto own = static_cast<Eigen::Index>(kWidth * (1 + row.collection));
        double score = 0.0;
        for (std::size_t f = 0; f < kWidth; ++f) {
          const auto at = static_cast<Eigen::Index>(f);
          score += input[f] * (parameters[at] + parameters[own + at]);
        }
        scores.push_back(score);
        top = std::max(top, score);
        gains += double{row.gain};
      }
      double sum = 0.0;
      for (double score : scores) sum += std::exp(score - top);
      for (std::size_t i = 0; i < scores.size(); ++i) {
        const double target = double{query.rows[i].gain} / gains;
        total -= weight * target * (scores[i] - top - std::log(sum));
        const double residual = weight * (std::exp(scores[i] - top) / sum - target);
        const auto own = static_cast<Eigen::Index>(kWidth * (1 + query.rows[i].collection));
        for (std::size_t f = 0; f < kWidth; ++f) {
          const auto at = static_cast<Eigen::Index>(f);
          gradient[at] += residual * inputs[i][f];
          gradient[own + at] += residual * inputs[i][f];
        }
      }
    }
    for (Eigen::Index i = 0; i < parameters.size(); ++i) {
      const double l2 = static_cast<std::size_t>(i) < kWidth ? options.l2 : options.l2_collection;
      total += 0.5 * l2 * parameters[i] * parameters[i];
      gradient[i] += l2 * parameters[i];
    }
    return total;
  };
  const Eigen::VectorXd zero = Eigen::VectorXd::Zero(static_cast<Eigen::Index>(size));
  const Eigen::VectorXd found = minimize(loss, zero, options.max_iterations);
  for (std::size_t f = 0; f < kWidth; ++f) ranker.shared_[f] = found[static_cast<Eigen::Index>(f)];
  for (std::size_t c = 0; c < counts.size(); ++c) {
    // One without queries of its own was only ever wrong: that says nothing against it.
    if (counts[c] == 0.0) continue;
    Weights& own = ranker.own_[examples.names_[c]];
    for (std::size_t f = 0; f < kWidth; ++f)
      own[f] = ranker.shared_[f] + found[static_cast<Eigen::Index>(kWidth * (1 + c) + f)];
  }
  return ranker;
}

void Ranker::calibrate(std::span<const Scored> scored) {
  double right = 0.0;
  for (const Scored& one : scored) right += one.relevant ? 1.0 : 0.0;
  const auto n = static_cast<double>(scored.size());
  if (right == 0.0 || right == n) return;
  // Platt's targets, so that few examples do not make anything certain.
  const double high = (right + 1.0) / (right + 2.0), low = 1.0 / (n - right + 2.0);
  const Objective loss = [&](const Eigen::VectorXd& parameters, Eigen::VectorXd& gradient) {
    double total = 0.0;
    gradient.setZero();
    for (const Scored& one : scored) {
      const double odds = parameters[0] * one.score + parameters[1] * one.rivals + parameters[2];
      const double target = one.relevant ? high : low, p = sigmoid(odds);
      total += (std::max(odds, 0.0) + std::log1p(std::exp(-std::abs(odds))) - target * odds) / n;
      gradient[0] += (p - target) * one.score / n;
      gradient[1] += (p - target) * one.rivals / n;
      gradient[2] += (p - target) / n;
    }
    return total;
  };
  const Eigen::VectorXd found = minimize(loss, Eigen::Vector3d(1.0, 0.0, 0.0), 200);
  if (!(found[0] > 0.0)) return;  // the order must stay
  slope_ = found[0];
  rivalry_ = found[1];
  offset_ = found[2];
}

Result<std::shared_ptr<const Ranker>> Ranker::fit(const RankerExamples& examples,
                                                  const RankerOptions& options,
                                                  std::vector<double>* blind_ndcg) {
  COLLEGIUM_RETURN_IF_ERROR(options.validate());
  if (blind_ndcg != nullptr) blind_ndcg->assign(examples.size(), 0.0);
  std::vector<std::size_t> all(examples.size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  if (std::all_of(all.begin(), all.end(),
                  [&](std::size_t q) { return examples.queries_[q].rows.empty(); }))
    return Status::failed_precondition("ranker: of " + std::to_string(all.size()) +
                                       " queries none has something relevant among its candidates");
  auto ranker = std::make_shared<Ranker>(fit_weights(examples, all, options));
  ranker->queries_ = all.size();
  // Scores of the first of each ranking by a ranker that did not see the query.
  std::vector<Scored> scored;
  for (std::size_t fold = 0; fold < kFolds; ++fold) {
    std::vector<std::size_t> others, held;
    for (std::size_t q : all) (q % kFolds == fold ? held : others).push_back(q);
    const Ranker blind = fit_weights(examples, others, options);
    for (std::size_t q : held) {
      const Shown found = blind.shown(examples, q);
      std::vector<double> best;
      for (const auto& [score, gain] : found.best) best.push_back(score);
      const double rivals = rivals_of(best);
      for (const auto& [score, gain] : found.best) scored.push_back({score, rivals, gain > 0.0f});
      if (blind_ndcg != nullptr) (*blind_ndcg)[q] = found.ndcg;
    }
  }
  ranker->calibrate(scored);
  return std::shared_ptr<const Ranker>(std::move(ranker));
}

Result<std::vector<double>> Ranker::stranger_ndcg(const RankerExamples& known,
                                                  const RankerExamples& strange,
                                                  const RankerOptions& options) {
  COLLEGIUM_RETURN_IF_ERROR(options.validate());
  std::map<std::string, std::size_t, std::less<>> numbers;  // of collections with questions
  for (const RankerExamples* examples : {&known, &strange})
    for (const auto& query : examples->queries_) numbers[examples->names_[query.collection]] = 0;
  std::size_t next = 0;
  for (auto& [name, number] : numbers) number = next++;
  std::vector<double> ndcg(strange.size(), 0.0);
  const std::size_t groups = std::min(kStrangerGroups, numbers.size());
  for (std::size_t group = 0; group < groups; ++group) {
    const auto inside = [&](const RankerExamples& examples, std::size_t q) {
      return numbers.at(examples.names_[examples.queries_[q].collection]) % groups == group;
    };
    std::vector<std::size_t> asked, others;
    for (std::size_t q = 0; q < strange.size(); ++q)
      if (inside(strange, q)) asked.push_back(q);
    if (asked.empty()) continue;
    bool teaches = false;
    for (std::size_t q = 0; q < known.size(); ++q) {
      if (inside(known, q)) continue;
      others.push_back(q);
      teaches = teaches || !known.queries_[q].rows.empty();
    }
    if (!teaches)
      return Status::failed_precondition(
          "ranker: without a third of the collections nothing is "
          "left to learn from");
    const Ranker blind = fit_weights(known, others, options);
    for (std::size_t q : asked) ndcg[q] = blind.shown(strange, q).ndcg;
  }
  return ndcg;
}

Result<std::vector<RankedCandidate>> Ranker::rank(std::span<const RankerSource> sources,
                                                  std::size_t k) const {
  COLLEGIUM_ASSIGN_OR_RETURN(auto candidates, ranker_candidates(sources));
  std::vector<const Weights*> weights;
  for (const RankerSource& source : sources) weights.push_back(&weights_of(source.collection));
  for (RankedCandidate& one : candidates) {
    one.features = features_under(*weights[one.source], one.features);
    one.score = raw_score(*weights[one.source], one.features);
  }
  const std::size_t sorted = std::min(std::max(k, kShown), candidates.size());
  std::partial_sort(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(sorted),
                    candidates.end(), [&](const RankedCandidate& a, const RankedCandidate& b) {
                      if (a.score != b.score) return a.score > b.score;
                      return std::pair(a.id, sources[a.source].collection) <
                             std::pair(b.id, sources[b.source].collection);
                    });
  std::vector<double> best;
  for (std::size_t i = 0; i < std::min(sorted, kShown); ++i) best.push_back(candidates[i].score);
  const double rivals = rivals_of(best);
  candidates.resize(std::min(k, candidates.size()));
  for (RankedCandidate& one : candidates) {
    one.rivals = rivals;
    one.score = slope_ * one.score + rivalry_ * rivals + offset_;
    one.probability = sigmoid(one.score);
  }
  return candidates;
}

std::vector<RankerContribution> Ranker::explain(std::string_view collection,
                                                const RankedCandidate& candidate) const {
  const RankerFeatures& features = candidate.features;
  const Weights& weights = weights_of(collection);
  std::vector<RankerContribution> result;
  for (std::size_t f = 0; f < kRankerFeatures; ++f)
    result.push_back({kRankerFeatureNames[f], features[f], slope_ * weights[f],
                      slope_ * weights[f] * (double{features[f]} - mean_[f]) / scale_[f]});
  result.push_back(
      {"collection", 1.0f, slope_ * weights[kBias], slope_ * weights[kBias] + offset_});
  result.push_back(
      {"rivals", static_cast<float>(candidate.rivals), rivalry_, rivalry_ * candidate.rivals});
  return result;
}

std::vector<std::string> Ranker::collections() const {
  std::vector<std::string> names;
  for (const auto& [name, weights] : own_) names.push_back(name);
  return names;
}

std::vector<std::byte> Ranker::serialize() const {
  PayloadWriter out;
  out.number(static_cast<std::uint32_t>(kRankerFeatures));
  for (std::string_view name : kRankerFeatureNames) out.text(name);
  out.number(static_cast<std::uint64_t>(queries_));
  out.numbers<double>(mean_);
  out.numbers<double>(scale_);
  out.numbers<double>(shared_);
  out.number(slope_);
  out.number(rivalry_);
  out.number(offset_);
  out.number(static_cast<std::uint32_t>(own_.size()));
  for (const auto& [name, weights] : own_) {
    out.text(name);
    out.numbers<double>(weights);
  }
  return out.take();
}

Result<std::shared_ptr<const Ranker>> Ranker::deserialize(std::span<const std::byte> bytes) {
  PayloadReader in("ranker", bytes);
  Ranker ranker;
  const auto features = in.number<std::uint32_t>();
  if (!in.ok()) return in.finish();
  bool same = features == kRankerFeatures;
  for (std::size_t f = 0; f < kRankerFeatures && same; ++f)
    same = in.text(64) == kRankerFeatureNames[f];
  if (!in.ok()) return in.finish();
  if (!same)
    return Status::not_supported("ranker: over other features than this build has; fit again");
  ranker.queries_ = in.number<std::uint64_t>();
  const auto read = [&](auto& to) {
    const auto values = in.numbers<double>(to.size());
    std::copy_n(values.begin(), values.size(), to.begin());
  };
  read(ranker.mean_);
  read(ranker.scale_);
  read(ranker.shared_);
  std::array<double, 3> curve{};
  read(curve);
  ranker.slope_ = curve[0], ranker.rivalry_ = curve[1], ranker.offset_ = curve[2];
  if (in.ok() && !(ranker.slope_ > 0.0)) in.fail("a slope that is not above 0");
  for (double scale : ranker.scale_)
    if (in.ok() && !(scale > 0.0)) in.fail("a scale that is not above 0");
  const auto own = in.number<std::uint32_t>();
  if (own > kMaxOwn) in.fail(std::to_string(own) + " collections");
  for (std::uint32_t i = 0; i < own && in.ok(); ++i) {
    const std::string name = in.text();
    read(ranker.own_[name]);
  }
  if (in.ok() && ranker.own_.size() != own) in.fail("a collection twice");
  COLLEGIUM_RETURN_IF_ERROR(in.finish());
  return std::make_shared<const Ranker>(std::move(ranker));
}

}  // namespace collegium::router
