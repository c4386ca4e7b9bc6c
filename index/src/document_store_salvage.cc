// Reading what is left of a damaged store. A value is only ever read by its key: RocksDB then looks
// from the newest place to the oldest and stops at damage, so that nothing older comes to light
// from underneath. Scans are asked for keys alone, which may name what was removed, but never hide
// it.
#include <algorithm>

#include "document_store_impl.h"

namespace collegium::index {

void FindingList::add(std::string where, std::string problem) {
  constexpr std::size_t kMost = 1000;
  if (found_.size() < kMost)
    found_.push_back({std::move(where), std::move(problem)});
  else
    ++more_;
}

std::vector<CorpusFinding> FindingList::take() {
  if (more_ > 0) found_.push_back({"", std::to_string(more_) + " more like these"});
  more_ = 0;
  return std::exchange(found_, {});
}

void DocumentStore::Impl::scan_around_damage(Family family, const std::string& prefix,
                                             const std::string& what,
                                             const std::function<void(std::string_view key)>& visit,
                                             FindingList& findings) const {
  rocksdb::ReadOptions read;
  read.total_order_seek = true;
  read.fill_cache = false;
  const std::string end = after_prefix(prefix);
  const rocksdb::Slice upper(end);
  if (!end.empty()) read.iterate_upper_bound = &upper;
  const std::unique_ptr<rocksdb::Iterator> it(db->NewIterator(read, handles[family]));
  std::string last = prefix;
  it->Seek(last);
  while (true) {
    for (; it->Valid(); it->Next()) {
      last = it->key().ToString();
      visit(std::string_view(last).substr(prefix.size()));
    }
    if (it->status().ok()) return;
    findings.add(folder, what + " cannot be read on from " +
                             (last == prefix ? "the first" : "a place behind the last good one") +
                             ": " + it->status().ToString());
    // The nearest key behind the damage, to within one byte: longer prefixes of the last key first.
    bool found = false;
    for (std::size_t length = last.size() + 1; !found && length-- > prefix.size();) {
      const int begin = length < last.size() ? static_cast<unsigned char>(last[length]) + 1 : 0;
      for (int byte = begin; byte < 256 && !found; ++byte) {
        it->Seek(last.substr(0, length) + static_cast<char>(byte));
        if (it->status().ok() && !it->Valid()) return;  // the end
        found = it->Valid();
      }
    }
    if (!found) return;
  }
}

std::map<std::string, CollectionRecord, std::less<>> DocumentStore::salvage_collections(
    FindingList& findings) const {
  std::map<std::string, CollectionRecord, std::less<>> collections;
  impl_->scan_around_damage(
      kDefault, "c/", "the list of collections",
      [&](std::string_view name) {
        const auto value = impl_->get(kDefault, name_key("c/", name));
        CollectionRecord record;
        if (value.ok() && value->has_value() && read_collection(**value, record))
          collections.emplace(name, record);
        else
          findings.add("collection '" + std::string(name) + "'", "its record cannot be read");
      },
      findings);
  return collections;
}

Result<std::optional<LexicalSettings>> DocumentStore::lexical_settings(
    std::uint32_t collection) const {
  if (impl_->handles.size() <= kPositions) return std::optional<LexicalSettings>();
  COLLEGIUM_ASSIGN_OR_RETURN(auto summary, LexicalSummary::load(lexical_tables(), collection));
  if (!summary.has_value()) return std::optional<LexicalSettings>();
  return std::optional<LexicalSettings>(std::move(summary->settings));
}

std::vector<std::string> DocumentStore::salvage_record_keys(FindingList& findings) const {
  std::vector<std::string> keys;
  impl_->scan_around_damage(
      kDefault, "r/", "the records", [&](std::string_view key) { keys.emplace_back(key); },
      findings);
  return keys;
}

std::map<std::uint32_t, std::set<std::string>> DocumentStore::salvage_ids(
    std::uint64_t acknowledged, FindingList& findings) const {
  std::map<std::uint32_t, std::set<std::string>> ids;
  std::uint64_t log_begin = 0;
  const auto begin = impl_->get(kDefault, "m/log_begin");
  if (begin.ok() && begin->has_value()) static_cast<void>(reader(**begin).read(log_begin));
  for (std::uint64_t seq = log_begin; seq <= std::max(impl_->commit_seq, acknowledged); ++seq) {
    const auto value = impl_->get(kDefault, log_key(seq));
    std::vector<LogEntry> entries;
    if (value.ok() && !value->has_value())
      findings.add("commit " + std::to_string(seq),
                   "cannot be read: what it added is lost, what it removed is back");
    else if (value.ok() && read_log(**value, entries))
      for (LogEntry& entry : entries) ids[entry.collection].insert(std::move(entry.id));
    else
      findings.add("commit " + std::to_string(seq), "its entry in the change log cannot be read");
  }
  const auto name_document = [&](std::string_view key) {
    if (key.size() <= sizeof(std::uint32_t)) return;
    const auto collection = static_cast<std::uint32_t>(read_key_u64(key.substr(0, 4)));
    ids[collection].emplace(key.substr(4));
  };
  impl_->scan_around_damage(kDirectory, "", "the directory", name_document, findings);
  impl_->scan_around_damage(kDocuments, "", "the texts", name_document, findings);
  return ids;
}

}  // namespace collegium::index
