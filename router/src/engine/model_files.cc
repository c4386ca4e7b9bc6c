#include "engine/model_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <vector>

namespace collegium::router {
namespace {

namespace fs = std::filesystem;

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

Status copy_file(const std::string& from, const std::string& to) {
  const FileDescriptor source(::open(from.c_str(), O_RDONLY | O_CLOEXEC));
  if (source.get() < 0) return Status::from_errno(errno, from);
  const FileDescriptor target(::open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (target.get() < 0) return Status::from_errno(errno, to);
  std::vector<char> buffer(1 << 20);
  for (;;) {
    const ssize_t got = ::read(source.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Status::from_errno(errno, from);
    if (got == 0) break;
    for (ssize_t written = 0; written < got;) {
      const ssize_t put =
          ::write(target.get(), buffer.data() + written, static_cast<std::size_t>(got - written));
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) return Status::from_errno(errno, to);
      written += put;
    }
  }
  if (::fsync(target.get()) != 0) return Status::from_errno(errno, to);
  return {};
}

Status check_digest(std::string_view what, const std::string& path, const std::string& found,
                    const ModelReference& reference) {
  if (found == reference.digest) return {};
  const std::string message = std::string(what) + " in " + path + " has digest " + found +
                              ", the library was made with " + reference.digest;
  if (reference.linked)
    return Status::failed_precondition(message + "; its vectors belong to that one");
  return Status::corruption(message + ": the copy was damaged or changed");
}

Status explain(Status status, std::string_view what, const ModelReference& reference) {
  const bool damage =
      status.code() == StatusCode::kNotFound || status.code() == StatusCode::kInvalidArgument ||
      status.code() == StatusCode::kCorruption || status.code() == StatusCode::kNotSupported;
  if (!reference.linked && damage) {
    // The copy was read when the library was made: whatever cannot be read now is damage.
    return Status::corruption("the library's copy of its " + std::string(what) +
                              " cannot be read: " + status.message());
  }
  if (status.code() == StatusCode::kNotFound)
    return Status::not_found("the library's linked " + std::string(what) + " was at " +
                             reference.path + ": " + status.message() +
                             "; say in OpenOptions where it is now");
  return status.with_context("the library's " + std::string(what));
}

}  // namespace

std::string model_path(const std::string& library_path, const ModelReference& reference,
                       const std::string& moved_to) {
  if (!reference.linked) return (fs::path(library_path) / reference.path).string();
  return moved_to.empty() ? reference.path : moved_to;
}

Status sync_folder(const std::string& folder) {
  const FileDescriptor fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0) return Status::from_errno(errno, folder);
  if (::fsync(fd.get()) != 0) return Status::from_errno(errno, folder);
  return {};
}

Status copy_files(const std::string& from, const std::vector<std::string>& files,
                  const std::string& to) {
  for (const std::string& file : files) {
    const fs::path target = fs::path(to) / file;
    std::error_code error;
    fs::create_directories(target.parent_path(), error);
    if (error) return Status::from_errno(error.value(), target.parent_path().string());
    COLLEGIUM_RETURN_IF_ERROR(copy_file((fs::path(from) / file).string(), target.string()));
    COLLEGIUM_RETURN_IF_ERROR(sync_folder(target.parent_path().string()));
  }
  return sync_folder(to);
}

Result<std::shared_ptr<const core::Encoder>> load_encoder(const std::string& library_path,
                                                          const LibrarySettings& settings,
                                                          const std::string& moved_to) {
  const ModelReference& reference = settings.encoder;
  const std::string path = model_path(library_path, reference, moved_to);
  core::EncoderOptions options;
  options.compute = settings.compute;
  options.truncate_dim = settings.truncate_dim;
  auto encoder = core::Encoder::load(path, options);
  if (!encoder.ok()) return explain(encoder.status(), "encoder", reference);
  COLLEGIUM_RETURN_IF_ERROR(check_digest("the encoder", path, (*encoder)->digest(), reference));
  return encoder;
}

Result<std::shared_ptr<const core::LanguageModel>> load_language_model(
    const std::string& library_path, const ModelReference& reference, const std::string& moved_to,
    core::LmCompute compute) {
  if (reference.digest.empty()) return std::shared_ptr<const core::LanguageModel>();
  const std::string path = model_path(library_path, reference, moved_to);
  auto model = core::LanguageModel::load(path, {.compute = compute});
  if (!model.ok()) return explain(model.status(), "language model", reference);
  COLLEGIUM_RETURN_IF_ERROR(
      check_digest("the language model", path, (*model)->digest(), reference));
  return model;
}

}  // namespace collegium::router
