#include <filesystem>
#include <utility>

#include "engine/library_checks.h"
#include "engine/library_impl.h"
#include "engine/model_files.h"
#include "engine/new_folder.h"

namespace collegium::router {
namespace {

namespace fs = std::filesystem;

// A generation may be switched by the process that holds the library while a reader opens it.
constexpr int kReadAttempts = 5;

void check_learned(const std::string& path, const index::Corpus& corpus, VerifyReport& report) {
  const auto record = corpus.record(kGenerationKey);
  if (!record.ok()) {
    if (record.status().code() != StatusCode::kNotFound)
      report.findings.push_back({"record generation", record.status().message()});
    return;
  }
  const auto read = read_learned_files(path, *record, corpus.options().dim);
  if (read.ok())
    report.learned_files = read->files.size();
  else
    report.findings.push_back({(fs::path(path) / "learned").string(), read.status().message()});
}

void check_models(const std::string& path, const index::Corpus& corpus, const OpenOptions& options,
                  std::vector<Finding>& findings) {
  const auto record = corpus.record(kLibraryKey);
  const auto settings = record.ok() ? LibrarySettings::parse(*record) : record.status();
  if (!settings.ok()) {
    findings.push_back({"record library", settings.status().message()});
    return;
  }
  const std::string encoder_path = model_path(path, settings->encoder, options.encoder);
  const auto encoder = load_encoder(path, *settings, options.encoder);
  if (!encoder.ok()) {
    findings.push_back({encoder_path, encoder.status().message()});
  } else if ((*encoder)->dim() != corpus.options().dim ||
             (*encoder)->digest() != corpus.options().encoder_digest) {
    findings.push_back({encoder_path, "is not the encoder of the store's vectors, which is " +
                                          corpus.options().encoder_digest});
  }
  const auto model = load_language_model(path, settings->language_model, options.language_model);
  if (!model.ok())
    findings.push_back({model_path(path, settings->language_model, options.language_model),
                        model.status().message()});
}

void count_files(const std::string& folder, BackupReport& report) {
  std::error_code error;
  for (fs::recursive_directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error)) {
    if (!it->is_regular_file(error)) continue;
    ++report.files;
    report.bytes += it->file_size(error);
  }
}

VerifyReport report_of(index::VerifyReport corpus) {
  VerifyReport report;
  report.commit_seq = corpus.commit_seq;
  report.collections = corpus.collections;
  report.documents = corpus.documents;
  report.passages = corpus.passages;
  report.records = corpus.records;
  report.findings = std::move(corpus.findings);
  return report;
}

}  // namespace

Result<std::vector<BadRecord>> find_bad_records(const index::Corpus& corpus) {
  std::vector<BadRecord> bad;
  const std::size_t dim = corpus.options().dim;
  constexpr std::string_view kPairs = "pair/", kMadeWith = "made-with/";
  COLLEGIUM_ASSIGN_OR_RETURN(const auto pairs, corpus.records(kPairs));
  for (const auto& [key, value] : pairs) {
    const auto pair = StoredPair::parse(value, dim);
    if (!pair.ok()) {
      bad.push_back({key, pair.status().message()});
      continue;
    }
    const std::string collection =
        key.substr(kPairs.size(), key.find('/', kPairs.size()) - kPairs.size());
    const auto there = corpus.has_document(collection, pair->document_id);
    if (!there.ok() && there.status().code() != StatusCode::kNotFound) return there.status();
    if (!there.ok() || !*there)
      bad.push_back({key, "a pair of document '" + pair->document_id + "' of '" + collection +
                              "', which is not there"});
  }
  COLLEGIUM_ASSIGN_OR_RETURN(const auto negatives, corpus.records(kNegativePrefix));
  for (const auto& [key, value] : negatives)
    if (const auto negative = StoredNegative::parse(value, dim); !negative.ok())
      bad.push_back({key, negative.status().message()});
  COLLEGIUM_ASSIGN_OR_RETURN(const auto made_with, corpus.records(kMadeWith));
  for (const auto& [key, value] : made_with)
    if (const auto origins = VectorOrigins::parse(value); !origins.ok())
      bad.push_back({key, origins.status().message()});
  return bad;
}

