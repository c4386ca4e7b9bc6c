#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "collegium/core/status.h"

namespace collegium::index {

// Holds a corpus folder for one opener: flock on its file OWNER, which says who (pid, host,
// since). Released by the destructor, or by the system when the process ends however it ends; a
// child that was forked meanwhile neither keeps the lock nor releases it.
class FolderLock {
 public:
  // busy, naming the holder, when another opener (of this process too) has it; io_error.
  static Result<std::unique_ptr<FolderLock>> acquire(const std::string& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  explicit FolderLock(int descriptor);
  const int descriptor_;
  const pid_t pid_;  // whose lock it is
};

}  // namespace collegium::index
