#include "evaluation_outcomes.h"

#include <algorithm>
#include <cmath>
#include <set>

namespace collegium::router {
namespace {

constexpr double Metrics::*kFields[] = {&Metrics::ndcg_at_10,      &Metrics::recall_at_100,
                                        &Metrics::map_at_100,      &Metrics::mrr_at_10,
                                        &Metrics::precision_at_10, &Metrics::success_at_5};

void add(Metrics& sum, const Metrics& metrics) {
  for (const auto field : kFields) sum.*field += metrics.*field;
}
void divide(Metrics& sum, double by) {
  for (const auto field : kFields) sum.*field /= by;
}

// By query: the position of its collection among those of the table.
std::vector<std::uint32_t> sets_of(const Evaluation& evaluation) {
  std::vector<std::uint32_t> sets;
  for (const EvaluationQuery& query : evaluation.queries)
    sets.push_back(static_cast<std::uint32_t>(std::distance(
        evaluation.num_queries.begin(), evaluation.num_queries.find(query.collection))));
  return sets;
}

double mean_ndcg(const Evaluation& evaluation, const MethodOutcomes& method,
                 RankedOutcome Outcome::*view) {
  double sum = 0.0;
  for (std::size_t q = 0; q < evaluation.queries.size(); ++q)
    sum += (method.queries[q].*view).metrics.ndcg_at_10 /
           static_cast<double>(evaluation.num_queries.at(evaluation.queries[q].collection));
  return sum;
}

void fill_view(const Evaluation& evaluation, const MethodOutcomes& method,
               RankedOutcome Outcome::*which, EvaluationView& view) {
  for (std::size_t q = 0; q < evaluation.queries.size(); ++q) {
    const std::string& name = evaluation.queries[q].collection;
    const Metrics& metrics = (method.queries[q].*which).metrics;
    view.queries.push_back(metrics);
    add(view.by_collection[name], metrics);
  }
  std::map<std::string, double> sizes;
  for (const auto& [name, group] : evaluation.groups) sizes[group] += 1.0;
  for (auto& [name, metrics] : view.by_collection) {
    divide(metrics, static_cast<double>(evaluation.num_queries.at(name)));
    add(view.mean, metrics);
    if (sizes.size() > 1) add(view.groups[evaluation.groups.at(name)].mean, metrics);
  }
  divide(view.mean, static_cast<double>(std::max<std::size_t>(view.by_collection.size(), 1)));
  for (auto& [name, group] : view.groups) divide(group.mean, sizes[name]);
}

Status compare_view(Evaluation& evaluation, EvaluationView EvaluationRow::*view,
                    const BootstrapOptions& options) {
  const EvaluationView plain = evaluation.row("plain")->*view;
  const std::vector<std::uint32_t> sets = sets_of(evaluation);
  const std::size_t num_sets = evaluation.num_queries.size(), methods = evaluation.rows.size();
  std::vector<double> differences;
  for (std::size_t q = 0; q < sets.size(); ++q)
    for (const EvaluationRow& row : evaluation.rows)
      differences.push_back((row.*view).queries[q].ndcg_at_10 - plain.queries[q].ndcg_at_10);
  COLLEGIUM_ASSIGN_OR_RETURN(const auto table,
                             paired_bootstrap_table(differences, sets, num_sets, methods, options));
  for (std::size_t m = 0; m < methods; ++m) {
    EvaluationView& row = evaluation.rows[m].*view;
    std::size_t set = 0;
    for (const auto& [name, count] : evaluation.num_queries)
      row.against_plain[name] = table[set++ * methods + m];
    row.mean_against_plain = table[num_sets * methods + m];
  }
  std::set<std::string> names;
  for (const auto& [name, group] : plain.groups) names.insert(name);
  for (const std::string& name : names) {
    std::vector<double> of_group;
    std::vector<std::uint32_t> sets_of_group;
    for (std::size_t q = 0; q < sets.size(); ++q) {
      if (evaluation.groups.at(evaluation.queries[q].collection) != name) continue;
      sets_of_group.push_back(sets[q]);
      const auto begin = differences.begin() + static_cast<std::ptrdiff_t>(q * methods);
      of_group.insert(of_group.end(), begin, begin + static_cast<std::ptrdiff_t>(methods));
    }
    COLLEGIUM_ASSIGN_OR_RETURN(const auto part, paired_bootstrap_table(of_group, sets_of_group,
                                                                       num_sets, methods, options));
    for (std::size_t m = 0; m < methods; ++m)
      (evaluation.rows[m].*view).groups[name].against_plain = part[num_sets * methods + m];
  }
  return Status();
}

void add_shares(Evaluation& evaluation, EvaluationView EvaluationRow::*view) {
  const EvaluationRow* oracle = evaluation.row("oracle per query");
  const EvaluationRow* noise = evaluation.row("noise control");
  if (oracle == nullptr || noise == nullptr) return;
  const double best = (oracle->*view).mean.ndcg_at_10, luck = (noise->*view).mean.ndcg_at_10;
  const double plain = (evaluation.row("plain")->*view).mean.ndcg_at_10;
  for (EvaluationRow& row : evaluation.rows) {
    EvaluationView& mine = row.*view;
    mine.regret = best - mine.mean.ndcg_at_10;
    mine.gain_share = gain_share(mine.mean.ndcg_at_10, plain, best);
    mine.gain_share_over_noise = gain_share(mine.mean.ndcg_at_10, luck, best);
  }
}

}  // namespace

void describe_queries(const LearningData& data, std::span<const QueryRef> queries,
                      Evaluation& evaluation) {
  evaluation.may_flatter = evaluation.split != Split::kTest;
  evaluation.note = evaluation.split == Split::kTest
                        ? "split test: took no part in fitting or choosing"
                    : evaluation.split == Split::kDev
                        ? "split dev: chose strengths, router, policy and thresholds, so its "
                          "figures flatter; report test"
                        : "split train: everything was fitted on it, so its figures mean little";
  std::vector<std::set<std::uint32_t>> trained;  // documents, by collection
  for (const CollectionData& collection : data.collections) {
    trained.emplace_back();
    for (const auto& relevant : collection.splits[0].relevant)
      trained.back().insert(relevant.begin(), relevant.end());
  }
  for (const QueryRef ref : queries) {
    const CollectionData& collection = data.collections[ref.collection];
    const QuerySet& set = collection.splits[static_cast<std::size_t>(evaluation.split)];
    evaluation.queries.push_back({collection.name, set.ids[ref.query],
                                  set.texts.empty() ? std::string() : set.texts[ref.query]});
    ++evaluation.num_queries[collection.name];
    evaluation.groups[collection.name] = collection.splits[0].size() > 0 ? "seen" : "unseen";
    const auto& relevant = set.relevant[ref.query];
    const bool shared = std::any_of(relevant.begin(), relevant.end(), [&](std::uint32_t document) {
      return trained[ref.collection].contains(document);
    });
    evaluation.shares_training_documents[collection.name] += shared ? 1.0 : 0.0;
  }
  for (auto& [name, share] : evaluation.shares_training_documents)
    share /= static_cast<double>(evaluation.num_queries.at(name));
}

RankedOutcome outcome_of(std::span<const std::size_t> ranks, std::span<const float> gains) {
  RankedOutcome outcome;
  Metrics& metrics = outcome.metrics;
  metrics.ndcg_at_10 = ndcg_at_10(ranks, gains);
  std::vector<std::size_t> sorted(ranks.begin(), ranks.end());
  std::sort(sorted.begin(), sorted.end());
  const auto relevant = static_cast<double>(std::max<std::size_t>(sorted.size(), 1));
  for (std::size_t i = 0; i < sorted.size() && sorted[i] < kEvaluationDepth; ++i) {
    metrics.recall_at_100 = static_cast<double>(i + 1) / relevant;
    metrics.map_at_100 += static_cast<double>(i + 1) / static_cast<double>(sorted[i] + 1);
    if (sorted[i] < 10) metrics.precision_at_10 = static_cast<double>(i + 1) / 10.0;
  }
  metrics.map_at_100 /= relevant;
  if (!sorted.empty()) {
    outcome.rank = sorted[0];
    if (sorted[0] < 10) metrics.mrr_at_10 = 1.0 / static_cast<double>(sorted[0] + 1);
    if (sorted[0] < 5) metrics.success_at_5 = 1.0;
  }
  return outcome;
}

Status add_rows(Evaluation& evaluation, std::vector<MethodOutcomes> methods,
                const BootstrapOptions& options) {
  for (MethodOutcomes& method : methods) {
    EvaluationRow row;
    row.method = std::move(method.method);
    row.note = std::move(method.note);
    row.cost = method.cost;
    fill_view(evaluation, method, &Outcome::alone, row.alone);
    fill_view(evaluation, method, &Outcome::merged, row.merged);
    evaluation.rows.push_back(std::move(row));
  }
  for (const auto view : {&EvaluationRow::alone, &EvaluationRow::merged}) {
    COLLEGIUM_RETURN_IF_ERROR(compare_view(evaluation, view, options));
    add_shares(evaluation, view);
  }
  return Status();
}

MethodOutcomes best_constant(const Evaluation& evaluation,
                             std::span<const MethodOutcomes* const> experts) {
  const auto best = [&](RankedOutcome Outcome::*view) -> const MethodOutcomes& {
    return **std::max_element(
        experts.begin(), experts.end(), [&](const MethodOutcomes* a, const MethodOutcomes* b) {
          return mean_ndcg(evaluation, *a, view) < mean_ndcg(evaluation, *b, view);
        });
  };
  const MethodOutcomes& alone = best(&Outcome::alone);
  const MethodOutcomes& merged = best(&Outcome::merged);
  MethodOutcomes result = alone;
  result.method = "best constant";
  result.note = "chosen on this very split: " + alone.method + "; merged: " + merged.method;
  for (std::size_t q = 0; q < result.queries.size(); ++q)
    result.queries[q].merged = merged.queries[q].merged;
  return result;
}

MethodOutcomes oracle_per_set(const Evaluation& evaluation,
                              std::span<const MethodOutcomes* const> candidates) {
  MethodOutcomes result{"oracle per set",
                        "the best of plain and experts for each collection, after the fact",
                        candidates[0]->queries,
                        {}};
  const std::vector<std::uint32_t> sets = sets_of(evaluation);
  for (const auto view : {&Outcome::alone, &Outcome::merged}) {
    std::vector<std::vector<double>> sums(evaluation.num_queries.size(),
                                          std::vector<double>(candidates.size()));
    for (std::size_t q = 0; q < sets.size(); ++q)
      for (std::size_t m = 0; m < candidates.size(); ++m)
        sums[sets[q]][m] += (candidates[m]->queries[q].*view).metrics.ndcg_at_10;
    for (std::size_t q = 0; q < sets.size(); ++q) {
      const auto& sum = sums[sets[q]];
      const auto best = std::max_element(sum.begin(), sum.end()) - sum.begin();
      result.queries[q].*view = candidates[static_cast<std::size_t>(best)]->queries[q].*view;
    }
  }
  return result;
}

MethodOutcomes oracle_per_query(std::span<const MethodOutcomes* const> candidates,
                                std::string method, std::string note) {
  MethodOutcomes result{std::move(method), std::move(note), candidates[0]->queries, {}};
  for (const MethodOutcomes* candidate : candidates)
    for (std::size_t q = 0; q < result.queries.size(); ++q)
      for (const auto view : {&Outcome::alone, &Outcome::merged}) {
        const RankedOutcome& other = candidate->queries[q].*view;
        RankedOutcome& best = result.queries[q].*view;
        if (other.metrics.ndcg_at_10 > best.metrics.ndcg_at_10) best = other;
      }
  return result;
}

FirstChoice first_choice(const Router& router, const float* query) {
  std::vector<float> probabilities(router.collections().size());
  router.probabilities(query, probabilities);
  const auto top = std::max_element(probabilities.begin(), probabilities.end());
  FirstChoice choice;
  choice.collection = static_cast<std::size_t>(top - probabilities.begin());
  choice.probability = std::clamp(double{*top}, 0.0, 1.0);
  double second = 0.0;
  for (std::size_t c = 0; c < probabilities.size(); ++c)
    if (c != choice.collection) second = std::max(second, double{probabilities[c]});
  choice.margin = choice.probability - second;
  choice.familiarity = double{router.familiarity(query)};
  return choice;
}

Result<RouterReport> report_router(const Router& router, const Evaluation& evaluation,
                                   std::span<const FirstChoice> choices,
                                   std::span<const ChoiceOutcome> outcomes) {
  RouterReport report;
  report.kind = std::string(router.kind());
  const std::size_t n = evaluation.queries.size();
  const std::vector<std::uint32_t> sets = sets_of(evaluation);
  std::vector<double> confidence(n), margin(n), familiarity(n);
  std::vector<std::uint8_t> right(n);
  for (std::size_t q = 0; q < n; ++q) {
    const std::string& own = evaluation.queries[q].collection;
    const std::string& chosen = router.collections()[choices[q].collection];
    ++report.confusion[own][chosen];
    right[q] = own == chosen ? 1 : 0;
    report.accuracy += static_cast<double>(right[q]) /
                       static_cast<double>(evaluation.num_queries.at(own)) /
                       static_cast<double>(evaluation.num_queries.size());
    confidence[q] = choices[q].probability;
    margin[q] = choices[q].margin;
    familiarity[q] = choices[q].familiarity;
  }
  COLLEGIUM_ASSIGN_OR_RETURN(report.calibration, measure_calibration(confidence, right));
  for (const auto& [view, curves] : {std::pair{&Outcome::alone, &report.coverage_alone},
                                     std::pair{&Outcome::merged, &report.coverage_merged}}) {
    std::vector<double> routed(n), plain(n);
    for (std::size_t q = 0; q < n; ++q) {
      routed[q] = (outcomes[q].routed->*view).metrics.ndcg_at_10;
      plain[q] = (outcomes[q].plain->*view).metrics.ndcg_at_10;
    }
    COLLEGIUM_ASSIGN_OR_RETURN(
        (*curves)["margin"],
        coverage_curve(margin, routed, plain, right, sets, evaluation.num_queries.size()));
    COLLEGIUM_ASSIGN_OR_RETURN(
        (*curves)["familiarity"],
        coverage_curve(familiarity, routed, plain, right, sets, evaluation.num_queries.size()));
  }
  return report;
}

}  // namespace collegium::router