Status copy_models(const std::string& path, const LibrarySettings& settings,
                   const core::Encoder& encoder, const std::string& to) {
  if (!settings.encoder.linked)
    COLLEGIUM_RETURN_IF_ERROR(
        copy_files(encoder.folder(), encoder.files(), (fs::path(to) / kEncoderFolder).string())
            .with_context("copying the encoder"));
  return copy_language_model(path, settings.language_model, to);
}

Status copy_language_model(const std::string& path, const ModelReference& model,
                           const std::string& to) {
  if (model.digest.empty() || model.linked) return {};
  return copy_files(path, {model.path}, to).with_context("copying the language model");
}

Status LibraryImpl::read_generation() {
  const bool writes = !options_.read_only;
  const std::size_t dim = corpus_->options().dim;
  for (int attempt = 1;; ++attempt) {
    auto generation = std::make_shared<Generation>();
    const auto record = corpus_->record(kGenerationKey);
    if (!record.ok()) {
      if (record.status().code() != StatusCode::kNotFound) return record.status();
      if (writes) remove_leftovers(path_, {});  // of a first fit that was killed
    } else if (!options_.ignore_learned) {
      auto read = read_learned_files(path_, *record, dim);
      if (!read.ok()) {
        // Files that went because a newer generation is there are no damage.
        if (!writes && attempt < kReadAttempts) {
          COLLEGIUM_RETURN_IF_ERROR(corpus_->reopen());
          const auto now = corpus_->record(kGenerationKey);
          if (now.ok() && *now != *record) continue;
        }
        return read.status().with_context(
            "what fit learned cannot be read (the documents are safe; OpenOptions::ignore_learned "
            "opens the library as before fit)");
      }
      *generation = std::move(*read);
      // What a fit that was killed before it switched has left. The lock is ours.
      if (writes) remove_leftovers(path_, generation->files);
    }
    set_generation(std::move(generation));
    return {};
  }
}

Result<BackupReport> LibraryImpl::backup(const std::string& given) {
  const Call call(*this);
  COLLEGIUM_RETURN_IF_ERROR(call.check_writer("backup"));
  const std::lock_guard writing(writer_);
  COLLEGIUM_ASSIGN_OR_RETURN(NewFolder folder, NewFolder::make(folder_path(given)));
  const std::string& making = folder.path();
  COLLEGIUM_ASSIGN_OR_RETURN(const index::BackupReport corpus, corpus_->backup(making));
  COLLEGIUM_RETURN_IF_ERROR(copy_models(path_, settings_, *encoder_, making));
  const auto record = corpus_->record(kGenerationKey);
  if (record.ok()) {
    COLLEGIUM_ASSIGN_OR_RETURN(const Generation current,
                               read_learned_files(path_, *record, corpus_->options().dim));
    COLLEGIUM_RETURN_IF_ERROR(copy_learned_files(path_, current, making));
    // The copy is read back: what the disk made of it is what a backup is for.
    COLLEGIUM_RETURN_IF_ERROR(read_learned_files(making, *record, corpus_->options().dim).status());
  } else if (record.status().code() != StatusCode::kNotFound) {
    return record.status();
  }
  COLLEGIUM_RETURN_IF_ERROR(load_encoder(making, settings_, options_.encoder).status());
  COLLEGIUM_RETURN_IF_ERROR(
      load_language_model(making, settings_.language_model, options_.language_model).status());
  BackupReport report;
  report.commit_seq = corpus.commit_seq;
  count_files(making, report);
  COLLEGIUM_RETURN_IF_ERROR(folder.publish());
  return report;
}

Result<VerifyReport> LibraryImpl::verify() {
  const Call call(*this);
  COLLEGIUM_RETURN_IF_ERROR(call.check_outermost("verify"));
  COLLEGIUM_ASSIGN_OR_RETURN(auto corpus, corpus_->verify());
  // A fit would delete the files that are being read.
  const std::lock_guard writing(writer_);
  return check_library(path_, *corpus_, options_, std::move(corpus));
}

