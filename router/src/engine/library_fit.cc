#include <algorithm>
#include <charconv>
#include <chrono>
#include <map>

#include "collegium/core/file_envelope.h"
#include "engine/library_impl.h"

namespace collegium::router {
namespace {

using Clock = std::chrono::steady_clock;

template <typename T>
std::string digest_of(std::span<const T> values) {
  return core::digest_hex(std::as_bytes(values));
}

// What else decides what an adapter becomes, besides its collection's data.
std::string adapter_settings(const LearnOptions& options) {
  const core::HeadAdapterOptions& adapter = options.adapter;
  std::string text;
  // To the bit: std::to_chars writes the shortest text that reads back as the same number.
  const auto add = [&](auto value) {
    char digits[32];
    text.append(digits, std::to_chars(digits, digits + sizeof digits, value).ptr) += ' ';
  };
  add(adapter.temperature);
  add(adapter.max_negatives);
  add(adapter.batch_size);
  add(adapter.max_epochs);
  add(adapter.learning_rate);
  add(adapter.identity_decay);
  add(adapter.seed);
  return text;
}

// Queries of one collection by split. A query whose pairs fall into several splits is used in the
// last of them alone (test, then dev), so that nothing is measured on a query that was trained on.
// There all its documents are relevant, those of its other pairs too: a ranking that finds one of
// them is not wrong.
void place_pairs(const std::vector<StoredPair>& pairs, const index::CollectionView& view,
                 CollectionData& collection) {
  std::map<std::string_view, Split> last;
  for (const StoredPair& pair : pairs) {
    const auto [at, added] = last.emplace(pair.query, pair.split);
    if (!added) at->second = std::max(at->second, pair.split);
  }
  std::map<std::pair<Split, std::string_view>, std::vector<const StoredPair*>> grouped;
  for (const StoredPair& pair : pairs) {
    grouped[{last.at(pair.query), pair.query}].push_back(&pair);
  }
  for (const auto& [key, members] : grouped) {
    std::map<std::uint32_t, float> relevant;
    for (const StoredPair* pair : members) {
      if (const auto number = view.find_document(pair->document_id))
        relevant[static_cast<std::uint32_t>(*number)] = pair->gain;
    }
    if (relevant.empty()) continue;  // its documents were removed by a writer meanwhile
    QuerySet& set = collection.splits[static_cast<std::size_t>(key.first)];
    set.ids.push_back(text_digest(key.second));
    set.texts.emplace_back(key.second);
    set.vectors.insert(set.vectors.end(), members.front()->vector.begin(),
                       members.front()->vector.end());
    set.relevant.emplace_back();
    set.gains.emplace_back();
    for (const auto& [number, gain] : relevant) {
      set.relevant.back().push_back(number);
      set.gains.back().push_back(gain);
    }
  }
}

std::string expert_note(const FitReport::Expert& expert) {
  if (expert.train == 0) return "no training queries: searched with the plain encoder";
  if (expert.strength == 0.0f) return "no adapter: none gains on dev beyond noise";
  if (expert.dev == 0) return "no dev queries: cautious default strength";
  return expert.kept ? "unchanged data: kept" : "";
}

}  // namespace

Result<LearningSnapshot> LibraryImpl::learning_snapshot() const {
  LearningSnapshot snapshot;
  const std::size_t dim = encoder_->dim();
  snapshot.data.dim = dim;
  for (const std::string& name : corpus_->collections()) {
    COLLEGIUM_ASSIGN_OR_RETURN(auto view, corpus_->view(name));
    if (view->num_passages() == 0) continue;  // nothing to route to
    COLLEGIUM_ASSIGN_OR_RETURN(const auto records, corpus_->records(pair_prefix(name)));
    CollectionData collection;
    collection.name = name;
    collection.vectors = view->vectors();
    collection.passage_document = view->passage_document();
    std::string digests = digest_of(collection.vectors) + digest_of(collection.passage_document);
    std::string ids;
    for (std::size_t i = 0; i < view->num_documents(); ++i) {
      collection.document_ids.emplace_back(view->document_id(i));
      ids += collection.document_ids.back();
      ids += '\0';
    }
    std::vector<StoredPair> pairs;
    std::string pair_digests;
    for (const auto& [key, value] : records) {
      COLLEGIUM_ASSIGN_OR_RETURN(auto pair, StoredPair::parse(value, dim));
      pairs.push_back(std::move(pair));
      pair_digests += text_digest(value);
    }
    place_pairs(pairs, *view, collection);
    digests += text_digest(ids) + text_digest(pair_digests);
    snapshot.data_digest[name] = text_digest(digests);
    snapshot.data.collections.push_back(std::move(collection));
    snapshot.views.push_back(std::move(view));
  }
  COLLEGIUM_ASSIGN_OR_RETURN(const auto negatives, corpus_->records(kNegativePrefix));
  for (const auto& [key, value] : negatives) {
    COLLEGIUM_ASSIGN_OR_RETURN(const auto negative, StoredNegative::parse(value, dim));
    auto& vectors = snapshot.data.negatives[static_cast<std::size_t>(negative.split)];
    vectors.insert(vectors.end(), negative.vector.begin(), negative.vector.end());
  }
  return snapshot;
}

Result<FitReport> LibraryImpl::fit(const FitOptions& options,
                                   const core::ProgressCallback& progress) {
  const Call call(*this);
  COLLEGIUM_RETURN_IF_ERROR(call.check_writer("fit"));
  COLLEGIUM_RETURN_IF_ERROR(options.learn.validate());
  const std::lock_guard writing(writer_);
  const auto start = Clock::now();
  COLLEGIUM_ASSIGN_OR_RETURN(LearningSnapshot snapshot, learning_snapshot());
  if (snapshot.data.collections.empty())
    return Status::failed_precondition("fit: the library at " + path_ +
                                       " holds no documents; add some first");

  const auto previous = generation();
  const std::string settings = text_digest(adapter_settings(options.learn));
  std::map<std::string, core::TrainedHeadAdapter> kept;
  for (auto& [name, digest] : snapshot.data_digest) {
    digest += "-" + settings;
    const auto before = previous->data_digest.find(name);
    const auto adapter = previous->learned.adapters.find(name);
    if (!options.refit && before != previous->data_digest.end() && before->second == digest &&
        adapter != previous->learned.adapters.end())
      kept.emplace(name, adapter->second);
  }

  auto next = std::make_shared<Generation>();
  COLLEGIUM_ASSIGN_OR_RETURN(next->learned, learn(snapshot.data, options.learn, kept, progress));
  COLLEGIUM_ASSIGN_OR_RETURN(next->learned.fusion,
                             choose_fusions(snapshot, next->learned, progress));
  for (const auto& [name, trained] : next->learned.adapters)
    next->data_digest[name] = snapshot.data_digest.at(name);

  COLLEGIUM_ASSIGN_OR_RETURN(const std::string record, write_learned_files(path_, *next));
  index::WriteSet writes;
  writes.put_record(std::string(kGenerationKey), record);
  COLLEGIUM_RETURN_IF_ERROR(corpus_->commit(std::move(writes)));
  set_generation(next);
  remove_leftovers(path_, next->files);
  // Graphs that became due while documents were added are built now, not during a question. They
  // are caches: what fit learned is safe already.
  (void)corpus_->flush_indexes();

  FitReport report;
  report.generation = next->digest;
  for (const CollectionData& collection : snapshot.data.collections) {
    FitReport::Expert expert;
    expert.collection = collection.name;
    expert.train = collection.splits[0].size();
    expert.dev = collection.splits[1].size();
    expert.test = collection.splits[2].size();
    if (const auto found = next->learned.adapters.find(collection.name);
        found != next->learned.adapters.end()) {
      expert.strength = found->second.strength;
      expert.epochs = found->second.epochs;
      expert.dev_ndcg_plain = found->second.dev_ndcg_plain;
      expert.dev_ndcg = found->second.dev_ndcg;
      expert.kept = kept.contains(collection.name);
    }
    const CollectionFusion& fusion = next->learned.fusion.at(collection.name);
    expert.lexical_weight = fusion.options.lexical_weight;
    expert.dev_ndcg_hybrid = fusion.dev_ndcg;
    expert.note = expert_note(expert);
    report.experts.push_back(std::move(expert));
  }
  const Learned& learned = next->learned;
  report.router = learned.router ? std::string(learned.router->kind()) : "none";
  report.router_dev_accuracy = learned.router_dev_accuracy;
  report.policy = learned.policy;
  report.gate_note = learned.gate.note();
  report.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return report;
}

Result<Evaluation> LibraryImpl::evaluate(const EvaluateOptions& options,
                                         const core::ProgressCallback& progress) const {
  const Call call(*this);
  COLLEGIUM_RETURN_IF_ERROR(call.check_reader());
  COLLEGIUM_RETURN_IF_ERROR(options.validate());
  const auto current = generation();
  if (current->digest.empty())
    return Status::failed_precondition("evaluate: nothing was learned yet; call fit first");
  COLLEGIUM_ASSIGN_OR_RETURN(const LearningSnapshot snapshot, learning_snapshot());
  COLLEGIUM_ASSIGN_OR_RETURN(auto evaluation,
                             router::evaluate(snapshot.data, current->learned, options, progress));
  const auto& fusion = current->learned.fusion;
  if (std::any_of(fusion.begin(), fusion.end(),
                  [](const auto& one) { return one.second.options.lexical_weight > 0.0; })) {
    const std::string claim = "; what is served";
    const auto policies = std::find_if(
        evaluation.rows.begin(), evaluation.rows.end(),
        [&](const EvaluationRow& row) { return row.note.find(claim) != std::string::npos; });
    if (policies != evaluation.rows.end()) {
      policies->note.replace(policies->note.find(claim), claim.size(),
                             "; what is served, but for the words");
      COLLEGIUM_ASSIGN_OR_RETURN(auto served,
                                 evaluate_served(snapshot, current, options.split, progress));
      evaluation.rows.insert(policies + 1, std::move(served));
    }
  }
  // A pair may have changed its split since: what is test now may have been train.
  std::string changed;
  for (const auto& [name, digest] : current->data_digest) {
    const auto now = snapshot.data_digest.find(name);
    if (now == snapshot.data_digest.end() || digest.rfind(now->second + "-", 0) == 0) continue;
    changed += (changed.empty() ? "" : ", ") + name;
  }
  if (!changed.empty())
    evaluation.note += "; but documents or pairs of " + changed +
                       " changed since fit, so queries moved into this split may have taken part";
  return evaluation;
}

}  // namespace collegium::router
