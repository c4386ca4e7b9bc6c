#include <cmath>
#include <map>

#include "collegium/core/text/tokenizer.h"
#include "document_store_impl.h"
#include "lexical_verify.h"

namespace collegium::index {
namespace {

using DocumentKey = std::pair<std::uint32_t, std::string>;
struct Rows {
  std::uint64_t first = 0;
  std::uint64_t passages = 0;
  bool operator==(const Rows&) const = default;
};

std::string describe(const DocumentKey& key) {
  return "document '" + key.second + "' of collection " + std::to_string(key.first);
}
std::string describe(Rows rows) {
  return std::to_string(rows.passages) + " from row " + std::to_string(rows.first);
}

// What the families say of one another.
class Verifier {
 public:
  Verifier(std::size_t dim, std::uint64_t commit_seq, FindingList& findings, VerifyReport& report)
      : dim_(dim), commit_seq_(commit_seq), findings_(findings), report_(report) {}

  void read_default(std::string_view key, std::string_view value) {
    const std::string_view kind = key.substr(0, 2);
    const std::string name(key.substr(std::min<std::size_t>(key.size(), 2)));
    core::ByteReader in = reader(value);
    if (kind == "m/") {
      std::uint64_t number = 0;
      if (name == "log_begin" && in.read(number)) log_begin_ = number;
    } else if (kind == "c/") {
      CollectionRecord record;
      if (!read_collection(value, record))
        return findings_.add("collection '" + name + "'", "its record is malformed");
      if (record.changed_seq > commit_seq_)
        findings_.add(
            "collection '" + name + "'",
            "was changed by commit " + std::to_string(record.changed_seq) + ", beyond the store's");
      if (!collections_.emplace(record.number, Collection{name, record, 0, 0, 0}).second)
        findings_.add("collection '" + name + "'", "another one has its number too");
      ++report_.collections;
    } else if (kind == "l/") {
      log_.emplace(read_key_u64(name), value);
    } else if (kind == "r/") {
      ++report_.records;
    } else {
      findings_.add("the store", "a key of no known kind");
    }
  }

  // After all of the default family.
  void replay_log() {
    std::uint64_t next = log_begin_;
    for (const auto& [seq, value] : log_) {
      for (; next < seq && next <= commit_seq_; ++next)
        findings_.add("commit " + std::to_string(next), "is not in the change log");
      next = seq + 1;
      std::vector<LogEntry> entries;
      if (!read_log(value, entries))
        findings_.add("commit " + std::to_string(seq), "its entry in the change log is malformed");
      for (LogEntry& entry : entries) {
        const auto found = collections_.find(entry.collection);
        if (found == collections_.end()) {
          findings_.add("commit " + std::to_string(seq), "changed an unknown collection");
          continue;
        }
        found->second.last_change = seq;
        last_[{entry.collection, std::move(entry.id)}] = {entry.kind == 1,
                                                          {entry.first_row, entry.passages}};
      }
    }
    if (next != commit_seq_ + 1)
      findings_.add("the change log", "ends before commit " + std::to_string(next) +
                                          ", the store is at " + std::to_string(commit_seq_));
    log_.clear();
    for (const auto& [number, collection] : collections_)
      if (collection.last_change > collection.record.changed_seq)
        findings_.add("collection '" + collection.name + "'",
                      "was changed by commit " + std::to_string(collection.last_change) +
                          ", its record says " + std::to_string(collection.record.changed_seq));
  }

