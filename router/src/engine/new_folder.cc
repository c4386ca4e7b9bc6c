#include "engine/new_folder.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "engine/model_files.h"

namespace collegium::router {
namespace {

namespace fs = std::filesystem;

Status check_vacant(const std::string& path) {
  if (path.empty()) return Status::invalid_argument("the library's path is empty");
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found) {
    if (fs::is_symlink(fs::symlink_status(path, error)))
      return Status::invalid_argument(path + " is a link to a folder that does not exist");
    return {};
  }
  if (error) return Status::from_errno(error.value(), path);
  if (status.type() != fs::file_type::directory)
    return Status::invalid_argument(path + " is a file; a library is a folder");
  if (fs::exists(fs::path(path) / "store", error))
    return Status::already_exists(path + " holds a library already; open it instead");
  if (!fs::is_empty(path, error))
    return Status::already_exists(path + " is not empty; a new library needs a folder of its own");
  return {};
}

}  // namespace

std::string folder_path(const std::string& path) {
  fs::path whole(path);
  if (!whole.has_filename()) whole = whole.parent_path();
  return whole.string();
}

Result<NewFolder> NewFolder::make(const std::string& path) {
  COLLEGIUM_RETURN_IF_ERROR(check_vacant(path));
  // What becomes `path`: the folder a link leads to, else `path` itself.
  std::string target = path;
  std::error_code error;
  if (fs::is_symlink(fs::symlink_status(path, error))) {
    target = fs::canonical(path, error).string();
    if (error) return Status::from_errno(error.value(), path);
  }
  std::string making = target + ".creating-XXXXXX";
  if (::mkdtemp(making.data()) == nullptr)
    return Status::from_errno(errno, target + ".creating-XXXXXX");
  return NewFolder(std::move(making), std::move(target));
}

NewFolder::NewFolder(NewFolder&& other) noexcept
    : making_(std::exchange(other.making_, {})), target_(std::move(other.target_)) {}

NewFolder::~NewFolder() {
  std::error_code ignored;
  if (!making_.empty()) fs::remove_all(making_, ignored);
}

Status NewFolder::publish() {
  COLLEGIUM_RETURN_IF_ERROR(sync_folder(making_));
  if (::rename(making_.c_str(), target_.c_str()) != 0) {
    if (errno == ENOTEMPTY || errno == EEXIST)
      return Status::already_exists(target_ + " was made by someone else meanwhile");
    return Status::from_errno(errno, target_);
  }
  making_.clear();
  const fs::path parent = fs::path(target_).parent_path();
  return sync_folder(parent.empty() ? "." : parent.string());
}

}  // namespace collegium::router
