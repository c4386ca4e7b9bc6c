#pragma once

#include <string>

#include "collegium/core/status.h"

// A library's folder is made beside the place where it will be and renamed when it is whole, so
// that a failure, or a kill, never leaves half a library under the name.
namespace collegium::router {

// "mylib/" is "mylib".
std::string folder_path(const std::string& path);

class NewFolder {
 public:
  // Makes a folder for its owner alone (0700) beside `path`, which must be vacant: nothing there,
  // or an empty folder (invalid_argument, already_exists).
  static Result<NewFolder> make(const std::string& path);
  ~NewFolder();  // removes what was made, unless it was published
  NewFolder(NewFolder&& other) noexcept;
  NewFolder& operator=(NewFolder&&) = delete;

  const std::string& path() const noexcept { return making_; }
  // fsyncs it and gives it its name. already_exists if someone else was faster.
  Status publish();

 private:
  NewFolder(std::string making, std::string target)
      : making_(std::move(making)), target_(std::move(target)) {}

  std::string making_;  // empty: published or moved from
  std::string target_;
};

}  // namespace collegium::router