  void read_directory(std::string_view key, std::string_view value) {
    const DocumentKey document = split(key);
    DocumentEntry entry;
    if (!read_entry(value, entry))
      return findings_.add(describe(document), "its entry is malformed");
    const Rows rows{entry.first_row, entry.passages.size()};
    const auto collection = collections_.find(document.first);
    if (collection == collections_.end())
      return findings_.add(describe(document), "is in no collection");
    collection->second.documents += 1;
    collection->second.passages += rows.passages;
    ++report_.documents;
    report_.passages += rows.passages;
    if (rows.first + rows.passages > collection->second.record.next_row)
      findings_.add(describe(document), "has rows that were not given yet");
    const auto logged = last_.find(document);
    if (logged == last_.end()) {
      if (log_begin_ == 0) findings_.add(describe(document), "is not in the change log");
    } else if (!logged->second.first) {
      findings_.add(describe(document), "was removed according to the change log");
    } else if (logged->second.second != rows) {
      findings_.add(describe(document), "has " + describe(rows) + ", the change log says " +
                                            describe(logged->second.second));
    }
    for (std::uint64_t i = 0; i < rows.passages; ++i)
      if (!rows_.emplace(std::pair(document.first, rows.first + i), document.second).second)
        findings_.add(describe(document), "shares row " + std::to_string(rows.first + i));
    for (const core::PassageSpan& passage : entry.passages)
      longest_[document] = std::max<std::uint64_t>(longest_[document], passage.bytes.end);
    longest_.try_emplace(document, 0);
  }

  // After all of the directory: each document must have its text.
  void read_text(std::string_view key, std::string_view value) {
    const DocumentKey key_of = split(key);
    const auto entry = longest_.find(key_of);
    if (entry == longest_.end()) return findings_.add(describe(key_of), "is not in the directory");
    Document document;
    if (!read_document(value, document))
      findings_.add(describe(key_of), "its text is malformed");
    else if (entry->second > document.text.size())
      findings_.add(describe(key_of), "a passage lies outside its text");
    else if (!core::check_utf8(document.text, "").ok() ||
             !core::check_utf8(document.title, "").ok() ||
             !core::check_utf8(document.metadata, "").ok())
      findings_.add(describe(key_of), "is not UTF-8");
    longest_.erase(entry);
  }

  void read_vector(std::string_view key, std::string_view value) {
    if (key.size() != kVectorKeyBytes) return findings_.add("the vectors", "a malformed key");
    if (read_key_u64(key.substr(4, 4)) != kPlainSpace) return;
    const auto collection = static_cast<std::uint32_t>(read_key_u64(key.substr(0, 4)));
    const std::uint64_t row = read_key_u64(key.substr(8));
    const std::string where =
        "vector " + std::to_string(row) + " of collection " + std::to_string(collection);
    if (value.size() != dim_ * sizeof(float))
      return findings_.add(where, "has " + std::to_string(value.size()) + " bytes");
    if (rows_.erase({collection, row}) == 0) findings_.add(where, "has no passage");
    std::vector<float> numbers(dim_);
    std::memcpy(numbers.data(), value.data(), value.size());
    for (const float number : numbers)
      if (!std::isfinite(number)) return findings_.add(where, "is not finite");
  }

  void finish() {
    for (const auto& [document, rest] : last_)
      if (rest.first && directory_lacks(document))
        findings_.add(describe(document), "is in the change log, but not in the directory");
    for (const auto& [document, end] : longest_)
      findings_.add(describe(document), "lacks its text");
    for (const auto& [row, id] : rows_)
      findings_.add(describe({row.first, id}),
                    "lacks the vector of row " + std::to_string(row.second));
    for (const auto& [number, collection] : collections_)
      if (collection.documents != collection.record.documents ||
          collection.passages != collection.record.passages)
        findings_.add("collection '" + collection.name + "'",
                      "has " + std::to_string(collection.documents) + " documents and " +
                          std::to_string(collection.passages) + " passages, its record says " +
                          std::to_string(collection.record.documents) + " and " +
                          std::to_string(collection.record.passages));
  }

  // After all of the directory, and before the vectors.
  std::map<std::uint32_t, IndexedCollection> indexed() const {
    std::map<std::uint32_t, IndexedCollection> found;
    for (const auto& [number, collection] : collections_)
      found[number] = {collection.name, collection.record.passages, {}};
    for (const auto& [row, id] : rows_)
      if (const auto of = found.find(row.first); of != found.end())
        of->second.rows.push_back(row.second);
    return found;
  }