Result<VerifyReport> check_library(const std::string& path, const index::Corpus& corpus,
                                   const OpenOptions& options, index::VerifyReport found) {
  VerifyReport report = report_of(std::move(found));
  check_models(path, corpus, options, report.findings);
  check_learned(path, corpus, report);
  const auto bad = find_bad_records(corpus);
  if (!bad.ok())
    report.findings.push_back({"records", bad.status().message()});
  else
    for (const BadRecord& record : *bad)
      report.findings.push_back({"record " + record.key, record.problem});
  return report;
}

Result<VerifyReport> Library::verify_folder(const std::string& given, const OpenOptions& options) {
  const std::string path = folder_path(given);
  for (int attempt = 1;; ++attempt) {
    COLLEGIUM_ASSIGN_OR_RETURN(auto found, index::Corpus::verify_folder(path));
    const auto corpus = index::Corpus::open_read_only(path);
    if (!corpus.ok()) {
      if (found.findings.empty()) found.findings.push_back({path, corpus.status().message()});
      return report_of(std::move(found));
    }
    COLLEGIUM_ASSIGN_OR_RETURN(auto report,
                               check_library(path, **corpus, options, std::move(found)));
    const auto before = (*corpus)->record(kGenerationKey);
    if (report.ok() || attempt == kReadAttempts || !(*corpus)->reopen().ok()) return report;
    const auto now = (*corpus)->record(kGenerationKey);
    // Findings about files that a fit has replaced meanwhile are none.
    if (!now.ok() || (before.ok() && *before == *now)) return report;
  }
}

Result<TuneReport> LibraryImpl::tune(const std::string& collection, const TuneOptions& options) {
  const Call call(*this);
  COLLEGIUM_RETURN_IF_ERROR(call.check_writer("tune"));
  COLLEGIUM_RETURN_IF_ERROR(corpus_->collection_info(collection).status());
  index::TuneOptions tuning;
  tuning.kind = options.kind;
  tuning.target_recall = options.target_recall;
  tuning.k = options.k;
  tuning.num_samples = options.num_samples;
  std::vector<float> queries;
  if (!options.questions.empty()) {
    const std::vector<std::string_view> texts(options.questions.begin(), options.questions.end());
    COLLEGIUM_ASSIGN_OR_RETURN(auto embeddings, encoder_->encode(texts, core::TextKind::kQuery));
    queries = std::move(embeddings.vectors);
    tuning.queries = queries;
  }
  COLLEGIUM_ASSIGN_OR_RETURN(auto report, corpus_->tune(collection, tuning));
  return TuneReport{std::move(report), collection};
}

Status LibraryImpl::compact() {
  const Call call(*this);
  COLLEGIUM_RETURN_IF_ERROR(call.check_writer("compact"));
  return corpus_->compact();
}

Status LibraryImpl::purge() {
  const Call call(*this);
  COLLEGIUM_RETURN_IF_ERROR(call.check_writer("purge"));
  const std::lock_guard writing(writer_);
  // With ignore_learned the record's files are in use by whoever opens the library without it.
  if (!options_.ignore_learned) remove_leftovers(path_, generation()->files);
  return corpus_->purge();
}

Result<std::uint64_t> LibraryImpl::export_jsonl(std::string_view collection,
                                                const std::string& path) const {
  const Call call(*this);
  COLLEGIUM_RETURN_IF_ERROR(call.check_reader());
  return corpus_->export_jsonl(collection, path);
}

Status LibraryImpl::reopen() {
  const Call call(*this);
  COLLEGIUM_RETURN_IF_ERROR(call.check_outermost("reopen"));
  const std::lock_guard writing(writer_);
  COLLEGIUM_RETURN_IF_ERROR(corpus_->reopen());
  // What fit() learned since stays, whatever was ignored when the library was opened.
  if (options_.ignore_learned && !generation()->digest.empty()) {
    COLLEGIUM_ASSIGN_OR_RETURN(const std::string record, corpus_->record(kGenerationKey));
    COLLEGIUM_ASSIGN_OR_RETURN(auto read,
                               read_learned_files(path_, record, corpus_->options().dim));
    set_generation(std::make_shared<Generation>(std::move(read)));
    return {};
  }
  return read_generation();
}

}  // namespace collegium::router
