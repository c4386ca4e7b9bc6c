#include "folder_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <ctime>

namespace collegium::index {
namespace {

std::string describe_this_process() {
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0) host[0] = '?';
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  std::array<char, 32> since{};
  std::strftime(since.data(), since.size(), "%Y-%m-%dT%H:%M:%SZ", &utc);
  return "process " + std::to_string(::getpid()) + " on " + host.data() + " since " + since.data();
}

// What the holder wrote; it may be caught before it wrote.
std::string describe_holder(int descriptor) {
  std::array<char, 512> text{};
  const ssize_t count = ::pread(descriptor, text.data(), text.size(), 0);
  std::string holder(text.data(), count > 0 ? static_cast<std::size_t>(count) : 0);
  while (!holder.empty() && holder.back() == '\n') holder.pop_back();
  return holder.empty() ? "a process that has just opened it" : holder;
}

}  // namespace

Result<std::unique_ptr<FolderLock>> FolderLock::acquire(const std::string& folder) {
  const std::string path = folder + "/OWNER";
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (descriptor < 0) return Status::from_errno(errno, path);
  std::unique_ptr<FolderLock> lock(new FolderLock(descriptor));
  if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return Status::from_errno(errno, path);
    return Status::busy("corpus " + folder + " is held by " + describe_holder(descriptor));
  }
  // For people alone: a full disk must not keep anyone from opening what they have.
  const std::string text = describe_this_process() + "\n";
  if (::ftruncate(descriptor, 0) == 0)
    static_cast<void>(::pwrite(descriptor, text.data(), text.size(), 0) < 0);
  return lock;
}

FolderLock::FolderLock(int descriptor) : descriptor_(descriptor), pid_(::getpid()) {}

FolderLock::~FolderLock() {
  // Closing alone would leave the lock with the copies of the descriptor that forked children have.
  if (::getpid() == pid_) ::flock(descriptor_, LOCK_UN);
  ::close(descriptor_);
}

}  // namespace collegium::index
