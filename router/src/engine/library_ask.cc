#include <algorithm>
#include <chrono>
#include <set>
#include <string_view>

#include "collegium/core/text/passages.h"
#include "collegium/core/text/tokenizer.h"
#include "collegium/index/result_caps.h"
#include "engine/hybrid.h"
#include "engine/library_impl.h"
#include "engine/reader.h"

namespace collegium::router {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMaxPassages = 1000;
// A write between two steps of one question starts it again, so that an answer is of one commit and
// of one generation of each index; under constant writes the last attempt stands.
constexpr int kAttempts = 3;

double elapsed_ms(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

void add_note(Answer& answer, const std::string& note) {
  if (note.empty()) return;
  if (!answer.note.empty()) answer.note += "; ";
  answer.note += note;
}

GateOutcome forced(GateDecision decision) {
  GateOutcome outcome;
  outcome.decision = decision;
  outcome.stage = GateStage::kAlways;
  outcome.probability =
      decision == GateDecision::kRetrieve || decision == GateDecision::kBoth ? 1.0 : 0.0;
  outcome.reason = "asked for by the caller";
  return outcome;
}

bool retrieves(GateDecision decision) {
  return decision == GateDecision::kRetrieve || decision == GateDecision::kBoth;
}

std::string join(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "'" : ", '") + name + "'";
  return text.empty() ? "none" : text;
}

// Of probabilities() and familiarity(): each is a product with one row for every collection.
double router_flops(const Router* router) {
  if (router == nullptr) return 0.0;
  return 2.0 * 2.0 * static_cast<double>(router->dim() * router->collections().size());
}

// Of Gate::features_before(): a product with every row of the reference, and the router's.
double gate_flops(const Gate& gate, const Router* router) {
  if (!gate.fitted()) return 0.0;
  const GateReference& reference = gate.reference();
  return 2.0 * static_cast<double>(reference.centroids.size() + reference.questions.size() +
                                   reference.negatives.size() + reference.direction.size()) +
         router_flops(router);
}

// The first `k` of `hits`, which are in rank order, that the caps keep. One whose document was
// replaced or removed since it was found is left out.
Result<std::vector<index::Hit>> cap_hits(const index::Corpus& corpus, std::vector<index::Hit> hits,
                                         std::size_t k, const index::SearchOptions& options) {
  index::ResultCaps caps(options);
  std::vector<index::Hit> kept;
  for (index::Hit& hit : hits) {
    if (kept.size() == k) break;
    std::vector<float> vector;
    if (options.duplicate_similarity.has_value()) {
      auto stored = corpus.stored_passage(hit);
      if (!stored.ok() && stored.status().code() == StatusCode::kNotFound) continue;
      if (!stored.ok()) return stored.status();
      vector = std::move(stored->vector);
    }
    if (caps.keep(hit.source, vector)) kept.push_back(std::move(hit));
  }
  return kept;
}

std::optional<double> score_in(const std::vector<index::Hit>& hits, std::string_view document) {
  for (const index::Hit& hit : hits)
    if (hit.document_id == document) return double{hit.score};
  return std::nullopt;
}

}  // namespace

// One question on its way to an answer.
struct LibraryImpl::Question {
  std::shared_ptr<const Generation> generation;
  std::vector<std::string> collections;  // allowed, not empty, ascending
  std::vector<float> vector;             // (dim,)
  PolicyParameters policy;
  std::optional<PolicyResult> searched;
  // What served each collection, and its words where they count.
  std::map<std::string, CollectionRankings, std::less<>> rankings;
  // Merges them; null: fusion does.
  const Ranker* ranker = nullptr;
  bool all_words = false;  // every collection's words are searched
  // What the ranker saw of a document, by collection and id.
  std::map<std::pair<std::string, std::string>, RankedCandidate> seen;
  // An index changed between two searches of it.
  bool index_changed = false;
  Answer answer;

  // One whose vector is known, under the policy that was learned.
  static Question of(std::shared_ptr<const Generation> generation, std::string_view text,
                     std::span<const float> vector, std::vector<std::string> collections) {
    Question question;
    question.policy = generation->learned.policy;
    question.generation = std::move(generation);
    question.answer.question = std::string(text);
    question.collections = std::move(collections);
    question.vector.assign(vector.begin(), vector.end());
    return question;
  }

