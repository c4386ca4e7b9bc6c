#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "engine/hybrid.h"
#include "engine/library_impl.h"

namespace collegium::router {
// MarginMSE's teacher is the collection's hybrid with the weight of words that dev chose for the
// plain encoder, which knows what is judged: a relevant document scores no less than the best
// other.
Status LibraryImpl::add_hard_documents(const core::HeadAdapterOptions& options,
                                       LearningSnapshot& snapshot,
                                       const core::ProgressCallback& progress) const {
  const bool margins = options.loss == core::TrainingLoss::kMarginMse;
  if (!margins &&
      std::count(options.pools.begin(), options.pools.end(), core::NegativePool::kMined) == 0)
    return Status();
  std::map<std::string, CollectionFusion> fusion;
  if (margins) {
    COLLEGIUM_ASSIGN_OR_RETURN(fusion, choose_fusions(snapshot, {}, progress));
  }
  const std::size_t dim = snapshot.data.dim, depth = options.mined_negatives;
  std::uint64_t total = 0, done = 0;
  for (const CollectionData& collection : snapshot.data.collections)
    total += collection.splits[static_cast<std::size_t>(Split::kTrain)].size();
  for (std::size_t c = 0; c < snapshot.data.collections.size(); ++c) {
    CollectionData& collection = snapshot.data.collections[c];
    const index::CollectionView& view = *snapshot.views[c];
    const QuerySet& set = collection.splits[static_cast<std::size_t>(Split::kTrain)];
    for (std::size_t q = 0; q < set.size(); ++q) {
      if (!core::report(progress, "hard documents", done++, total))
        return Status::cancelled("looking for hard documents");
      COLLEGIUM_ASSIGN_OR_RETURN(
          const auto lexical,
          corpus_->search_lexical(collection.name, lexical_query(set.texts[q]), depth));
      std::vector<index::Hit> dense;
      std::vector<std::pair<std::string_view, double>> ranked;
      if (margins) {
        COLLEGIUM_ASSIGN_OR_RETURN(
            dense,
            corpus_->search(collection.name, std::span(set.vectors).subspan(q * dim, dim), depth));
        const auto by_vector = documents_of(dense), by_words = documents_of(lexical);
        COLLEGIUM_ASSIGN_OR_RETURN(
            const auto fused, index::fuse(by_vector, by_words, fusion.at(collection.name).options));
        for (const index::FusedDocument& one : fused)
          ranked.emplace_back(
              one.dense != index::kNotRanked ? by_vector[one.dense].id : by_words[one.lexical].id,
              one.score);
      } else {
        for (const index::Hit& hit : lexical) ranked.emplace_back(hit.document_id, 0.0);
      }
      const auto& relevant = set.relevant[q];
      std::vector<double> judged(relevant.size(), -std::numeric_limits<double>::infinity());
      std::vector<std::uint32_t> hard;
      std::vector<float> scores;
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
        scores.push_back(static_cast<float>(score));
      }
      collection.hard.push_back(std::move(hard));
      if (!margins) continue;
      std::vector<float> taught;
      for (double score : judged) taught.push_back(static_cast<float>(std::max(score, best)));
      taught.insert(taught.end(), scores.begin(), scores.end());
      collection.teacher.push_back(std::move(taught));
    }
  }
  return Status();
}

}  // namespace collegium::router
