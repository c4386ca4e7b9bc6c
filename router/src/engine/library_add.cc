#include <simdjson.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <future>
#include <map>
#include <set>
#include <unordered_map>

#include "collegium/core/text/passages.h"
#include "engine/library_impl.h"

namespace collegium::router {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMaxIdBytes = 1024;
constexpr std::size_t kMaxKindBytes = 32;
// One commit holds whole documents up to about this much.
constexpr std::size_t kBatchPassages = 512;
constexpr std::size_t kBatchPairs = 2048;
constexpr std::size_t kBatchBytes = 64u << 20;

std::string short_quote(std::string_view text) {
  std::string result = "'" + std::string(text.substr(0, 60));
  return result + (text.size() > 60 ? "...'" : "'");
}

Status check_metadata(const std::string& metadata, const std::string& where) {
  if (metadata.empty()) return {};
  simdjson::dom::parser parser;
  simdjson::dom::element element;
  if (const auto error = parser.parse(metadata).get(element); error)
    return Status::invalid_argument(where +
                                    ": metadata is not JSON: " + simdjson::error_message(error));
  if (!element.is_object())
    return Status::invalid_argument(where + ": metadata is not a JSON object");
  return {};
}

Status check_documents(std::span<const Document> documents) {
  std::unordered_map<std::string_view, std::size_t> seen;
  for (std::size_t i = 0; i < documents.size(); ++i) {
    const Document& document = documents[i];
    const std::string number = "document " + std::to_string(i);
    if (document.id.empty()) return Status::invalid_argument(number + " has an empty id");
    if (document.id.size() > kMaxIdBytes)
      return Status::invalid_argument(number + ": its id has " +
                                      std::to_string(document.id.size()) + " bytes; allowed are " +
                                      std::to_string(kMaxIdBytes));
    COLLEGIUM_RETURN_IF_ERROR(core::check_utf8(document.id, "the id of " + number));
    const std::string where = number + " (" + short_quote(document.id) + ")";
    if (const auto [first, added] = seen.emplace(document.id, i); !added)
      return Status::invalid_argument(where + " has the same id as document " +
                                      std::to_string(first->second));
    COLLEGIUM_RETURN_IF_ERROR(core::check_utf8(document.title, "the title of " + where));
    COLLEGIUM_RETURN_IF_ERROR(core::check_utf8(document.text, "the text of " + where));
    if (core::is_blank(document.text) && core::is_blank(document.title))
      return Status::invalid_argument(where + " is empty: it has neither title nor text");
    COLLEGIUM_RETURN_IF_ERROR(check_metadata(document.metadata, where));
  }
  return {};
}

Status check_query(std::string_view query, const std::string& where) {
  COLLEGIUM_RETURN_IF_ERROR(core::check_utf8(query, "the query of " + where));
  if (core::is_blank(query)) return Status::invalid_argument(where + " has an empty query");
  return {};
}

Status check_pair(const Pair& pair, const std::string& where) {
  COLLEGIUM_RETURN_IF_ERROR(check_query(pair.query, where));
  if (!std::isfinite(pair.gain) || pair.gain <= 0.0f)
    return Status::invalid_argument(where + ": gain " + std::to_string(pair.gain) +
                                    " is not a positive number");
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  };
  if (pair.kind.size() > kMaxKindBytes || pair.kind == "judged" ||
      !std::all_of(pair.kind.begin(), pair.kind.end(), allowed))
    return Status::invalid_argument(where + ": kind " + short_quote(pair.kind) +
                                    " is not empty nor 1 to " + std::to_string(kMaxKindBytes) +
                                    " of a-z, 0-9 and '-' other than 'judged'");
  return {};
}

Split split_of(const Pair& pair) {
  return pair.split.value_or(split_of_document(pair.document_id));
}

