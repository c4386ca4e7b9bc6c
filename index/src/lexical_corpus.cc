#include <optional>
#include <utility>

#include "collegium/index/result_caps.h"
#include "corpus_impl.h"
#include "filter_state.h"
#include "lexical_search.h"
#include "lexical_writer.h"
#include "merged_search.h"

namespace collegium::index {
namespace {

Status check_query(const LexicalQuery& query, std::size_t k) {
  if (k == 0) return Status::invalid_argument("k is 0, must be at least 1");
  for (const LexicalQuery::Clause& clause : query.clauses)
    COLLEGIUM_RETURN_IF_ERROR(core::check_utf8(clause.text, "query"));
  return {};
}

std::span<const float> vector_of(const DocumentScore& found, std::size_t dim) {
  return found.segment->block->vectors().subspan(found.position * dim, dim);
}

// The k best documents after the caps: more are asked for until so many are kept.
Result<LexicalResult> search_capped(const LexicalTables& tables, std::uint32_t collection,
                                    const LexicalState& lexical, const CollectionState& state,
                                    const LexicalQuery& query, std::size_t k,
                                    const SearchOptions& options) {
  if (!ResultCaps::wanted(options))
    return search_postings(tables, collection, lexical, state, query, k);
  for (std::size_t want = k;;) {
    COLLEGIUM_ASSIGN_OR_RETURN(LexicalResult found,
                               search_postings(tables, collection, lexical, state, query, want));
    ResultCaps caps(options);
    std::vector<DocumentScore> kept;
    for (const DocumentScore& document : found.documents)
      if (kept.size() < k &&
          caps.keep(source_of(document, options.source_field), vector_of(document, state.dim)))
        kept.push_back(document);
    if (kept.size() == k || found.documents.size() < want) {
      found.documents = std::move(kept);
      return found;
    }
    want = found.documents.size() * 4;
  }
}

}  // namespace

Status CorpusImpl::load_words(Collection& collection) {
  const CollectionRecord& record = collection.record;
  const LexicalTables tables = store_->lexical_tables();
  std::optional<LexicalSummary> summary;
  if (store_->format_version() < kStoreVersion) {
    // An upgrade that was cut off may have left a summary: of it nothing is believed.
    COLLEGIUM_ASSIGN_OR_RETURN(summary, rebuild_lexical(*store_, record.number, {}));
    collection.postings_rebuilt = true;
  } else {
    COLLEGIUM_ASSIGN_OR_RETURN(summary, LexicalSummary::load(tables, record.number));
    // Made by a library that finds other words, queries would miss those. A reader cannot make them
    // anew and searches what is there.
    if (!read_only_ && summary.has_value() && summary->digest != words_digest(summary->settings)) {
      const LexicalSettings settings = summary->settings;
      COLLEGIUM_ASSIGN_OR_RETURN(summary, rebuild_lexical(*store_, record.number, settings));
      collection.postings_rebuilt = true;
    }
  }
  if (!summary.has_value())
    return tables.damaged("collection " + std::to_string(record.number) + " has no postings");
  if (summary->passages != record.passages)
    return tables.damaged("collection " + std::to_string(record.number) + " has postings of " +
                          std::to_string(summary->passages) + " passages, its record says " +
                          std::to_string(record.passages));
  collection.words = std::make_shared<const LexicalSummary>(std::move(*summary));
  return {};
}

Result<LexicalSettings> CorpusImpl::lexical_settings(std::string_view name) const {
  return guarded([&]() -> Result<LexicalSettings> {
    const std::shared_lock life(life_mutex_);
    COLLEGIUM_RETURN_IF_ERROR(check_open());
    COLLEGIUM_ASSIGN_OR_RETURN(const auto collection, find(name));
    const std::shared_lock lock(publish_mutex_);
    return collection->words->settings;
  });
}

Result<std::vector<Hit>> CorpusImpl::search_lexical(std::string_view name,
                                                    const LexicalQuery& query, std::size_t k,
                                                    const SearchOptions& options) const {
  return guarded([&]() -> Result<std::vector<Hit>> {
    const std::shared_lock life(life_mutex_);
    COLLEGIUM_RETURN_IF_ERROR(check_open());
    COLLEGIUM_RETURN_IF_ERROR(options.validate());
    COLLEGIUM_RETURN_IF_ERROR(check_query(query, k));
    COLLEGIUM_ASSIGN_OR_RETURN(const auto collection, find(name));
    std::shared_ptr<const CollectionState> state;
    LexicalState lexical;
    {
      const std::shared_lock lock(publish_mutex_);  // both of one commit
      COLLEGIUM_ASSIGN_OR_RETURN(state, collection->index->state());
      lexical = {commit_seq_, &lexical_cache_, collection->words, snapshot_};
    }
    state = filter_state(std::move(state), options.filter);
    const LexicalTables tables = store_->lexical_tables();
    COLLEGIUM_ASSIGN_OR_RETURN(
        const LexicalResult found,
        search_capped(tables, collection->number, lexical, *state, query, k, options));
    std::vector<Hit> hits;
    hits.reserve(found.documents.size());
    for (const DocumentScore& document : found.documents) {
      Hit& hit = hits.emplace_back(make_hit(name, document));
      hit.source = source_of(document, options.source_field);
      if (!query.explain) continue;
      COLLEGIUM_ASSIGN_OR_RETURN(
          const auto stored,
          store_->document(collection->number, hit.document_id, lexical.snapshot.get()));
      if (!stored.has_value() || hit.bytes.end > stored->text.size())
        return tables.damaged("document '" + hit.document_id + "' is not as it was indexed");
      hit.matches = explain_passage(lexical, found.terms, stored->title, stored->text, hit.bytes);
    }
    return hits;
  });
}

}  // namespace collegium::index