  PolicyInput policy_input(std::size_t k) const {
    PolicyInput input;
    input.collections = collections;
    input.adapters = &generation->learned.adapters;
    input.router = generation->learned.router.get();
    input.query = vector;
    input.k = k;
    return input;
  }
  void charge(std::string_view stage, double ms, double flops) {
    for (StageCost& cost : answer.cost) {
      if (cost.stage != stage) continue;
      cost.ms += ms;
      cost.flops += flops;
      return;
    }
    answer.cost.push_back({std::string(stage), ms, flops});
  }
};

Result<LibraryImpl::Question> LibraryImpl::prepare(std::string_view text,
                                                   const AskOptions& options) const {
  COLLEGIUM_RETURN_IF_ERROR(core::check_utf8(text, "the question"));
  if (core::is_blank(text)) return Status::invalid_argument("the question is empty");
  if (options.k == 0 || options.k > kMaxPassages)
    return Status::invalid_argument("AskOptions::k is " + std::to_string(options.k) +
                                    "; allowed are 1 to " + std::to_string(kMaxPassages));
  COLLEGIUM_RETURN_IF_ERROR(options.generate.validate());
  COLLEGIUM_RETURN_IF_ERROR(options.search.validate());
  if (options.lexical_weight)
    COLLEGIUM_RETURN_IF_ERROR(
        index::FusionOptions{.lexical_weight = *options.lexical_weight}.validate());

  Question question;
  question.generation = generation();
  question.answer.question = std::string(text);
  question.answer.generation = question.generation->digest;
  question.answer.commit_seq = corpus_->commit_seq();
  question.policy = question.generation->learned.policy;
  if (options.policy) question.policy.policy = *options.policy;

  const std::vector<std::string> known = corpus_->collections();
  std::vector<std::string> wanted = options.collections.empty() ? known : options.collections;
  std::sort(wanted.begin(), wanted.end());
  wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
  for (const std::string& name : wanted) {
    if (!std::binary_search(known.begin(), known.end(), name))
      return Status::not_found("no collection '" + name + "' in " + path_ +
                               "; there are: " + join(known));
    COLLEGIUM_ASSIGN_OR_RETURN(const auto info, corpus_->collection_info(name));
    if (info.passages > 0) question.collections.push_back(name);
  }

  const auto start = Clock::now();
  const std::string_view texts[] = {text};
  COLLEGIUM_ASSIGN_OR_RETURN(auto embeddings, encoder_->encode(texts, core::TextKind::kQuery));
  question.vector = std::move(embeddings.vectors);
  question.charge("encode", elapsed_ms(start), encoder_->flops(embeddings.num_tokens[0]));
  if (embeddings.truncated[0])
    add_note(question.answer, "the question is longer than the encoder reads: only its first " +
                                  std::to_string(embeddings.num_tokens[0]) + " tokens count");
  return question;
}

// Lets words have their say about which documents of the collections that were found are shown.
Status LibraryImpl::add_words(Question& question, const AskOptions& options,
                              const index::SearchOptions& search) const {
  const auto& learned = question.generation->learned.fusion;
  std::set<std::string_view> found;
  for (const index::Hit& hit : question.searched->hits) found.insert(hit.collection);
  const index::LexicalQuery words = lexical_query(question.answer.question);
  for (auto& [collection, rankings] : question.rankings) {
    rankings.fusion.lexical_weight = 0.0;
    const bool shown = found.contains(collection);
    const auto chosen = learned.find(collection);
    if (shown && chosen != learned.end()) rankings.fusion = chosen->second.options;
    if (shown && options.lexical_weight) rankings.fusion.lexical_weight = *options.lexical_weight;
    if (rankings.fusion.lexical_weight == 0.0 && !question.all_words) continue;
    COLLEGIUM_ASSIGN_OR_RETURN(
        rankings.lexical,
        corpus_->search_lexical(collection, words, std::max(options.k, kFusionDepth), search));
  }
  if (question.ranker != nullptr) {
    // Caps leave some out again.
    const std::size_t wanted = index::ResultCaps::wanted(options.search)
                                   ? std::max(question.searched->hits.size(), options.k)
                                   : options.k;
    COLLEGIUM_ASSIGN_OR_RETURN(auto ranked, rank_hits(*question.ranker, question.searched->route,
                                                      question.rankings, wanted));
    question.searched->hits.clear();
    for (RankedHit& one : ranked) {
      question.seen.insert_or_assign({one.hit.collection, one.hit.document_id}, one.candidate);
      question.searched->hits.push_back(std::move(one.hit));
    }
    return {};
  }
  COLLEGIUM_ASSIGN_OR_RETURN(question.searched->hits,
                             fill_places(std::move(question.searched->hits), question.rankings));
  return {};
}

