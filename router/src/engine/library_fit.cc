#include <algorithm>
#include <charconv>
#include <chrono>
#include <map>
#include <set>

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
  add(static_cast<int>(adapter.loss));
  for (std::size_t rank : adapter.ranks) add(rank);
  for (core::NegativePool pool : adapter.pools) text += core::negative_pool_name(pool);
  add(adapter.mined_negatives);
  add(adapter.false_negative_margin);
  add(adapter.enough_dev);
  add(adapter.patience);
  return text;
}

// Queries of one collection by split. A query whose pairs fall into several splits is used in the
// last of them alone (test, then dev), so that nothing is measured on a query that was trained on.
// There all its documents are relevant, those of its other pairs too: a ranking that finds one of
// them is not wrong.
void place_pairs(const std::vector<StoredPair>& pairs, const index::CollectionView& view,
                 CollectionData& collection,
                 std::map<std::string, std::array<std::size_t, 3>>& kinds) {
  // Queries that the encoder cannot tell apart are one here.
  const auto encoded = [](const StoredPair& pair) {
    return std::string_view(reinterpret_cast<const char*>(pair.vector.data()),
                            pair.vector.size() * sizeof(float));
  };
  std::map<std::string_view, Split> last;
  for (const StoredPair& pair : pairs) {
    const auto [at, added] = last.emplace(encoded(pair), pair.split);
    if (!added) at->second = std::max(at->second, pair.split);
  }
  std::map<std::pair<Split, std::string_view>, std::vector<const StoredPair*>> grouped;
  for (const StoredPair& pair : pairs) {
    grouped[{last.at(encoded(pair)), pair.query}].push_back(&pair);
  }
  for (const auto& [key, members] : grouped) {
    std::map<std::uint32_t, float> relevant;
    for (const StoredPair* pair : members) {
      const auto number = view.find_document(pair->document_id);
      if (!number) continue;
      relevant[static_cast<std::uint32_t>(*number)] = pair->gain;
      ++kinds[pair->kind.empty() ? "judged" : pair->kind][static_cast<std::size_t>(key.first)];
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
  const std::size_t held_out =
      expert.chosen_on.queries - std::min(expert.chosen_on.queries, expert.dev);
  if (expert.strength == 0.0f)
    return expert.chosen_on.queries < core::kLeastChoiceQueries
               ? "no adapter: " + std::to_string(expert.chosen_on.queries) +
                     " queries to choose on, of the " + std::to_string(core::kLeastChoiceQueries) +
                     " it takes"
               : "no adapter: none gains beyond noise";
  std::string note = expert.kept ? "unchanged data: kept" : "";
  if (held_out > 0)
    note += (note.empty() ? "" : "; ") + std::string("chosen with the help of ") +
            std::to_string(held_out) + " training queries held out";
  return note;
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
    place_pairs(pairs, *view, collection, snapshot.pair_kinds[name]);
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

Result<TrainingData> LibraryImpl::training_data(std::string_view collection) const {
  const Call call(*this);
  COLLEGIUM_RETURN_IF_ERROR(call.check_reader());
  COLLEGIUM_ASSIGN_OR_RETURN(LearningSnapshot snapshot, learning_snapshot());
  for (CollectionData& found : snapshot.data.collections) {
    if (found.name != collection) continue;
    return TrainingData{snapshot.data.dim,
                        {found.vectors.begin(), found.vectors.end()},
                        {found.passage_document.begin(), found.passage_document.end()},
                        std::move(found.document_ids),
                        std::move(found.splits),
                        std::move(snapshot.pair_kinds[found.name])};
  }
  return Status::not_found("no collection '" + std::string(collection) + "' with passages in " +
                           path_);
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

  const std::size_t dim = snapshot.data.dim;
  COLLEGIUM_ASSIGN_OR_RETURN(const auto finished, corpus_->records(kFinishedPrefix));
  std::set<std::string> resumed;
  for (const auto& [key, value] : finished) {
    const auto before = FinishedTraining::parse(value, dim);
    if (!before.ok() || options.refit) continue;  // it is trained again
    const std::string name = key.substr(kFinishedPrefix.size());
    const auto digest = snapshot.data_digest.find(name);
    if (digest != snapshot.data_digest.end() && digest->second == before->data_digest &&
        kept.emplace(name, before->trained).second)
      resumed.insert(name);
  }
  const auto keep_finished = [&](const std::string& name, const core::TrainedHeadAdapter& trained) {
    index::WriteSet writes;
    writes.put_record(std::string(kFinishedPrefix) + name,
                      FinishedTraining{snapshot.data_digest.at(name), trained}.serialize());
    return corpus_->commit(std::move(writes)).status();
  };

  COLLEGIUM_RETURN_IF_ERROR(add_hard_documents(options.learn, kept, snapshot, progress));
  auto next = std::make_shared<Generation>();
  COLLEGIUM_ASSIGN_OR_RETURN(next->learned,
                             learn(snapshot.data, options.learn, kept, progress, keep_finished));
  COLLEGIUM_ASSIGN_OR_RETURN(next->learned.fusion,
                             choose_fusions(snapshot, next->learned, progress));
  COLLEGIUM_RETURN_IF_ERROR(choose_ranker(snapshot, next, progress));
  for (const auto& [name, trained] : next->learned.adapters)
    next->data_digest[name] = snapshot.data_digest.at(name);

  COLLEGIUM_ASSIGN_OR_RETURN(const std::string record, write_learned_files(path_, *next));
  index::WriteSet writes;
  writes.put_record(std::string(kGenerationKey), record);
  COLLEGIUM_ASSIGN_OR_RETURN(const auto done, corpus_->records(kFinishedPrefix));
  for (const auto& [key, value] : done) writes.remove_record(key);
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
      const core::TrainedHeadAdapter& trained = found->second;
      expert.epochs = trained.epochs;
      expert.rank = trained.rank;
      expert.pool = trained.pool;
      expert.dev_ndcg_plain = trained.dev_ndcg_plain;
      expert.dev_ndcg = trained.dev_ndcg;
      expert.chosen_on = trained.chosen_on;
      expert.dev_paired = trained.dev_paired;
      expert.dev_unpaired = trained.dev_unpaired;
      expert.standard_error = trained.standard_error;
      expert.loss = trained.loss;
      expert.curve = trained.curve;
      expert.kept = kept.contains(collection.name);
      if (resumed.contains(collection.name)) expert.note = "trained before an interruption";
    }
    const CollectionFusion& fusion = next->learned.fusion.at(collection.name);
    expert.lexical_weight = fusion.options.lexical_weight;
    expert.dev_ndcg_hybrid = fusion.dev_ndcg;
    if (expert.note.empty()) expert.note = expert_note(expert);
    expert.pair_kinds = snapshot.pair_kinds[collection.name];
    report.experts.push_back(std::move(expert));
  }
  const Learned& learned = next->learned;
  report.router = learned.router ? std::string(learned.router->kind()) : "none";
  report.router_dev_accuracy = learned.router_dev_accuracy;
  report.router_dev_ndcg = learned.router_dev_ndcg;
  report.policy = learned.policy;
  report.ranked = learned.ranker != nullptr;
  report.ranker_dev_ndcg = learned.ranker_dev_ndcg;
  report.fusion_dev_ndcg = learned.fusion_dev_ndcg;
  report.gate_note = learned.gate.note();
  report.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return report;
}

}  // namespace collegium::router
