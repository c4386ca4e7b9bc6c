#pragma once

#include <string>

#include "collegium/router/evaluation.h"
#include "evaluation_report.h"

// Inline SVG, self-contained; text and lines take the page's colour.
namespace collegium::router {

// Each row's mean difference from plain with its interval. Groups have data-m (row).
std::string gains_plot(const Evaluation& evaluation, const ReportView& view);
// The served row's difference from plain by collection. Groups have data-c (collection).
std::string served_plot(const Evaluation& evaluation, const ReportView& view);
// Accuracy over confidence, one dot a bin, its size by how many queries it has.
std::string reliability_plot(const RouterReport& router);
// nDCG@10 over the share of queries that are routed, for both confidences. Merged.
std::string coverage_plot(const RouterReport& router);
// nDCG@10 (mean, merged) over FLOPs as a multiple of plain.
std::string cost_plot(const Evaluation& evaluation);

}  // namespace collegium::router