Status LibraryImpl::retrieve(Question& question, const AskOptions& options) const {
  const auto start = Clock::now();
  double flops = 0.0;
  const double dim = static_cast<double>(encoder_->dim());
  // Hits that are kept in one collection may not be once all are merged: the caps come after that.
  index::SearchOptions uncapped = options.search;
  uncapped.max_per_source = 0;
  uncapped.duplicate_similarity.reset();
  const bool capped = index::ResultCaps::wanted(options.search);
  const CollectionSearch search = [&](std::string_view collection, std::span<const float> query,
                                      std::size_t k) -> Result<std::vector<index::Hit>> {
    COLLEGIUM_ASSIGN_OR_RETURN(const auto info, corpus_->collection_info(collection));
    // An upper bound where a graph is searched: it visits fewer rows than there are.
    flops += 2.0 * dim * static_cast<double>(info.passages);
    COLLEGIUM_ASSIGN_OR_RETURN(auto hits, corpus_->search(collection, query, k, uncapped));
    if (!hits.empty()) {
      const std::uint64_t searched = hits[0].index_generation;
      const auto [known, is_new] = question.answer.index_generations.emplace(collection, searched);
      if (!is_new && known->second != searched) question.index_changed = true;
    }
    // The last search of a collection is the one that serves it.
    CollectionRankings& rankings = question.rankings[std::string(collection)];
    // A ranker alone asks for it.
    if (question.all_words && query.data() == question.vector.data()) rankings.plain = hits;
    rankings.dense = hits;
    return hits;
  };
  // A ranker has learned to merge what its policy finds, and one collection needs no merging.
  const Learned& learned = question.generation->learned;
  if (learned.ranker && !options.lexical_weight && question.collections.size() > 1 &&
      question.policy.policy == learned.policy.policy)
    question.ranker = learned.ranker.get();
  question.all_words = question.all_words || question.ranker != nullptr;
  // As deep as the lists that the ranker learned from.
  const std::size_t least = question.all_words ? kRankerDepth : 0;
  for (std::size_t depth = std::max(capped ? 2 * options.k + 16 : options.k, least);; depth *= 4) {
    COLLEGIUM_ASSIGN_OR_RETURN(question.searched,
                               run_policy(question.policy, question.policy_input(depth), search));
    COLLEGIUM_RETURN_IF_ERROR(add_words(question, options, uncapped));
    if (!capped && !question.all_words) break;
    std::vector<index::Hit>& plain = question.searched->plain_hits;
    plain.resize(std::min(plain.size(), std::max(options.k, kGateDepth)));
    if (!capped) {
      auto& hits = question.searched->hits;
      hits.resize(std::min(hits.size(), options.k));
      break;
    }
    const bool all = question.searched->hits.size() < depth;
    COLLEGIUM_ASSIGN_OR_RETURN(
        question.searched->hits,
        cap_hits(*corpus_, std::move(question.searched->hits), options.k, options.search));
    if (all || question.searched->hits.size() == options.k) break;
  }
  // Every policy searches all of them.
  for (const std::string& name : question.collections)
    question.answer.index_generations.emplace(name, 0);
  question.answer.route = question.searched->route;
  for (RouteEntry& entry : question.answer.route.entries)
    entry.lexical_weight =
        question.ranker ? 0.0 : question.rankings[entry.collection].fusion.lexical_weight;
  flops += router_flops(question.generation->learned.router.get());
  flops += 2.0 * dim * dim * static_cast<double>(question.searched->maps);
  question.charge("search", elapsed_ms(start), flops);
  return {};
}

Result<std::vector<index::Hit>> LibraryImpl::served_hits(
    std::shared_ptr<const Generation> generation, std::string_view text,
    std::span<const float> vector, std::vector<std::string> collections, std::size_t k) const {
  Question question = Question::of(std::move(generation), text, vector, std::move(collections));
  AskOptions options;
  options.k = k;
  COLLEGIUM_RETURN_IF_ERROR(retrieve(question, options));
  return std::move(question.searched->hits);
}

Result<LibraryImpl::RankerCase> LibraryImpl::ranker_case(
    std::shared_ptr<const Generation> generation, std::string_view text,
    std::span<const float> vector, std::vector<std::string> collections) const {
  Question question = Question::of(std::move(generation), text, vector, std::move(collections));
  question.all_words = true;
  AskOptions options;
  options.k = 10;
  COLLEGIUM_RETURN_IF_ERROR(retrieve(question, options));
  return RankerCase{std::move(question.rankings), std::move(question.answer.route),
                    std::move(question.searched->hits)};
}

