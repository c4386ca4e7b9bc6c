#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "collegium/router/evaluation.h"
#include "engine/render.h"

// What the forms of a report share.
namespace collegium::router {

struct ReportView {
  const char* key;
  const char* title;
  EvaluationView EvaluationRow::*view;
};
inline constexpr ReportView kReportViews[] = {
    {"per_collection", "each collection searched alone", &EvaluationRow::alone},
    {"merged", "all collections merged", &EvaluationRow::merged}};

struct ReportMeasure {
  const char* key;
  const char* title;
  double Metrics::*value;
};
inline constexpr ReportMeasure kReportMeasures[] = {
    {"ndcg_at_10", "nDCG@10", &Metrics::ndcg_at_10},
    {"recall_at_100", "recall@100", &Metrics::recall_at_100},
    {"map_at_100", "MAP@100", &Metrics::map_at_100},
    {"mrr_at_10", "MRR@10", &Metrics::mrr_at_10},
    {"precision_at_10", "P@10", &Metrics::precision_at_10},
    {"success_at_5", "success@5", &Metrics::success_at_5}};

inline constexpr double kSignificant = 0.05;

std::string with_sign(double value, int digits = 1);  // "+1.2", "-0.3", "+0.0"
const char* split_name(Split split);
std::string headline(const Evaluation& evaluation);
// Questions that need no corpus among the gate's examples: those that are not the table's queries.
std::size_t num_negatives(const Evaluation& evaluation);
// Whether by-collection differences from plain are significant: 1 better, -1 worse, 0 neither.
int verdict(const Comparison& comparison);
// "+1.2 [+0.3, +2.0] p 0.01", figures x 100.
std::string against_plain(const Comparison& comparison);
// Names of the groups of collections that have a mean of their own; empty or both.
std::vector<std::string> group_names(const Evaluation& evaluation);
// Lines below the tables, each a sentence.
std::vector<std::string> remarks(const Evaluation& evaluation);

}  // namespace collegium::router
