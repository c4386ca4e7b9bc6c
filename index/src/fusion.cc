#include "collegium/index/fusion.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <unordered_map>

namespace collegium::index {
namespace {

constexpr double kReciprocalRankOffset = 60.0;  // of the paper

// A list's part of the fused score, by position; and of what is not in it.
struct Part {
  std::vector<double> ranked;
  double missing = 0.0;
};

Part z_scores(std::span<const RankedDocument> list) {
  Part part;
  if (list.empty()) return part;
  const double n = static_cast<double>(list.size());
  double mean = 0.0;
  for (const RankedDocument& document : list) mean += document.score / n;
  double variance = 0.0;
  for (const RankedDocument& document : list)
    variance += (document.score - mean) * (document.score - mean) / n;
  // A list of equal scores says nothing about its order: all of it stands at the mean.
  const double scale = variance > 0.0 ? 1.0 / std::sqrt(variance) : 0.0;
  for (const RankedDocument& document : list)
    part.ranked.push_back((document.score - mean) * scale);
  part.missing = part.ranked.back();
  return part;
}

Part reciprocal_ranks(std::span<const RankedDocument> list) {
  Part part;
  for (std::size_t i = 0; i < list.size(); ++i)
    part.ranked.push_back(1.0 / (kReciprocalRankOffset + static_cast<double>(i + 1)));
  return part;
}

}  // namespace

std::string_view fusion_rule_name(FusionRule rule) noexcept {
  return rule == FusionRule::kZScore ? "z-score" : "reciprocal-rank";
}

Result<FusionRule> parse_fusion_rule(std::string_view name) {
  if (name == "z-score") return FusionRule::kZScore;
  if (name == "reciprocal-rank") return FusionRule::kReciprocalRank;
  return Status::invalid_argument("fusion rule '" + std::string(name) +
                                  "', must be 'z-score' or 'reciprocal-rank'");
}

Status FusionOptions::validate() const {
  if (!(lexical_weight >= 0.0 && lexical_weight <= 1.0))
    return Status::invalid_argument("FusionOptions.lexical_weight is " +
                                    std::to_string(lexical_weight) + ", must be in [0, 1]");
  return Status();
}

Result<std::vector<FusedDocument>> fuse(std::span<const RankedDocument> dense,
                                        std::span<const RankedDocument> lexical,
                                        const FusionOptions& options) {
  COLLEGIUM_RETURN_IF_ERROR(options.validate());
  const bool z = options.rule == FusionRule::kZScore;
  const Part of_dense = z ? z_scores(dense) : reciprocal_ranks(dense);
  const Part of_lexical = z ? z_scores(lexical) : reciprocal_ranks(lexical);

  std::vector<FusedDocument> fused(dense.size());
  std::unordered_map<std::string_view, std::size_t> at;
  for (std::size_t i = 0; i < dense.size(); ++i) {
    fused[i].dense = i;
    at.emplace(dense[i].id, i);
  }
  for (std::size_t i = 0; i < lexical.size(); ++i) {
    const auto [found, added] = at.emplace(lexical[i].id, fused.size());
    if (added) fused.emplace_back();
    fused[found->second].lexical = i;
  }
  const double w = options.lexical_weight;
  for (FusedDocument& document : fused) {
    const double d =
        document.dense == kNotRanked ? of_dense.missing : of_dense.ranked[document.dense];
    const double l =
        document.lexical == kNotRanked ? of_lexical.missing : of_lexical.ranked[document.lexical];
    document.score = (1.0 - w) * d + w * l;
  }
  const auto id = [&](const FusedDocument& document) { return fused_id(document, dense, lexical); };
  // At weight 0 or 1 one list decides alone, and what it lacks comes after all of it although it
  // may have the last one's score.
  const auto after = [&](const FusedDocument& document) {
    return (w == 0.0 && document.dense == kNotRanked) ||
           (w == 1.0 && document.lexical == kNotRanked);
  };
  std::sort(fused.begin(), fused.end(), [&](const FusedDocument& a, const FusedDocument& b) {
    if (after(a) != after(b)) return after(b);
    return a.score != b.score ? a.score > b.score : id(a) < id(b);
  });
  return fused;
}

}  // namespace collegium::index
