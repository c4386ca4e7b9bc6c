// CorpusImpl: the settings of a collection's index, and how they are found.
#include <cmath>
#include <cstdio>

#include "corpus_impl.h"
#include "index_record.h"

namespace collegium::index {
namespace {

constexpr std::size_t kMostTuneK = 1000;
constexpr std::size_t kMostSamples = 100000;

std::string four_digits(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4f", x);
  return text;
}

Status check_tune(const TuneOptions& options, std::size_t dim) {
  if (options.kind < IndexKind::kAuto || options.kind > IndexKind::kIvf)
    return Status::invalid_argument("index kind " + std::to_string(static_cast<int>(options.kind)) +
                                    ", allowed are 0 to 3");
  if (!(options.target_recall > 0.0 && options.target_recall <= 1.0))
    return Status::invalid_argument("target_recall: " + std::to_string(options.target_recall) +
                                    ", allowed is what is above 0, up to 1");
  if (options.k < 1 || options.k > kMostTuneK)
    return Status::invalid_argument("k: " + std::to_string(options.k) + ", allowed are 1 to " +
                                    std::to_string(kMostTuneK));
  if (options.num_samples < 1 || options.num_samples > kMostSamples)
    return Status::invalid_argument("num_samples: " + std::to_string(options.num_samples) +
                                    ", allowed are 1 to " + std::to_string(kMostSamples));
  if (options.queries.size() % dim != 0)
    return Status::invalid_argument("queries: " + std::to_string(options.queries.size()) +
                                    " floats is not a multiple of dim " + std::to_string(dim));
  for (std::size_t q = 0; q < options.queries.size(); q += dim) {
    double squares = 0.0;
    for (std::size_t d = 0; d < dim; ++d)
      squares += static_cast<double>(options.queries[q + d]) * options.queries[q + d];
    if (!std::isfinite(squares) || squares > 1e30)
      return Status::invalid_argument("query " + std::to_string(q / dim) +
                                      ": not finite, or longer than 1e15");
  }
  return {};
}

// Why a collection of so many passages has this kind.
std::string why_kind(const IndexSettings& settings, IndexKind kind, std::uint64_t passages,
                     std::uint64_t threshold) {
  std::string text =
      std::string(index_kind_name(kind)) + ": " + std::to_string(passages) + " passages, ";
  if (settings.kind != IndexKind::kAuto) return text + "asked for";
  return text + (kind == IndexKind::kExact ? "not more than" : "more than") + " hnsw_threshold " +
         std::to_string(threshold);
}

std::string why_effort(IndexKind kind, const MeasuredEffort& measured, std::size_t k,
                       const char* queries) {
  const std::string effort =
      (kind == IndexKind::kHnsw ? " at breadth " : " at probes ") + std::to_string(measured.effort);
  if (measured.queries == 0) return "; searched" + effort + ", as set";
  return "; recall@" + std::to_string(k) + " " + four_digits(measured.recall) + effort + ", " +
         (measured.recall >= measured.target ? "the least that reaches " : "which misses ") +
         four_digits(measured.target) + ", of " + std::to_string(measured.queries) + " " + queries +
         " against exact search";
}

}  // namespace

// Of a state that was not tuned. With CorpusImpl::life_mutex_ held.
std::string CorpusImpl::index_reason(const CollectionIndex& index,
                                     const CollectionState& state) const {
  const IndexSettings settings = index.settings();
  if (!settings.reason.empty()) return settings.reason;
  const IndexKind kind =
      state.has_structure() ? state.segments[0].segment->block->kind() : IndexKind::kExact;
  if (kind != index.kind_for(settings, state.num_live()))
    return std::string(index_kind_name(kind)) + ": the next flush builds another";
  std::string text = why_kind(settings, kind, state.num_live(), options_.hnsw_threshold);
  if (kind != IndexKind::kExact) text += why_effort(kind, state.measured, 10, "perturbed passages");
  return text;
}

Result<IndexSettings> CorpusImpl::load_index_settings(const std::string& collection) const {
  COLLEGIUM_ASSIGN_OR_RETURN(const auto record, store_->record(index_record_key(collection)));
  if (!record.has_value()) return IndexSettings();
  auto settings = read_index_record(*record);
  if (!settings.ok())
    return settings.status().with_context("collection '" + collection + "' in " + path_);
  return settings;
}

Result<IndexSettings> CorpusImpl::index_settings(std::string_view collection) const {
  return guarded([&]() -> Result<IndexSettings> {
    const std::shared_lock life(life_mutex_);
    COLLEGIUM_RETURN_IF_ERROR(check_not_closed());
    COLLEGIUM_ASSIGN_OR_RETURN(const auto found, find(collection));
    return found->index->settings();
  });
}

Status CorpusImpl::set_index_settings(std::string_view collection, const IndexSettings& settings) {
  return guarded([&]() -> Status {
    COLLEGIUM_RETURN_IF_ERROR(check_process());
    const std::lock_guard one(settings_mutex_);  // the last one recorded is the one in use
    COLLEGIUM_RETURN_IF_ERROR(settings.validate());
    {
      const std::shared_lock life(life_mutex_);
      COLLEGIUM_RETURN_IF_ERROR(check_writer());
      COLLEGIUM_RETURN_IF_ERROR(find(collection).status());
    }
    WriteSet writes;
    writes.put_record(index_record_key(collection), write_index_record(settings));
    COLLEGIUM_RETURN_IF_ERROR(commit(std::move(writes), {}).status());
    const std::shared_lock life(life_mutex_);
    COLLEGIUM_RETURN_IF_ERROR(check_not_closed());
    COLLEGIUM_ASSIGN_OR_RETURN(const auto found, find(collection));
    found->index->set_settings(settings);
    return {};
  });
}

Result<TuneReport> CorpusImpl::tune(std::string_view collection, const TuneOptions& options) {
  return guarded([&]() -> Result<TuneReport> {
    COLLEGIUM_RETURN_IF_ERROR(check_tune(options, options_.dim));
    COLLEGIUM_ASSIGN_OR_RETURN(IndexSettings settings, index_settings(collection));
    settings.kind = options.kind;
    settings.target_recall = options.target_recall;
    settings.effort = 0;
    settings.reason.clear();
    COLLEGIUM_RETURN_IF_ERROR(set_index_settings(collection, settings));
    COLLEGIUM_RETURN_IF_ERROR(flush_indexes());

    TuneReport report;
    std::shared_ptr<const CollectionState> state;
    {
      const std::shared_lock life(life_mutex_);
      COLLEGIUM_RETURN_IF_ERROR(check_not_closed());
      COLLEGIUM_ASSIGN_OR_RETURN(const auto found, find(collection));
      COLLEGIUM_ASSIGN_OR_RETURN(state, found->index->state());
    }
    report.passages = state->num_live();
    if (state->has_structure()) {
      const VectorBlock& block = *state->segments[0].segment->block;
      EffortQuestion question;
      question.queries = options.queries;
      question.num_samples = options.num_samples;
      question.seed = options.seed;
      question.k = options.k;
      question.target = options.target_recall;
      question.timed = true;
      COLLEGIUM_ASSIGN_OR_RETURN(EffortAnswer answer, measure_effort(block, question));
      report.kind = block.kind();
      report.queries = answer.measured.queries;
      report.reached = answer.measured.recall >= answer.measured.target;
      report.recall = answer.trials.back().recall;
      report.exact_query_us = answer.exact_query_us;
      report.trials = std::move(answer.trials);
      settings.effort = answer.measured.effort;
      settings.reason =
          why_kind(settings, report.kind, report.passages, options_.hnsw_threshold) +
          why_effort(report.kind, answer.measured, options.k,
                     options.queries.empty() ? "perturbed passages" : "given queries");
    } else {
      settings.reason = why_kind(settings, report.kind, report.passages, options_.hnsw_threshold);
    }
    COLLEGIUM_RETURN_IF_ERROR(set_index_settings(collection, settings));
    COLLEGIUM_RETURN_IF_ERROR(flush_indexes());
    report.settings = std::move(settings);
    return report;
  });
}

}  // namespace collegium::index
