#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "corpus_impl.h"
#include "file_copy.h"

namespace collegium::index {
namespace {

namespace fs = std::filesystem;

Result<std::uint64_t> file_size(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return Status::from_errno(errno, path);
  return static_cast<std::uint64_t>(status.st_size);
}

std::string json_line(const Document& document) {
  nlohmann::ordered_json line;
  line["_id"] = document.id;
  line["title"] = document.title;
  line["text"] = document.text;
  line["metadata"] = nlohmann::ordered_json::object();
  if (!document.metadata.empty()) {
    auto metadata = nlohmann::ordered_json::parse(document.metadata, nullptr,
                                                  /*allow_exceptions=*/false);
    if (metadata.is_object()) line["metadata"] = std::move(metadata);
  }
  return line.dump(-1, ' ', /*ensure_ascii=*/false) + "\n";
}

}  // namespace

Result<BackupReport> CorpusImpl::backup(const std::string& to) {
  return guarded([&]() -> Result<BackupReport> {
    COLLEGIUM_RETURN_IF_ERROR(check_process());
    const std::shared_lock life(life_mutex_);
    COLLEGIUM_RETURN_IF_ERROR(check_writer());
    COLLEGIUM_RETURN_IF_ERROR(check_open());
    COLLEGIUM_RETURN_IF_ERROR(check_empty(to));
    const bool was_there = ::access(to.c_str(), F_OK) == 0;
    BackupReport report;
    const auto copy = [&]() -> Status {
      COLLEGIUM_RETURN_IF_ERROR(make_folder(to));
      COLLEGIUM_RETURN_IF_ERROR(make_folder(to + "/store"));
      COLLEGIUM_RETURN_IF_ERROR(make_folder(to + "/index"));
      // No index file gets ahead of the copied store meanwhile.
      const std::lock_guard flushing(flush_mutex_);
      {
        std::unique_lock writing(write_mutex_);
        COLLEGIUM_RETURN_IF_ERROR(store_->copy_files(
            to + "/store", [&] { writing.unlock(); }, report.files, report.bytes));
      }
      CollectionMap collections;
      {
        const std::shared_lock lock(publish_mutex_);
        collections = collections_;
      }
      for (const auto& [name, collection] : collections) {
        const std::string from = index_path(*collection);
        const auto size = file_size(from);
        if (!size.ok()) continue;  // not flushed yet: it is a cache
        COLLEGIUM_RETURN_IF_ERROR(
            copy_file(from, to + "/index/" + std::to_string(collection->number) + ".index", *size));
        ++report.files;
        report.bytes += *size;
      }
      COLLEGIUM_RETURN_IF_ERROR(sync_folder(to + "/index"));
      // The marker comes last: a folder with it is a whole corpus. It says what the copy holds, not
      // what was asked for.
      COLLEGIUM_ASSIGN_OR_RETURN(report.commit_seq, DocumentStore::look(to + "/store"));
      COLLEGIUM_ASSIGN_OR_RETURN(const ManifestSeal seal, seal_manifest(to + "/store", {}));
      COLLEGIUM_RETURN_IF_ERROR(CommitMarker::create(to, report.commit_seq, seal));
      ++report.files;
      return {};
    };
    if (const Status status = copy(); !status.ok()) {
      std::error_code ignored;
      for (const char* name : {"/store", "/index", "/COMMITTED"})
        fs::remove_all(to + name, ignored);
      if (!was_there) fs::remove(to, ignored);
      return status.with_context("backup");
    }
    return report;
  });
}

Result<std::uint64_t> CorpusImpl::export_jsonl(std::string_view collection,
                                               const std::string& path) const {
  return guarded([&]() -> Result<std::uint64_t> {
    const std::shared_lock life(life_mutex_);
    COLLEGIUM_RETURN_IF_ERROR(check_open());
    COLLEGIUM_ASSIGN_OR_RETURN(const auto found, find(collection));
    const std::string temporary = path + "." + std::to_string(::getpid()) + ".clgm-tmp";
    std::uint64_t documents = 0;
    const auto write = [&]() -> Status {
      COLLEGIUM_ASSIGN_OR_RETURN(const auto file, FileWriter::create(temporary));
      COLLEGIUM_RETURN_IF_ERROR(store_->visit_texts(found->number, [&](const Document& document) {
        ++documents;
        return file->write(json_line(document));
      }));
      COLLEGIUM_RETURN_IF_ERROR(file->close());
      if (std::rename(temporary.c_str(), path.c_str()) != 0) return Status::from_errno(errno, path);
      const fs::path parent = fs::path(path).parent_path();
      return sync_folder(parent.empty() ? "." : parent.string());
    };
    if (const Status status = write(); !status.ok()) {
      if (status.code() != StatusCode::kAlreadyExists) ::unlink(temporary.c_str());
      return status.with_context("export of collection '" + std::string(collection) + "'");
    }
    return documents;
  });
}

}  // namespace collegium::index
