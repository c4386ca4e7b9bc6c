#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "engine/hybrid.h"
#include "engine/library_impl.h"

namespace collegium::router {
namespace {

using Ranked = std::vector<std::pair<std::string_view, double>>;  // ids with scores

// Adds what `ranked` has beside the relevant documents, and (`margins`) a teacher's scores: a
// relevant document has no less than the best other.
void add_query(const Ranked& ranked, const std::vector<std::uint32_t>& relevant,
               const index::CollectionView& view, bool margins, CollectionData& collection) {
  std::vector<double> judged(relevant.size(), -std::numeric_limits<double>::infinity());
  std::vector<std::uint32_t> hard;
  std::vector<float> others;
  double best = 0.0;
  for (const auto& [id, score] : ranked) {
    const auto number = view.find_document(id);
    if (!number) continue;  // a writer removed it meanwhile
    const auto at = std::find(relevant.begin(), relevant.end(), *number);
    if (at != relevant.end()) {
      judged[static_cast<std::size_t>(at - relevant.begin())] = score;
      continue;
    }
    best = hard.empty() ? score : std::max(best, score);
    hard.push_back(static_cast<std::uint32_t>(*number));
    others.push_back(static_cast<float>(score));
  }
  collection.hard.push_back(std::move(hard));
  if (!margins) return;
  std::vector<float>& teacher = collection.teacher.emplace_back();
  for (double score : judged) teacher.push_back(static_cast<float>(std::max(score, best)));
  teacher.insert(teacher.end(), others.begin(), others.end());
}

}  // namespace

// MarginMSE's teacher is the collection's hybrid with the weight of words that dev chose for the
// plain encoder.
Status LibraryImpl::add_hard_documents(const LearnOptions& options,
                                       const std::map<std::string, core::TrainedHeadAdapter>& kept,
                                       LearningSnapshot& snapshot,
                                       const core::ProgressCallback& progress) const {
  const core::HeadAdapterOptions& adapter = options.adapter;
  const bool margins = adapter.loss == core::TrainingLoss::kMarginMse;
  if (!margins &&
      std::count(adapter.pools.begin(), adapter.pools.end(), core::NegativePool::kMined) == 0)
    return Status();
  // The baseline learns from all of them.
  const auto wanted = [&](const CollectionData& collection) {
    return options.multi_task || !kept.contains(collection.name);
  };
  constexpr auto kTrain = static_cast<std::size_t>(Split::kTrain);
  std::uint64_t total = 0, done = 0;
  for (const CollectionData& collection : snapshot.data.collections)
    if (wanted(collection)) total += collection.splits[kTrain].size();
  if (total == 0) return Status();
  std::map<std::string, CollectionFusion> fusion;
  if (margins) {
    COLLEGIUM_ASSIGN_OR_RETURN(fusion, choose_fusions(snapshot, {}, progress));
  }
  const std::size_t dim = snapshot.data.dim, depth = adapter.mined_negatives;
  for (std::size_t c = 0; c < snapshot.data.collections.size(); ++c) {
    CollectionData& collection = snapshot.data.collections[c];
    if (!wanted(collection)) continue;
    const QuerySet& set = collection.splits[kTrain];
    for (std::size_t q = 0; q < set.size(); ++q) {
      if (!core::report(progress, "hard documents", done++, total))
        return Status::cancelled("looking for hard documents");
      COLLEGIUM_ASSIGN_OR_RETURN(
          const auto lexical,
          corpus_->search_lexical(collection.name, lexical_query(set.texts[q]), depth));
      std::vector<index::Hit> dense;
      Ranked ranked;
      if (margins) {
        COLLEGIUM_ASSIGN_OR_RETURN(
            dense,
            corpus_->search(collection.name, std::span(set.vectors).subspan(q * dim, dim), depth));
        const auto by_vector = documents_of(dense), by_words = documents_of(lexical);
        COLLEGIUM_ASSIGN_OR_RETURN(
            const auto fused, index::fuse(by_vector, by_words, fusion.at(collection.name).options));
        for (const index::FusedDocument& one : fused)
          ranked.emplace_back(index::fused_id(one, by_vector, by_words), one.score);
      } else {
        for (const index::Hit& hit : lexical) ranked.emplace_back(hit.document_id, 0.0);
      }
      add_query(ranked, set.relevant[q], *snapshot.views[c], margins, collection);
    }
  }
  return Status();
}

}  // namespace collegium::router
