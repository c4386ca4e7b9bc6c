#include <algorithm>
#include <cstring>

#include "corpus_impl.h"

namespace collegium::index {
namespace {

// The living positions of a state, in order.
struct Position {
  const Segment* segment;
  std::size_t at;
};
std::vector<Position> living(const CollectionState& state) {
  std::vector<Position> found;
  for (const LiveSegment& part : state.segments)
    for (std::size_t i = 0; i < part.segment->size(); ++i)
      if (part.alive(i)) found.push_back({part.segment.get(), i});
  return found;
}

// What the first difference is; empty if there is none.
std::string difference(const CollectionState& file, const CollectionState& store) {
  const auto seen = living(file);
  const auto expected = living(store);
  if (seen.size() != expected.size())
    return "has " + std::to_string(seen.size()) + " passages, the store " +
           std::to_string(expected.size());
  if (*file.without_passages != *store.without_passages)
    return "has other documents without passages than the store";
  const std::size_t dim = store.dim;
  for (std::size_t i = 0; i < seen.size(); ++i) {
    const Segment& a = *seen[i].segment;
    const Segment& b = *expected[i].segment;
    const std::size_t p = seen[i].at;
    const std::size_t q = expected[i].at;
    if (a.rows[p] != b.rows[q] || a.ids[a.document[p]] != b.ids[b.document[q]] ||
        a.begin[p] != b.begin[q] || a.end[p] != b.end[q] ||
        a.sections[a.section[p]] != b.sections[b.section[q]] ||
        a.metadata_of(a.document[p]) != b.metadata_of(b.document[q]) ||
        std::memcmp(a.block->vectors().data() + p * dim, b.block->vectors().data() + q * dim,
                    dim * sizeof(float)) != 0)
      return "differs from the store at row " + std::to_string(b.rows[q]);
  }
  return {};
}

}  // namespace

Result<VerifyReport> CorpusImpl::verify() {
  return guarded([&]() -> Result<VerifyReport> {
    COLLEGIUM_RETURN_IF_ERROR(check_process());
    const std::shared_lock life(life_mutex_);
    COLLEGIUM_RETURN_IF_ERROR(check_open());
    const std::lock_guard flushing(flush_mutex_);  // no index file changes meanwhile
    VerifyReport report;
    FindingList findings;
    std::uint64_t durable_seq = 0;
    {
      // Files and store as of one commit. A reader's files are their holder's to change.
      const std::lock_guard syncing(sync_mutex_);
      std::unique_lock writing(write_mutex_);
      durable_seq = durable_seq_;
      if (!read_only_)
        if (const Status status = look_at_store(); !status.ok())
          findings.add(path_, status.message());
      COLLEGIUM_RETURN_IF_ERROR(store_->verify([&] { writing.unlock(); }, findings, report));
    }
    if (report.commit_seq < durable_seq)
      findings.add(path_, "the store is at commit " + std::to_string(report.commit_seq) +
                              ", but commit " + std::to_string(durable_seq) + " was acknowledged");
    const auto records = store_->collections();
    if (!records.ok()) {
      findings.add(path_, records.status().message());
    } else {
      for (const auto& [name, record] : *records) {
        const std::string path = path_ + "/index/" + std::to_string(record.number) + ".index";
        const IndexIdentity expected{store_->corpus_id(), record.number, options_.dim,
                                     options_.encoder_digest};
        const auto file = read_index_file(path, expected);
        if (!file.ok()) {
          // It is a cache: one that is missing, behind or of another build is made when needed.
          if (file.status().code() != StatusCode::kNotFound &&
              file.status().code() != StatusCode::kFailedPrecondition)
            findings.add(path, file.status().message());
          continue;
        }
        if ((*file)->commit_seq != record.changed_seq) continue;
        const auto rebuilt = rebuild_state(*store_, record);
        // After a commit in between they are not of the same commit.
        const auto again = store_->collections();
        if (!rebuilt.ok() || !again.ok() ||
            again->find(name)->second.changed_seq != record.changed_seq)
          continue;
        const std::string differs = difference(**file, **rebuilt);
        if (!differs.empty()) findings.add(path, differs);
      }
    }
    report.findings = findings.take();
    return report;
  });
}

Result<VerifyReport> Corpus::verify_folder(const std::string& path) {
  const auto corpus = open_read_only(path);
  if (corpus.ok()) return (*corpus)->verify();
  if (corpus.status().code() == StatusCode::kNotFound) return corpus.status();
  VerifyReport report;
  report.findings.push_back({path, corpus.status().to_string()});
  return report;
}

}  // namespace collegium::index