// What the pairs of one call say must not disagree: which of them counts would be a guess.
Status check_contradictions(std::span<const Pair> pairs) {
  using Judged = std::pair<std::string_view, std::string_view>;
  std::map<Judged, std::size_t> first;
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    const auto [at, added] = first.emplace(Judged(pairs[i].document_id, pairs[i].query), i);
    if (added) continue;
    const Pair& before = pairs[at->second];
    if (before.gain != pairs[i].gain || split_of(before) != split_of(pairs[i]))
      return Status::invalid_argument(
          "pair " + std::to_string(i) + ": " + short_quote(pairs[i].query) + " and document " +
          short_quote(pairs[i].document_id) + " have another gain or split than in pair " +
          std::to_string(at->second) + " (gains " + std::to_string(pairs[i].gain) + " and " +
          std::to_string(before.gain) + ")");
  }
  return {};
}

}  // namespace

Result<std::map<std::string, std::vector<float>>> LibraryImpl::encode_queries(
    const std::vector<std::string>& queries, const core::ProgressCallback& progress) const {
  const std::vector<std::string_view> texts(queries.begin(), queries.end());
  COLLEGIUM_ASSIGN_OR_RETURN(const auto embeddings,
                             encoder_->encode(texts, core::TextKind::kQuery, progress));
  std::map<std::string, std::vector<float>> vectors;
  const std::size_t dim = encoder_->dim();
  for (std::size_t i = 0; i < queries.size(); ++i) {
    const auto begin = embeddings.vectors.begin() + static_cast<std::ptrdiff_t>(i * dim);
    vectors[queries[i]].assign(begin, begin + static_cast<std::ptrdiff_t>(dim));
  }
  return vectors;
}

namespace {

// Gathers documents and pairs until a batch is full, then embeds it, and commits it in a thread of
// its own while the next one is gathered and embedded: at most two are held. They are committed in
// their order, and none after one that failed.
class Batch {
 public:
  Batch(const core::Encoder& encoder, index::Corpus& corpus, std::string collection, bool is_new,
        const core::ProgressCallback& progress, std::size_t total_units, AddReport& report)
      : encoder_(encoder),
        corpus_(corpus),
        collection_(std::move(collection)),
        create_(is_new),
        progress_(progress),
        total_units_(total_units),
        report_(report) {}
  ~Batch() {
    if (committing_.valid()) committing_.wait();
  }
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;

  Status add_document(const Document& document) {
    ++units_;
    index::NewDocument fresh;
    bool known = false;
    if (!create_) {
      auto stored = corpus_.stored_document(collection_, document.id);
      if (!stored.ok() && stored.status().code() != StatusCode::kNotFound) return stored.status();
      known = stored.ok();
      if (known && stored->document.title == document.title &&
          stored->document.text == document.text) {
        if (stored->document.metadata == document.metadata) {
          ++report_.unchanged;
          return {};
        }
        // Only the metadata differ: the vectors stay.
        ++report_.replaced;
        stored->document = document;
        bytes_ += document.text.size();
        documents_.push_back({std::move(*stored), 0});
        return flush_if_full();
      }
    }
    if (known) ++report_.replaced;
    fresh.document = document;
    core::PassageOptions options;
    options.max_tokens =
        std::max<std::size_t>(16, encoder_.max_text_tokens(core::TextKind::kDocument));
    COLLEGIUM_ASSIGN_OR_RETURN(std::string title,
                               core::passage_title(document.title, encoder_.tokenizer(), options));
    COLLEGIUM_ASSIGN_OR_RETURN(fresh.passages, core::split_passages(document.title, document.text,
                                                                    encoder_.tokenizer(), options));
    if (fresh.passages.empty()) {
      // A title without text is still found by its title, of which it then carries the whole.
      fresh.passages.push_back({});
      title = document.title;
    }
    for (const core::PassageSpan& passage : fresh.passages)
      inputs_.push_back(core::passage_input(
          title, std::string_view(document.text)
                     .substr(passage.bytes.begin, passage.bytes.end - passage.bytes.begin)));
    bytes_ += document.text.size() + document.title.size();
    const std::size_t count = fresh.passages.size();
    documents_.push_back({std::move(fresh), count});
    return flush_if_full();
  }

