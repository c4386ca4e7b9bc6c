#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>

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

// Metadata as it is stored, on one line: dumping what was parsed recurses, as deep as it is nested.
// JSON has line ends between its parts alone, never raw in a string.
Result<std::string> metadata_line(const Document& document) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  std::string_view text = document.metadata;
  if (text.empty()) return std::string("{}");
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());  // as the parser
  const std::size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos || text[begin] != '{' || !nlohmann::json::accept(text))
    return Status::corruption("document '" + document.id + "': its metadata is no JSON object");
  std::string line(text.substr(begin));
  std::replace_if(
      line.begin(), line.end(), [](char c) { return c == '\n' || c == '\r'; }, ' ');
  return line;
}

Result<std::string> json_line(const Document& document) {
  nlohmann::ordered_json line;
  line["_id"] = document.id;
  line["title"] = document.title;
  line["text"] = document.text;
  COLLEGIUM_ASSIGN_OR_RETURN(const std::string metadata, metadata_line(document));
  std::string written = line.dump(-1, ' ', /*ensure_ascii=*/false);
  written.pop_back();  // the brace
  return written + ",\"metadata\":" + metadata + "}\n";
}

// What nobody else has: a process that was killed may have left its own behind.
std::string random_suffix() {
  constexpr char kDigits[] = "0123456789abcdef";
  std::random_device random;
  std::string suffix = ".";
  for (int i = 0; i < 16; ++i) suffix.push_back(kDigits[random() % 16]);
  return suffix + ".clgm-tmp";
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
    const auto snapshot = published();
    const std::string temporary = path + random_suffix();
    std::uint64_t documents = 0;
    bool created = false;
    const auto write = [&]() -> Status {
      COLLEGIUM_ASSIGN_OR_RETURN(const auto file, FileWriter::create(temporary));
      created = true;
      COLLEGIUM_RETURN_IF_ERROR(store_->visit_texts(
          found->number,
          [&](const Document& document) -> Status {
            ++documents;
            COLLEGIUM_ASSIGN_OR_RETURN(const std::string line, json_line(document));
            return file->write(line);
          },
          snapshot.get()));
      COLLEGIUM_RETURN_IF_ERROR(file->close());
      if (std::rename(temporary.c_str(), path.c_str()) != 0) return Status::from_errno(errno, path);
      const fs::path parent = fs::path(path).parent_path();
      return sync_folder(parent.empty() ? "." : parent.string());
    };
    if (const Status status = write(); !status.ok()) {
      if (created) ::unlink(temporary.c_str());
      return status.with_context("export of collection '" + std::string(collection) + "'");
    }
    return documents;
  });
}

}  // namespace collegium::index
