#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/export.h"
#include "collegium/core/file_envelope.h"
#include "collegium/core/status.h"
#include "collegium/router/policy.h"
#include "collegium/router/router.h"

namespace collegium::router {

enum class GateDecision { kRetrieve, kInternal, kBoth, kRefuse };
COLLEGIUM_API std::string_view gate_decision_name(GateDecision decision) noexcept;

// What the gate looks at (see gate_features_before and _after). Named, so that a decision can be
// explained.
struct GateFeature {
  std::string name;
  double value = 0.0;
};

struct COLLEGIUM_API GateOptions {
  // Share of questions that need the corpus and must still be retrieved for, on dev; the threshold
  // is the highest that keeps it. Range (0, 1].
  double target_recall = 0.98;
  // The stage before the search may save it, or spare the second stage, only where it is surer than
  // this. Range [0.5, 1]. 1: always decide after the search.
  double early_confidence = 0.98;
  Status validate() const;
};

enum class GateStage { kBeforeSearch, kAfterSearch, kAlways };
COLLEGIUM_API std::string_view gate_stage_name(GateStage stage) noexcept;

struct GateOutcome {
  GateDecision decision = GateDecision::kRetrieve;
  double probability = 1.0;  // P(retrieval helps)
  double threshold = 0.0;
  GateStage stage = GateStage::kAlways;
  std::vector<GateFeature> features;  // those of the stage that decided
  std::string reason;
};

// Vectors the features before the search are measured against; part of the gate.
struct GateReference {
  std::size_t dim = 0;
  std::vector<float> centroids;  // (collections, dim) unit mean document vectors
  std::vector<float> questions;  // (n, dim) a sample of training queries, at most kMaxQuestions
  std::vector<float> negatives;  // (n, dim) of the questions that need no corpus
  std::vector<float> direction;  // (dim,) that separates the two, by logistic regression
  double direction_bias = 0.0;
  static constexpr std::size_t kMaxQuestions = 1024, kMaxNegatives = 512;
};
// Thins both samples evenly, fits the direction. Centroids need not be normalised. With one class
// only the direction is zero. invalid_argument on sizes and numbers that are not finite.
COLLEGIUM_API Result<GateReference> make_gate_reference(std::size_t dim,
                                                        std::span<const float> centroids,
                                                        std::span<const float> questions,
                                                        std::span<const float> negatives);

// router_entropy (of its probabilities, 1: even), router_max, router_margin, familiarity,
// nearest_centroid, near_questions (mean cosine to the 5 nearest), near_negatives (to the 3
// nearest), direction (a logit). Without a router its features are those of knowing nothing.
COLLEGIUM_API std::vector<GateFeature> gate_features_before(const GateReference& reference,
                                                            const Router* router,
                                                            std::span<const float> query);
// `before`, then top_score, drop_2, drop_5, drop_10 (from the best score to that rank's, or to the
// last there is), mean_top_10. `plain_scores` descending, those of PolicyResult::plain_hits.
COLLEGIUM_API std::vector<GateFeature> gate_features_after(std::span<const GateFeature> before,
                                                           std::span<const float> plain_scores);
COLLEGIUM_API std::vector<GateFeature> gate_features_after(std::span<const GateFeature> before,
                                                           const PolicyResult& searched);

// P(retrieval helps), decided twice: before the search on query and router features, so that it can
// save the search, else after it on retrieval scores and their drop too. Logistic regression on
// named, standardised features. Default-constructed it always retrieves and says so. A value type.
class COLLEGIUM_API Gate {
 public:
  struct Model {  // one stage
    std::vector<std::string> names;
    std::vector<double> mean, scale, weight;
    double bias = 0.0;
    // Retrieve at or above it.
    double threshold = 0.0;
    // Before the search only: above `sure_retrieve` go on without asking again after it; below
    // `threshold` answer without a search; between, decide after the search.
    double sure_retrieve = 1.0;
  };

  bool fitted() const noexcept { return before_.has_value() && after_.has_value(); }
  // What it was fitted on, or why it was not; for `info`.
  const std::string& note() const noexcept { return note_; }
  const GateReference& reference() const noexcept { return reference_; }

  // The features of `query`, whose dim is the reference's. Empty if not fitted.
  std::vector<GateFeature> features_before(const Router* router,
                                           std::span<const float> query) const;
  // nullopt: undecided, search first. A feature the model does not know is ignored, a missing or
  // non-finite one counts as average. Not fitted: retrieve, kAlways, with note() as reason.
  std::optional<GateOutcome> decide_before(std::span<const GateFeature> features) const;
  GateOutcome decide_after(std::span<const GateFeature> features) const;

  // The payload of file kind "gate" (docs/formats.md). deserialize: corruption on sizes that do not
  // fit, numbers that are not finite.
  std::vector<std::byte> serialize() const;
  static Result<Gate> deserialize(std::span<const std::byte> bytes);

  // Filled by fit_gate() and learn().
  std::optional<Model> before_, after_;
  GateReference reference_;
  std::string note_ = "no questions marked as needing no corpus: always retrieves";
};

inline constexpr core::FileKind kGateFileKind{"gate", 1};

// Labelled examples: helps[i] says whether retrieval helps. Both feature rows per example, all with
// the same names in the same order.
struct GateExamples {
  std::vector<std::vector<GateFeature>> before, after;
  std::vector<bool> helps;
};

// With one class only the gate always retrieves and note() says why. Thresholds are set on `dev`,
// or on both together where dev lacks a class: the share target_recall of the questions that need
// the corpus stays above them, and between the two nearest examples the middle is taken.
// invalid_argument on rows that disagree.
COLLEGIUM_API Result<Gate> fit_gate(const GateExamples& train, const GateExamples& dev,
                                    const GateOptions& options);

}  // namespace collegium::router
