#include "collegium/router/fusion_choice.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "collegium/core/thread_pool.h"
#include "learning_data.h"

namespace collegium::router {
namespace {

constexpr std::size_t kSteps = 20;
using ByWeight = std::array<double, kSteps + 1>;

double weight_of(std::size_t step) {
  return static_cast<double>(step) / static_cast<double>(kSteps);
}

std::vector<index::RankedDocument> as_documents(const Ranking& ranking) {
  std::vector<index::RankedDocument> documents;
  documents.reserve(ranking.size());
  for (const auto& [id, score] : ranking) documents.push_back({id, score});
  return documents;
}

Status check_finite(const Ranking& ranking) {
  for (const auto& [id, score] : ranking)
    if (!std::isfinite(score))
      return Status::invalid_argument("fusion: the score of document '" + id + "' is not finite");
  return Status();
}

ByWeight ndcg_by_weight(const FusionCase& one, index::FusionRule rule) {
  const auto dense = as_documents(one.dense);
  const auto lexical = as_documents(one.lexical);
  ByWeight result{};
  for (std::size_t step = 0; step <= kSteps; ++step) {
    const auto fused = index::fuse(dense, lexical, {rule, weight_of(step)}).value();
    Ranking first;
    for (std::size_t i = 0; i < std::min<std::size_t>(10, fused.size()); ++i) {
      // By rank, so that fuse()'s order is the one that is judged.
      first.emplace_back(index::fused_id(fused[i], dense, lexical), -static_cast<double>(i));
    }
    result[step] = ndcg_at(10, first, one.judgments);
  }
  return result;
}

std::size_t smallest_of_the_best(const ByWeight& ndcg) {
  const double best = *std::max_element(ndcg.begin(), ndcg.end());
  std::size_t step = 0;
  while (ndcg[step] < best - kNegligible) ++step;
  return step;
}

}  // namespace

Result<std::map<std::string, CollectionFusion>> choose_fusion(
    const std::map<std::string, std::vector<FusionCase>>& dev, index::FusionRule rule) {
  std::map<std::string, CollectionFusion> result;
  std::map<std::string, ByWeight> means;
  ByWeight pooled{};
  std::size_t enough = 0;
  for (const auto& [name, cases] : dev) {
    for (const FusionCase& one : cases) {
      COLLEGIUM_RETURN_IF_ERROR(check_finite(one.dense));
      COLLEGIUM_RETURN_IF_ERROR(check_finite(one.lexical));
    }
    std::vector<ByWeight> found(cases.size());
    core::default_pool().parallel_for(
        cases.size(), [&](std::size_t i) { found[i] = ndcg_by_weight(cases[i], rule); });
    ByWeight& mean = means[name];
    mean.fill(0.0);
    for (const ByWeight& one : found)
      for (std::size_t step = 0; step <= kSteps; ++step) mean[step] += one[step];
    for (double& sum : mean) sum /= static_cast<double>(std::max<std::size_t>(1, cases.size()));
    if (cases.size() < kMinFusionQueries) continue;
    ++enough;
    for (std::size_t step = 0; step <= kSteps; ++step) pooled[step] += mean[step];
  }
  for (double& sum : pooled) sum /= static_cast<double>(std::max<std::size_t>(1, enough));

  for (const auto& [name, cases] : dev) {
    CollectionFusion& fusion = result[name];
    fusion.options.rule = rule;
    fusion.dev_queries = cases.size();
    fusion.pooled = cases.size() < kMinFusionQueries;
    const ByWeight& mean = means[name];
    if (!fusion.pooled)
      fusion.options.lexical_weight = weight_of(smallest_of_the_best(mean));
    else if (enough > 0)
      fusion.options.lexical_weight = weight_of(smallest_of_the_best(pooled));
    const auto step = static_cast<std::size_t>(
        std::lround(fusion.options.lexical_weight * static_cast<double>(kSteps)));
    fusion.dev_ndcg_dense = mean[0];
    fusion.dev_ndcg = mean[step];
  }
  return result;
}

}  // namespace collegium::router