  void note_directory(std::string_view key) { directory_.insert(split(key)); }

 private:
  struct Collection {
    std::string name;
    CollectionRecord record;
    std::uint64_t documents = 0;
    std::uint64_t passages = 0;
    std::uint64_t last_change = 0;
  };

  static DocumentKey split(std::string_view key) {
    if (key.size() < 4) return {0, std::string(key)};
    return {static_cast<std::uint32_t>(read_key_u64(key.substr(0, 4))), std::string(key.substr(4))};
  }
  bool directory_lacks(const DocumentKey& document) const {
    return directory_.find(document) == directory_.end();
  }

  const std::size_t dim_;
  const std::uint64_t commit_seq_;
  FindingList& findings_;
  VerifyReport& report_;
  std::uint64_t log_begin_ = 0;
  std::map<std::uint32_t, Collection> collections_;
  std::map<std::uint64_t, std::string> log_;
  std::map<DocumentKey, std::pair<bool, Rows>> last_;  // what the change log leaves: there or not
  std::set<DocumentKey> directory_;
  std::map<DocumentKey, std::uint64_t> longest_;  // where its last passage ends; until its text
  std::map<std::pair<std::uint32_t, std::uint64_t>, std::string> rows_;  // that lack a vector yet
};

}  // namespace

Status DocumentStore::verify(const std::function<void()>& listed, FindingList& findings,
                             VerifyReport& report) const {
  const auto snapshot = impl_->snapshot();
  std::uint64_t commit_seq = 0;
  if (const Status status = impl_->read_meta(
          "m/commit_seq", [&](core::ByteReader& in) { return in.read(commit_seq); });
      !status.ok())
    findings.add("the store", status.message());
  listed();
  report.commit_seq = commit_seq;
  // This opens the files by their names; where they may be gone, reading through them has to do.
  const Status tables = guarded_store(impl_->folder, [&]() -> Status {
    if (!impl_->read_only) return to_status(impl_->db->VerifyChecksum(), impl_->folder);
    for (const Family family : {kPostings, kPositions})
      COLLEGIUM_RETURN_IF_ERROR(impl_->scan(
          family, "", snapshot.get(), [](std::string_view, std::string_view) { return Status(); }));
    return {};
  });
  if (!tables.ok()) findings.add(impl_->folder, tables.message());

  Verifier verifier(impl_->options.dim, commit_seq, findings, report);
  const auto read_family = [&](Family family, const char* what, auto read) {
    const Status status = impl_->scan(family, "", snapshot.get(),
                                      [&](std::string_view key, std::string_view value) -> Status {
                                        read(key, value);
                                        return {};
                                      });
    if (!status.ok()) findings.add(what, status.message());
    return status.ok();
  };
  // What one family says is held against another only when both could be read to their end.
  bool whole = read_family(kDefault, "the settings, records and change log",
                           [&](auto key, auto value) { verifier.read_default(key, value); });
  if (!whole) return {};
  verifier.replay_log();
  whole = read_family(kDirectory, "the directory", [&](auto key, auto value) {
    verifier.note_directory(key);
    verifier.read_directory(key, value);
  });
  if (!whole) return {};
  if (const Status postings =
          verify_postings(lexical_tables(), snapshot.get(), verifier.indexed(), findings);
      !postings.ok())
    findings.add("the postings", postings.message());
  whole = read_family(kDocuments, "the texts",
                      [&](auto key, auto value) { verifier.read_text(key, value); }) &&
          read_family(kVectors, "the vectors",
                      [&](auto key, auto value) { verifier.read_vector(key, value); });
  if (whole) verifier.finish();
  return {};
}

}  // namespace collegium::index