Status LibraryImpl::collect_passages(Question& question,
                                     const std::vector<index::Hit>& hits) const {
  const auto start = Clock::now();
  double flops = 0.0;
  for (const index::Hit& hit : hits) {
    auto stored = corpus_->stored_passage(hit);
    if (!stored.ok()) {
      if (stored.status().code() == StatusCode::kNotFound) continue;  // replaced or removed
      return stored.status();
    }
    CitedPassage passage;
    passage.number = question.answer.passages.size() + 1;
    passage.collection = hit.collection;
    passage.document_id = hit.document_id;
    passage.title = std::move(stored->title);
    passage.section = std::move(stored->passage.section);
    passage.bytes = stored->passage.bytes;
    passage.text = std::move(stored->text);
    passage.score = static_cast<double>(hit.score);
    passage.index_generation = hit.index_generation;
    passage.source = hit.source;
    if (const auto seen = question.seen.find({hit.collection, hit.document_id});
        question.ranker != nullptr && seen != question.seen.end())
      passage.ranking = question.ranker->explain(hit.collection, seen->second);
    const CollectionRankings& rankings = question.rankings.at(hit.collection);
    passage.dense_score = score_in(rankings.dense, hit.document_id);
    passage.lexical_score = score_in(rankings.lexical, hit.document_id);
    for (std::size_t i = 0; i < stored->vector.size(); ++i)
      passage.similarity += double{question.vector[i]} * double{stored->vector[i]};
    flops += 2.0 * static_cast<double>(stored->vector.size());
    question.answer.passages.push_back(std::move(passage));
  }
  question.charge("search", elapsed_ms(start), flops);
  return {};
}

Status LibraryImpl::answer_internally(Question& question, const AskOptions& options,
                                      const core::LanguageModel::TokenCallback& on_token) const {
  Answer& answer = question.answer;
  if (!language_model_) {
    if (answer.gate.decision == GateDecision::kBoth) {
      add_note(answer, "the library has no language model for the internal answer");
      return {};
    }
    answer.gate.decision = GateDecision::kRefuse;
    answer.gate.reason += (answer.gate.reason.empty() ? "" : "; ") +
                          std::string("the library has no language model to answer by itself");
    answer.reader = "none";
    return {};
  }
  const auto start = Clock::now();
  const std::vector<core::ChatMessage> messages = {user_message(*language_model_, answer.question)};
  const bool both = answer.gate.decision == GateDecision::kBoth;
  const auto heartbeat = [&](const core::Progress&) {
    return !on_token || on_token(std::string_view());
  };
  core::GenerateOptions generate = options.generate;
  generate.enable_thinking = false;  // an answer has no thoughts before it
  const auto generation = language_model_->chat(messages, generate, on_token, heartbeat);
  if (!generation.ok()) {
    // The question is too long for the language model; what was read stands.
    if (!both || generation.status().code() != StatusCode::kInvalidArgument)
      return generation.status();
    add_note(answer, "no internal answer: " + generation.status().message());
    return {};
  }
  if (both) {
    answer.text += (answer.text.empty() ? "" : "\n") + std::string("Without the passages: ") +
                   generation->text;
    answer.reader += "+internal";
  } else {
    answer.text = generation->text;
    answer.reader = "internal";
  }
  question.charge("answer", elapsed_ms(start), generation->flops);
  return {};
}

Status LibraryImpl::read(Question& question, const AskOptions& options,
                         const core::LanguageModel::TokenCallback& on_token) const {
  Answer& answer = question.answer;
  const auto start = Clock::now();
  Result<Reading> reading = Reading{};
  if (options.read == ReadMode::kGenerative && language_model_) {
    reading = read_generative(*encoder_, *language_model_, answer.question, question.vector,
                              answer.passages, options.generate, on_token);
  } else {
    if (options.read == ReadMode::kGenerative)
      add_note(answer, "the library has no language model: read extractively");
    reading = read_extractive(*encoder_, question.vector, answer.passages);
  }
  if (!reading.ok()) return reading.status();
  answer.text = std::move(reading->text);
  answer.reader = std::move(reading->reader);
  add_note(answer, reading->note);
  question.charge("read", std::max(0.0, elapsed_ms(start) - reading->answer_ms),
                  reading->read_flops);
  if (reading->answer_flops > 0.0)
    question.charge("answer", reading->answer_ms, reading->answer_flops);
  return {};
}

