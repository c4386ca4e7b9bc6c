#include <unistd.h>

#include <filesystem>

#include "corpus_impl.h"
#include "file_copy.h"

namespace collegium::index {
namespace {

constexpr std::size_t kBatchBytes = 32 << 20;

// Copies what reads from `store` into `into`, which is new and empty.
class Rescue {
 public:
  Rescue(const DocumentStore& store, Corpus& into) : store_(store), into_(into) {}

  Status run(std::uint64_t acknowledged) {
    const auto collections = store_.salvage_collections(findings_);
    const auto ids = store_.salvage_ids(acknowledged, findings_);
    std::set<std::uint32_t> numbers;
    for (const auto& [name, record] : collections) {
      numbers.insert(record.number);
      WriteSet create;
      create.create_collection(name);
      if (auto settings = store_.lexical_settings(record.number); !settings.ok())
        findings_.add("collection '" + name + "'",
                      "how it finds words cannot be read: " + settings.status().message());
      else if (settings->has_value())
        create.set_lexical(name, std::move(**settings));
      if (const auto made = into_.commit(std::move(create), {Durability::kAsync}); !made.ok()) {
        // Only what the collection itself is at fault for is passed over.
        if (made.status().code() != StatusCode::kInvalidArgument) return made.status();
        findings_.add("collection '" + name + "'", made.status().message());
        continue;
      }
      const auto named = ids.find(record.number);
      std::uint64_t saved = 0;
      if (named != ids.end())
        for (const std::string& id : named->second)
          COLLEGIUM_RETURN_IF_ERROR(copy_document(name, record.number, id, saved));
      if (saved != record.documents)
        findings_.add("collection '" + name + "'", std::to_string(saved) + " of " +
                                                       std::to_string(record.documents) +
                                                       " documents were saved");
    }
    for (const auto& [number, named] : ids)
      if (numbers.count(number) == 0)
        findings_.add("collection number " + std::to_string(number),
                      "its name cannot be read: its documents are dropped");
    for (const std::string& key : store_.salvage_record_keys(findings_)) {
      const auto value = store_.record(key);
      if (!value.ok() || !value->has_value()) {
        findings_.add("record '" + key + "'", value.status().message());
        continue;
      }
      bytes_ += (*value)->size();
      batch_.put_record(key, **value);
      ++report_.records;
      if (bytes_ > kBatchBytes) COLLEGIUM_RETURN_IF_ERROR(write());
    }
    COLLEGIUM_RETURN_IF_ERROR(write());
    return into_.sync();
  }

  RepairReport take() {
    report_.dropped = findings_.take();
    return std::move(report_);
  }

 private:
  Status copy_document(const std::string& collection, std::uint32_t number, const std::string& id,
                       std::uint64_t& saved) {
    const std::string where = "document '" + id + "' of collection '" + collection + "'";
    // A directory that says the document is not there is believed: it was removed.
    const auto entry = store_.entry(number, id);
    if (entry.ok() && !entry->has_value()) return {};
    auto stored = store_.stored_document(number, id);
    if (!stored.ok() || !stored->has_value()) {
      findings_.add(where,
                    stored.ok() ? "is in no place but the directory" : stored.status().message());
      return {};
    }
    const std::size_t size = (*stored)->document.text.size() + (*stored)->document.title.size() +
                             (*stored)->document.metadata.size() +
                             (*stored)->vectors.size() * sizeof(float);
    WriteSet alone;
    alone.put_document(collection, **stored);
    if (const Status status = CorpusImpl::validate(alone, into_.options().dim); !status.ok()) {
      findings_.add(where, status.message());
      return {};
    }
    batch_.put_document(collection, std::move(**stored));
    bytes_ += size;
    ++report_.documents;
    ++saved;
    return bytes_ > kBatchBytes ? write() : Status();
  }

  Status write() {
    bytes_ = 0;
    return into_.commit(std::exchange(batch_, {}), {Durability::kAsync}).status();
  }

  const DocumentStore& store_;
  Corpus& into_;
  FindingList findings_;
  RepairReport report_;
  WriteSet batch_;
  std::size_t bytes_ = 0;
};

}  // namespace

Result<RepairReport> Corpus::repair(const std::string& path, const std::string& to) {
  return guarded([&]() -> Result<RepairReport> {
    if (::access((path + "/store").c_str(), F_OK) != 0)
      return Status::not_found("no store in '" + path + "'");
    COLLEGIUM_RETURN_IF_ERROR(check_empty(to));
    COLLEGIUM_ASSIGN_OR_RETURN(const auto lock, FolderLock::acquire(path));
    std::uint64_t acknowledged = 0;
    FindingList unknown;
    const std::string hopeless = "what is left cannot be told from what was removed";
    if (const auto marker = CommitMarker::open_read_only(path); marker.ok()) {
      acknowledged = (*marker)->commit_seq();
      // An older list of files would bring back what they were merged without.
      if (const Status sealed = check_manifest(path + "/store", (*marker)->manifest());
          !sealed.ok())
        return sealed.with_context(hopeless);
    } else {
      unknown.add(path + "/COMMITTED",
                  "cannot be read: which commits were acknowledged is not known");
    }
    const auto store = DocumentStore::salvage(path + "/store");
    if (!store.ok()) return store.status().with_context(hopeless);
    const bool was_there = ::access(to.c_str(), F_OK) == 0;
    const auto rescue = [&]() -> Result<RepairReport> {
      COLLEGIUM_ASSIGN_OR_RETURN(const auto into, create(to, (*store)->options()));
      Rescue work(**store, *into);
      COLLEGIUM_RETURN_IF_ERROR(work.run(acknowledged));
      COLLEGIUM_RETURN_IF_ERROR(into->close());
      RepairReport report = work.take();
      for (CorpusFinding& finding : unknown.take()) report.dropped.push_back(std::move(finding));
      return report;
    };
    auto report = rescue();
    if (!report.ok()) {
      std::error_code ignored;
      for (const char* name : {"/store", "/index", "/COMMITTED", "/OWNER"})
        std::filesystem::remove_all(to + name, ignored);
      if (!was_there) std::filesystem::remove(to, ignored);
    }
    return report;
  });
}

}  // namespace collegium::index
