#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "collegium/core/export.h"
#include "collegium/core/status.h"

namespace collegium::index {

// How a dense and a lexical ranking of one collection become one.
//   z-score          each list's scores less their mean over their standard deviation, so that both
//                    have one scale; then (1 - w) dense + w lexical. What a list lacks gets the z
//                    of that list's last score: it is known to be no better.
//   reciprocal-rank  (1 - w) / (60 + dense rank) + w / (60 + lexical rank), ranks from 1, nothing
//                    for what a list lacks (Cormack, Clarke, Buettcher, SIGIR 2009)
enum class FusionRule { kZScore, kReciprocalRank };
COLLEGIUM_API std::string_view fusion_rule_name(FusionRule rule) noexcept;
COLLEGIUM_API Result<FusionRule> parse_fusion_rule(std::string_view name);

// The weight belongs to the collection: one weight for all loses up to 20 points of nDCG on code.
struct COLLEGIUM_API FusionOptions {
  FusionRule rule = FusionRule::kZScore;
  // Of the lexical ranking, [0, 1]. 0: the dense ranking as it is; 1: the lexical one, and what it
  // lacks after it. Little where nothing is known: of eight sets (docs/evidence/hybrid.md) dev
  // chose 0 to 0.45, the median 0.1, and 0.3 everywhere loses up to 5 points.
  double lexical_weight = 0.1;
  Status validate() const;
};

struct RankedDocument {
  std::string_view id;
  double score = 0.0;  // finite
};

inline constexpr std::size_t kNotRanked = static_cast<std::size_t>(-1);

struct FusedDocument {
  double score = 0.0;
  // Positions in the two rankings, or kNotRanked.
  std::size_t dense = kNotRanked;
  std::size_t lexical = kNotRanked;
};

// Of a document that fuse() made of these.
inline std::string_view fused_id(const FusedDocument& document,
                                 std::span<const RankedDocument> dense,
                                 std::span<const RankedDocument> lexical) {
  return document.dense != kNotRanked ? dense[document.dense].id : lexical[document.lexical].id;
}

// The union of two rankings, each best first and every id once, by (fused score descending, id
// bytewise ascending). A function of its arguments alone. invalid_argument: options out of range.
COLLEGIUM_API Result<std::vector<FusedDocument>> fuse(std::span<const RankedDocument> dense,
                                                      std::span<const RankedDocument> lexical,
                                                      const FusionOptions& options);

}  // namespace collegium::index