Result<LibraryImpl::Question> LibraryImpl::ask_once(
    std::string_view text, const AskOptions& options,
    const core::LanguageModel::TokenCallback& on_token) const {
  COLLEGIUM_ASSIGN_OR_RETURN(Question question, prepare(text, options));
  Answer& answer = question.answer;
  const Learned& learned = question.generation->learned;
  if (question.collections.empty() && (!options.gate || retrieves(*options.gate))) {
    answer.gate = forced(GateDecision::kRefuse);
    answer.gate.reason = "there are no documents to answer from";
    answer.reader = "none";
    answer.route.router = "none";
    answer.route.policy = std::string(policy_name(question.policy.policy));
    return question;
  }

  // The first gate: may the search be saved?
  auto start = Clock::now();
  std::vector<GateFeature> before;
  std::optional<GateOutcome> outcome;
  double flops = 0.0;
  if (options.gate) {
    outcome = forced(*options.gate);
  } else {
    before = learned.gate.features_before(learned.router.get(), question.vector);
    outcome = learned.gate.decide_before(before);
    flops = gate_flops(learned.gate, learned.router.get());
  }
  question.charge("gate", elapsed_ms(start), flops);

  if (!outcome || retrieves(outcome->decision)) {
    COLLEGIUM_RETURN_IF_ERROR(retrieve(question, options));
    if (!outcome) {  // the second gate
      start = Clock::now();
      outcome = learned.gate.decide_after(gate_features_after(before, *question.searched));
      question.charge("gate", elapsed_ms(start), 0.0);
    }
  } else if (!question.collections.empty()) {
    // The route is shown even where it was not taken.
    start = Clock::now();
    const CollectionSearch nothing = [](std::string_view, std::span<const float>, std::size_t) {
      return Result<std::vector<index::Hit>>(std::vector<index::Hit>());
    };
    COLLEGIUM_ASSIGN_OR_RETURN(
        PolicyResult unsearched,
        run_policy(question.policy, question.policy_input(options.k), nothing));
    answer.route = std::move(unsearched.route);
    answer.route.reason = "not searched: the gate decided before";
    for (RouteEntry& entry : answer.route.entries) entry.searched_again = false;
    question.charge("gate", elapsed_ms(start), router_flops(learned.router.get()));
  }
  answer.gate = std::move(*outcome);

  if (retrieves(answer.gate.decision)) {
    COLLEGIUM_RETURN_IF_ERROR(collect_passages(question, question.searched->hits));
    COLLEGIUM_RETURN_IF_ERROR(read(question, options, on_token));
  }
  if (answer.gate.decision == GateDecision::kInternal ||
      answer.gate.decision == GateDecision::kBoth)
    COLLEGIUM_RETURN_IF_ERROR(answer_internally(question, options, on_token));
  if (answer.gate.decision == GateDecision::kRefuse) answer.reader = "none";
  return question;
}

bool LibraryImpl::is_whole(const Question& question) const {
  return !question.index_changed && question.answer.commit_seq == corpus_->commit_seq();
}

Result<Answer> LibraryImpl::ask(std::string_view question, const AskOptions& options,
                                const core::LanguageModel::TokenCallback& on_token) const {
  const Call call(*this);
  COLLEGIUM_RETURN_IF_ERROR(call.check_reader());
  bool streamed = false;
  core::LanguageModel::TokenCallback watched;
  if (on_token)
    watched = [&](std::string_view piece) {
      streamed = streamed || !piece.empty();
      return on_token(piece);
    };
  for (int attempt = 1;; ++attempt) {
    COLLEGIUM_ASSIGN_OR_RETURN(Question answered, ask_once(question, options, watched));
    // What a caller has already been shown is not said twice.
    if (streamed || attempt == kAttempts || is_whole(answered)) return std::move(answered.answer);
  }
}

Result<Answer> LibraryImpl::search(std::string_view query, const AskOptions& options) const {
  const Call call(*this);
  COLLEGIUM_RETURN_IF_ERROR(call.check_reader());
  for (int attempt = 1;; ++attempt) {
    COLLEGIUM_ASSIGN_OR_RETURN(Question question, prepare(query, options));
    Answer& answer = question.answer;
    answer.gate = forced(GateDecision::kRetrieve);
    answer.gate.reason = "a search";
    answer.reader = "none";
    if (!question.collections.empty()) {
      COLLEGIUM_RETURN_IF_ERROR(retrieve(question, options));
      COLLEGIUM_RETURN_IF_ERROR(collect_passages(question, question.searched->hits));
    } else {
      answer.route.router = "none";
      answer.route.policy = std::string(policy_name(question.policy.policy));
      answer.route.reason = "there are no documents";
    }
    if (attempt == kAttempts || is_whole(question)) return std::move(answer);
  }
}

}  // namespace collegium::router