  Status add_pair(const Pair& pair) {
    ++units_;
    StoredPair stored;
    stored.document_id = pair.document_id;
    stored.query = pair.query;
    stored.split = split_of(pair);
    stored.gain = pair.gain;
    stored.kind = pair.kind;
    const std::string key = pair_key(collection_, pair.document_id, pair.query);
    if (!create_) {
      const auto before = corpus_.record(key);
      if (before.ok()) {
        COLLEGIUM_ASSIGN_OR_RETURN(auto old, StoredPair::parse(*before, encoder_.dim()));
        if (old.split == stored.split && old.gain == stored.gain && old.kind == stored.kind)
          return {};
        if (old.kind.empty() && !stored.kind.empty()) return {};  // what was judged stays
        stored.vector = std::move(old.vector);
      } else if (before.status().code() != StatusCode::kNotFound) {
        return before.status();
      }
    }
    const auto here = pairs_.find(key);
    if (here != pairs_.end() && here->second.kind.empty()) return {};  // here too
    pairs_[key] = std::move(stored);
    return pairs_.size() >= kBatchPairs ? flush() : Status();
  }

  // What was gathered is in the library when it returns ok. A new collection is made even if it is
  // empty.
  Status finish() {
    COLLEGIUM_RETURN_IF_ERROR(flush());
    return wait_for_commit();
  }

 private:
  Status flush() {
    if (documents_.empty() && pairs_.empty() && !create_) return {};
    COLLEGIUM_RETURN_IF_ERROR(embed());
    index::WriteSet writes;
    if (create_) writes.create_collection(collection_);
    for (auto& [document, passages] : documents_)
      writes.put_document(collection_, std::move(document));
    for (const auto& [key, pair] : pairs_) writes.put_record(key, pair.serialize());
    if (embedded_) COLLEGIUM_RETURN_IF_ERROR(record_origin(writes));
    COLLEGIUM_RETURN_IF_ERROR(wait_for_commit());
    // Where no thread is to be had, it runs when it is waited for.
    committing_ = std::async(std::launch::async | std::launch::deferred,
                             [this, batch = std::move(writes)]() mutable {
                               return corpus_.commit(std::move(batch)).status();
                             });
    embedded_ = false;
    create_ = false;
    report_.passages += inputs_.size();
    documents_.clear();
    pairs_.clear();
    inputs_.clear();
    bytes_ = 0;
    embedded_units_ = units_;
    if (core::report(progress_, "encode", units_, total_units_)) return {};
    COLLEGIUM_RETURN_IF_ERROR(wait_for_commit());
    return Status::cancelled("asked to stop after " + std::to_string(units_) + " of " +
                             std::to_string(total_units_) +
                             " documents and pairs; these are in the library");
  }

  Status wait_for_commit() { return committing_.valid() ? committing_.get() : Status(); }

  Status flush_if_full() {
    const bool full = inputs_.size() >= kBatchPassages || bytes_ >= kBatchBytes ||
                      documents_.size() >= kBatchPassages;
    return full ? flush() : Status();
  }

  Status embed() {
    std::vector<std::string_view> texts(inputs_.begin(), inputs_.end());
    std::vector<StoredPair*> waiting;
    std::vector<std::string_view> queries;
    std::map<std::string_view, std::size_t> row_of;  // equal queries are embedded once
    std::vector<std::size_t> rows;
    for (auto& [key, pair] : pairs_) {
      if (!pair.vector.empty()) continue;
      const auto [row, added] = row_of.emplace(pair.query, queries.size());
      if (added) queries.push_back(pair.query);
      waiting.push_back(&pair);
      rows.push_back(row->second);
    }
    const std::size_t work = texts.size() + queries.size();
    embedded_ = work > 0;
    std::size_t before = 0;
    const core::ProgressCallback inner = [&](const core::Progress& progress) {
      const std::size_t batch_units = units_ - embedded_units_;
      const std::size_t done = before + static_cast<std::size_t>(progress.done);
      return core::report(progress_, "encode", embedded_units_ + batch_units * done / work,
                          total_units_);
    };
    const std::size_t dim = encoder_.dim();
    if (!texts.empty()) {
      COLLEGIUM_ASSIGN_OR_RETURN(
          const auto embeddings,
          encoder_.encode(texts, core::TextKind::kDocument, progress_ ? inner : progress_));
      report_.truncated += static_cast<std::size_t>(
          std::count(embeddings.truncated.begin(), embeddings.truncated.end(), true));
      auto from = embeddings.vectors.begin();
      for (auto& [document, passages] : documents_) {
        if (passages == 0) continue;
        const auto to = from + static_cast<std::ptrdiff_t>(passages * dim);
        document.vectors.assign(from, to);
        from = to;
      }
    }
    before = texts.size();
    if (!queries.empty()) {
      COLLEGIUM_ASSIGN_OR_RETURN(
          const auto embeddings,
          encoder_.encode(queries, core::TextKind::kQuery, progress_ ? inner : progress_));
      for (std::size_t i = 0; i < waiting.size(); ++i) {
        const auto from = embeddings.vectors.begin() + static_cast<std::ptrdiff_t>(rows[i] * dim);
        waiting[i]->vector.assign(from, from + static_cast<std::ptrdiff_t>(dim));
      }
    }
    return {};
  }

