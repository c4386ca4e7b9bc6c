#include <algorithm>
#include <chrono>
#include <cmath>
#include <iterator>
#include <set>

#include "engine/hybrid.h"
#include "engine/library_impl.h"
#include "policy_steps.h"

namespace collegium::router {
namespace {

constexpr std::size_t kTest = static_cast<std::size_t>(Split::kTest);

// Judgments of one query as document numbers, in `set`.
Status append_judged(const std::string& collection, const JudgedQuery& query,
                     const index::CollectionView& view, QuerySet& set) {
  const std::string who = "judged query '" + query.id + "' of '" + collection + "'";
  if (query.id.empty())
    return Status::invalid_argument("judged queries of '" + collection + "': an id is empty");
  set.ids.push_back(query.id);
  set.texts.push_back(query.text);
  set.relevant.emplace_back();
  set.gains.emplace_back();
  std::map<std::uint32_t, float> relevant;
  for (const auto& [id, gain] : query.judgments) {
    if (!std::isfinite(gain))
      return Status::invalid_argument(who + ": the gain of '" + id + "' is not finite");
    const auto number = view.find_document(id);
    if (!number)
      return Status::invalid_argument(who + ": document '" + id + "' is not in the collection");
    if (gain > 0.0) relevant[static_cast<std::uint32_t>(*number)] = static_cast<float>(gain);
  }
  if (relevant.empty()) return Status::invalid_argument(who + ": no document has a gain above 0");
  for (const auto& [number, gain] : relevant) {
    set.relevant.back().push_back(number);
    set.gains.back().push_back(gain);
  }
  return {};
}

}  // namespace

// Puts `judged` in the place of the test split. Returns how many of them the library has as
// queries of train or dev.
Result<std::size_t> LibraryImpl::place_judged(
    const std::map<std::string, std::vector<JudgedQuery>>& judged, LearningSnapshot& snapshot,
    const core::ProgressCallback& progress) const {
  std::vector<CollectionData>& collections = snapshot.data.collections;
  std::set<std::string_view> known;
  for (CollectionData& collection : collections) {
    for (const std::size_t split : {0u, 1u})
      for (const std::string& text : collection.splits[split].texts) known.insert(text);
    collection.splits[kTest] = {};
  }
  std::size_t fitted = 0;
  std::set<std::string> texts;
  for (const auto& [name, queries] : judged) {
    const auto at = std::find_if(collections.begin(), collections.end(),
                                 [&](const CollectionData& one) { return one.name == name; });
    if (at == collections.end())
      return Status::not_found("evaluate: no collection '" + name + "' with documents in " + path_);
    const auto& view = *snapshot.views[static_cast<std::size_t>(at - collections.begin())];
    std::set<std::string_view> ids;
    for (const JudgedQuery& query : queries) {
      if (!ids.insert(query.id).second)
        return Status::invalid_argument("judged queries of '" + name + "': id '" + query.id +
                                        "' occurs twice");
      COLLEGIUM_RETURN_IF_ERROR(append_judged(name, query, view, at->splits[kTest]));
      texts.insert(query.text);
      fitted += known.contains(query.text) ? 1 : 0;
    }
  }
  COLLEGIUM_ASSIGN_OR_RETURN(const auto vectors,
                             encode_queries({texts.begin(), texts.end()}, progress));
  for (CollectionData& collection : collections) {
    QuerySet& set = collection.splits[kTest];
    for (const std::string& text : set.texts) {
      const std::vector<float>& vector = vectors.at(text);
      set.vectors.insert(set.vectors.end(), vector.begin(), vector.end());
    }
  }
  return fitted;
}

std::vector<EvaluatedMethod> LibraryImpl::methods_with_words(
    const std::shared_ptr<const Generation>& current) const {
  EvaluatedMethod bm25;
  bm25.method = "BM25";
  bm25.note =
      "words alone; merged: scores of all collections together, each with its own statistics";
  bm25.rank = [=, this](
                  const EvaluationQuery& query, std::span<const float>,
                  std::span<const std::string> collections) -> Result<std::vector<index::Hit>> {
    std::vector<index::Hit> hits;
    const index::LexicalQuery words = lexical_query(query.text);
    for (const std::string& name : collections) {
      COLLEGIUM_ASSIGN_OR_RETURN(auto found,
                                 corpus_->search_lexical(name, words, kEvaluationDepth));
      hits.insert(hits.end(), std::make_move_iterator(found.begin()),
                  std::make_move_iterator(found.end()));
    }
    merge_hits(hits, kEvaluationDepth);
    return hits;
  };

  EvaluatedMethod hybrid;
  hybrid.method = "hybrid";
  hybrid.note =
      "plain and BM25 together, by each collection's weight; merged: plain decides which "
      "collection "
      "has which places";
  hybrid.rank = [=, this](
                    const EvaluationQuery& query, std::span<const float> vector,
                    std::span<const std::string> collections) -> Result<std::vector<index::Hit>> {
    std::map<std::string, CollectionRankings, std::less<>> rankings;
    std::vector<index::Hit> hits;
    const index::LexicalQuery words = lexical_query(query.text);
    for (const std::string& name : collections) {
      CollectionRankings& both = rankings[name];
      COLLEGIUM_ASSIGN_OR_RETURN(both.dense, corpus_->search(name, vector, kEvaluationDepth));
      hits.insert(hits.end(), both.dense.begin(), both.dense.end());
      const auto chosen = current->learned.fusion.find(name);
      if (chosen != current->learned.fusion.end()) both.fusion = chosen->second.options;
      if (both.fusion.lexical_weight == 0.0) continue;
      COLLEGIUM_ASSIGN_OR_RETURN(both.lexical,
                                 corpus_->search_lexical(name, words, kEvaluationDepth));
    }
    merge_hits(hits, kEvaluationDepth);
    return fill_places(std::move(hits), rankings);
  };

  std::vector<EvaluatedMethod> methods{std::move(bm25), std::move(hybrid)};
  const auto& fusion = current->learned.fusion;
  if (current->learned.ranker != nullptr ||
      std::any_of(fusion.begin(), fusion.end(),
                  [](const auto& one) { return one.second.options.lexical_weight > 0.0; })) {
    EvaluatedMethod served;
    served.method = "served";
    served.note = current->learned.ranker != nullptr
                      ? "search() as it is: the policy with words, merged by the ranker"
                      : "search() as it is: the policy with each collection's words beside its "
                        "vectors";
    served.served = true;
    served.rank = [=, this](const EvaluationQuery& query, std::span<const float> vector,
                            std::span<const std::string> collections) {
      return served_hits(current, query.text, vector, {collections.begin(), collections.end()},
                         kEvaluationDepth);
    };
    methods.push_back(std::move(served));
  }
  return methods;
}

Status LibraryImpl::measure_encoding(const EvaluateOptions& options, Evaluation& evaluation) const {
  const std::size_t n = evaluation.queries.size();
  const std::size_t sample = std::min(options.timed_queries, n);
  for (std::size_t i = 0; i < sample; ++i) {
    const std::string_view text[] = {evaluation.queries[i * n / sample].text};
    const auto start = std::chrono::steady_clock::now();
    COLLEGIUM_ASSIGN_OR_RETURN(const auto encoded, encoder_->encode(text, core::TextKind::kQuery));
    const std::chrono::duration<double, std::milli> spent =
        std::chrono::steady_clock::now() - start;
    evaluation.encode_ms += spent.count() / static_cast<double>(sample);
    evaluation.encode_flops += encoder_->flops(encoded.num_tokens[0]) / static_cast<double>(sample);
  }
  return {};
}

Result<Evaluation> LibraryImpl::evaluate(const EvaluateOptions& given,
                                         const core::ProgressCallback& progress) const {
  const Call call(*this);
  COLLEGIUM_RETURN_IF_ERROR(call.check_reader());
  COLLEGIUM_RETURN_IF_ERROR(given.validate());
  const auto current = generation();
  if (current->digest.empty())
    return Status::failed_precondition("evaluate: nothing was learned yet; call fit first");
  COLLEGIUM_ASSIGN_OR_RETURN(LearningSnapshot snapshot, learning_snapshot());
  EvaluateOptions options = given;
  std::size_t fitted = 0;
  if (!options.judged.empty()) {
    options.split = Split::kTest;
    COLLEGIUM_ASSIGN_OR_RETURN(fitted, place_judged(options.judged, snapshot, progress));
  }
  const std::vector<EvaluatedMethod> methods = methods_with_words(current);
  COLLEGIUM_ASSIGN_OR_RETURN(auto evaluation, router::evaluate(snapshot.data, current->learned,
                                                               options, progress, methods));
  COLLEGIUM_RETURN_IF_ERROR(measure_encoding(options, evaluation));
  if (!options.judged.empty()) {
    evaluation.may_flatter = fitted > 0;
    evaluation.note =
        fitted == 0 ? "judged queries given at call time: took no part in fitting or choosing"
                    : "judged queries given at call time, of which " + std::to_string(fitted) +
                          " of " + std::to_string(evaluation.queries.size()) +
                          " are queries of the library's train or dev pairs, so the figures "
                          "flatter";
    return evaluation;
  }
  // A pair may have changed its split since: what is test now may have been train.
  std::string changed;
  for (const auto& [name, digest] : current->data_digest) {
    const auto now = snapshot.data_digest.find(name);
    if (now == snapshot.data_digest.end() || digest.rfind(now->second + "-", 0) == 0) continue;
    changed += (changed.empty() ? "" : ", ") + name;
  }
  if (!changed.empty()) {
    evaluation.may_flatter = true;
    evaluation.note += "; but documents or pairs of " + changed +
                       " changed since fit, so queries moved into this split may have taken part";
  }
  return evaluation;
}

}  // namespace collegium::router