  // How the vectors of this batch were made, unless the collection's record has it already.
  Status record_origin(index::WriteSet& writes) const {
    const std::string key = made_with_key(collection_);
    VectorOrigins made;
    const auto before = corpus_.record(key);
    if (before.ok()) {
      COLLEGIUM_ASSIGN_OR_RETURN(made, VectorOrigins::parse(*before));
    } else if (before.status().code() != StatusCode::kNotFound) {
      return before.status();
    }
    const bool is_new = made.origins
                            .insert({std::string(core::compute_name(encoder_.compute())),
                                     std::string(core::isa_name(encoder_.isa()))})
                            .second;
    if (is_new) writes.put_record(key, made.to_json());
    return {};
  }

  const core::Encoder& encoder_;
  index::Corpus& corpus_;
  const std::string collection_;
  bool create_;
  bool embedded_ = false;  // by this batch
  const core::ProgressCallback& progress_;
  const std::size_t total_units_;
  AddReport& report_;
  struct Waiting {
    index::NewDocument document;
    std::size_t passages = 0;  // to embed; 0: its vectors are there
  };
  std::vector<Waiting> documents_;
  std::vector<std::string> inputs_;
  std::map<std::string, StoredPair> pairs_;
  std::size_t bytes_ = 0, units_ = 0, embedded_units_ = 0;
  std::future<Status> committing_;  // the batch before this one
};

}  // namespace

Result<AddReport> LibraryImpl::add(const std::string& collection,
                                   std::span<const Document> documents, std::span<const Pair> pairs,
                                   const core::ProgressCallback& progress) {
  const Call call(*this);
  COLLEGIUM_RETURN_IF_ERROR(call.check_writer("add"));
  const auto start = Clock::now();
  COLLEGIUM_RETURN_IF_ERROR(check_collection_name(collection));
  COLLEGIUM_RETURN_IF_ERROR(check_documents(documents));

  const std::lock_guard writing(writer_);
  const std::vector<std::string> known = corpus_->collections();
  const bool is_new = !std::binary_search(known.begin(), known.end(), collection);
  std::unordered_map<std::string_view, std::vector<std::size_t>> pairs_of;
  std::vector<std::size_t> pairs_of_others;           // whose documents are in the library already
  std::unordered_map<std::string_view, bool> stored;  // of others: is it in the library?
  for (const Document& document : documents) pairs_of[document.id];
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    const std::string where = "pair " + std::to_string(i);
    COLLEGIUM_RETURN_IF_ERROR(check_pair(pairs[i], where));
    if (const auto here = pairs_of.find(pairs[i].document_id); here != pairs_of.end()) {
      here->second.push_back(i);
      continue;
    }
    const auto [other, unknown] = stored.emplace(pairs[i].document_id, false);
    if (unknown && !is_new) {
      COLLEGIUM_ASSIGN_OR_RETURN(other->second,
                                 corpus_->has_document(collection, pairs[i].document_id));
    }
    if (!other->second)
      return Status::invalid_argument(where + ": no document " + short_quote(pairs[i].document_id) +
                                      " among those given nor in collection '" + collection + "'");
    pairs_of_others.push_back(i);
  }
  COLLEGIUM_RETURN_IF_ERROR(check_contradictions(pairs));

  AddReport report;
  report.documents = documents.size();
  for (const Pair& pair : pairs) ++report.pairs[static_cast<std::size_t>(split_of(pair))];
  Batch batch(*encoder_, *corpus_, collection, is_new, progress, documents.size() + pairs.size(),
              report);
  for (const Document& document : documents) {
    COLLEGIUM_RETURN_IF_ERROR(batch.add_document(document));
    for (const std::size_t i : pairs_of[document.id])
      COLLEGIUM_RETURN_IF_ERROR(batch.add_pair(pairs[i]));
  }
  for (const std::size_t i : pairs_of_others) COLLEGIUM_RETURN_IF_ERROR(batch.add_pair(pairs[i]));
  COLLEGIUM_RETURN_IF_ERROR(batch.finish());
  report.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return report;
}

Status LibraryImpl::remove(const std::string& collection, std::span<const std::string> ids) {
  const Call call(*this);
  COLLEGIUM_RETURN_IF_ERROR(call.check_writer("remove"));
  const std::lock_guard writing(writer_);
  const std::vector<std::string> known = corpus_->collections();
  if (!std::binary_search(known.begin(), known.end(), collection))
    return Status::not_found("no collection '" + collection + "' in " + path_);
  const std::set<std::string> unique(ids.begin(), ids.end());
  index::WriteSet writes;
  for (const std::string& id : unique) {
    COLLEGIUM_ASSIGN_OR_RETURN(const bool there, corpus_->has_document(collection, id));
    if (!there)
      return Status::not_found("no document " + short_quote(id) + " in collection '" + collection +
                               "'; nothing was removed");
    writes.remove_document(collection, id);
    COLLEGIUM_ASSIGN_OR_RETURN(const auto pairs, corpus_->records(pair_prefix(collection, id)));
    for (const auto& [key, value] : pairs) writes.remove_record(key);
  }
  return corpus_->commit(std::move(writes)).status();
}

Status LibraryImpl::set_lexical(const std::string& collection,
                                const index::LexicalSettings& settings) {
  const Call call(*this);
  COLLEGIUM_RETURN_IF_ERROR(call.check_writer("set_lexical"));
  COLLEGIUM_RETURN_IF_ERROR(check_collection_name(collection));
  COLLEGIUM_RETURN_IF_ERROR(settings.validate());
  const std::lock_guard writing(writer_);
  const std::vector<std::string> known = corpus_->collections();
  index::WriteSet writes;
  if (!std::binary_search(known.begin(), known.end(), collection))
    writes.create_collection(collection);
  writes.set_lexical(collection, settings);
  return corpus_->commit(std::move(writes)).status();
}

Result<index::LexicalSettings> LibraryImpl::lexical_settings(std::string_view collection) const {
  const Call call(*this);
  COLLEGIUM_RETURN_IF_ERROR(call.check_reader());
  return corpus_->lexical_settings(collection);
}

Status LibraryImpl::add_negatives(std::span<const std::string> queries,
                                  const core::ProgressCallback& progress) {
  const Call call(*this);
  COLLEGIUM_RETURN_IF_ERROR(call.check_writer("add_negatives"));
  for (std::size_t i = 0; i < queries.size(); ++i)
    COLLEGIUM_RETURN_IF_ERROR(check_query(queries[i], "negative " + std::to_string(i)));
  const std::lock_guard writing(writer_);
  std::set<std::string> fresh;
  for (const std::string& query : queries) {
    const auto record = corpus_->record(negative_key(query));
    if (record.ok()) continue;
    if (record.status().code() != StatusCode::kNotFound) return record.status();
    fresh.insert(query);
  }
  if (fresh.empty()) return {};
  COLLEGIUM_ASSIGN_OR_RETURN(const auto vectors,
                             encode_queries({fresh.begin(), fresh.end()}, progress));
  index::WriteSet writes;
  for (const auto& [query, vector] : vectors)
    writes.put_record(negative_key(query),
                      StoredNegative{query, split_of_document(query), vector}.serialize());
  return corpus_->commit(std::move(writes)).status();
}

}  // namespace collegium::router
