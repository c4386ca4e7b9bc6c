// Preloaded into crash_writer by corpus_fault_test: stands between it and the
// file system, below RocksDB and our own files alike. For what happens in the
// folder COLLEGIUM_SHIM_FOLDER it
//   - records every change and every sync, in their order, to the file
//   COLLEGIUM_SHIM_TRACE, from
//     which corpus_trace.h makes what a crash or a power cut at any moment
//     would have left;
//   - fails the k-th of them and all that follow with an errno,
//   COLLEGIUM_SHIM_FAIL="errno:k",
//     until collegium_shim_heal() is called.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>

namespace {

template <typename Function>
Function real(const char* name) {
  return reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));
}
using Open = int (*)(const char*, int, ...);
using Write = ssize_t (*)(int, const void*, size_t);
using Pwrite = ssize_t (*)(int, const void*, size_t, off_t);
using OnDescriptor = int (*)(int);
using Truncate = int (*)(int, off_t);
using TwoPaths = int (*)(const char*, const char*);
using OnePath = int (*)(const char*);
using UnlinkAt = int (*)(int, const char*, int);
using MakeFolder = int (*)(const char*, mode_t);

struct File {
  std::uint64_t id = 0;  // 0: a folder
  std::string path;
};

// One lock around every call and its record: the trace has the order in which things happened.
struct Shim {
  std::recursive_mutex mutex;
  std::string folder;
  int trace = -1;
  int error = 0;
  long countdown = -1;
  std::uint64_t next_id = 1;
  std::map<int, File> open;            // by descriptor
  std::map<ino_t, std::uint64_t> ids;  // of files that have been opened
  Shim() {
    const char* name = std::getenv("COLLEGIUM_SHIM_FOLDER");
    if (name != nullptr) folder = name;
    if (const char* path = std::getenv("COLLEGIUM_SHIM_TRACE"))
      trace = real<Open>("open")(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (const char* fail = std::getenv("COLLEGIUM_SHIM_FAIL"))
      if (std::sscanf(fail, "%d:%ld", &error, &countdown) != 2) countdown = -1;
  }
};
Shim& shim() {
  static Shim* const one = new Shim;  // outlives every thread
  return *one;
}

bool ours(const char* path) {
  const std::string& folder = shim().folder;
  return !folder.empty() && std::strncmp(path, folder.c_str(), folder.size()) == 0 &&
         (path[folder.size()] == '/' || path[folder.size()] == '\0');
}

// u8 type, u64 a, u64 b, u32 bytes of text, text; see corpus_trace.h.
void record(char type, std::uint64_t a, std::uint64_t b, const void* text, std::size_t size) {
  if (shim().trace < 0) return;
  std::string out(1, type);
  const auto length = static_cast<std::uint32_t>(size);
  out.append(reinterpret_cast<const char*>(&a), 8).append(reinterpret_cast<const char*>(&b), 8);
  out.append(reinterpret_cast<const char*>(&length), 4);
  out.append(static_cast<const char*>(text), size);
  static const Write write = real<Write>("write");
  if (write(shim().trace, out.data(), out.size()) != static_cast<ssize_t>(out.size())) ::abort();
}
void record(char type, const std::string& text) { record(type, 0, 0, text.data(), text.size()); }

// Whether this call is to fail; errno is then set.
bool fails() {
  Shim& s = shim();
  if (s.countdown < 0) return false;
  if (s.countdown > 0) {
    --s.countdown;
    return false;
  }
  errno = s.error;
  return true;
}

int open_file(const char* name, const char* path, int flags, mode_t mode) {
  const auto call = real<Open>(name);
  if (!ours(path)) return call(path, flags, mode);
  const std::lock_guard lock(shim().mutex);
  struct stat status {};
  const bool was_there = ::stat(path, &status) == 0;
  if ((flags & O_CREAT) != 0 && !was_there && fails()) return -1;
  const int descriptor = call(path, flags, mode);
  if (descriptor < 0) return descriptor;
  ::fstat(descriptor, &status);
  if (S_ISDIR(status.st_mode)) {
    shim().open[descriptor] = {0, path};
    return descriptor;
  }
  if ((flags & O_ACCMODE) == O_RDONLY && was_there) return descriptor;
  std::uint64_t& id = shim().ids[status.st_ino];
  if (!was_there) {
    id = shim().next_id++;
    record('c', id, 0, path, std::strlen(path));
  } else if (id == 0) {
    id = shim().next_id++;
    record('b', id, 0, path, std::strlen(path));
  }
  if (was_there && (flags & O_TRUNC) != 0) record('t', id, 0, "", 0);
  shim().open[descriptor] = {id, path};
  return descriptor;
}

const File* find(int descriptor) {
  const auto found = shim().open.find(descriptor);
  return found == shim().open.end() ? nullptr : &found->second;
}

int sync_file(const char* name, int descriptor) {
  const auto call = real<OnDescriptor>(name);
  const std::lock_guard lock(shim().mutex);
  const File* file = find(descriptor);
  if (file == nullptr) return call(descriptor);
  if (fails()) return -1;
  const int result = call(descriptor);
  if (result == 0)
    record(file->id == 0 ? 'd' : 's', file->id, 0, file->path.data(), file->path.size());
  return result;
}

}  // namespace

extern "C" {

__attribute__((visibility("default"))) void collegium_shim_heal() {
  const std::lock_guard lock(shim().mutex);
  shim().countdown = -1;
}
// Whether anything has failed so far.
__attribute__((visibility("default"))) int collegium_shim_failing() {
  const std::lock_guard lock(shim().mutex);
  return shim().countdown == 0;
}

__attribute__((visibility("default"))) int open(const char* path, int flags, ...) {
  mode_t mode = 0;
  if ((flags & O_CREAT) != 0) {
    va_list list;
    va_start(list, flags);
    mode = va_arg(list, mode_t);
    va_end(list);
  }
  return open_file("open", path, flags, mode);
}
__attribute__((visibility("default"))) int open64(const char* path, int flags, ...) {
  mode_t mode = 0;
  if ((flags & O_CREAT) != 0) {
    va_list list;
    va_start(list, flags);
    mode = va_arg(list, mode_t);
    va_end(list);
  }
  return open_file("open64", path, flags, mode);
}

__attribute__((visibility("default"))) int close(int descriptor) {
  static const auto call = real<OnDescriptor>("close");
  const std::lock_guard lock(shim().mutex);
  shim().open.erase(descriptor);
  return call(descriptor);
}

__attribute__((visibility("default"))) ssize_t write(int descriptor, const void* bytes,
                                                     size_t size) {
  static const auto call = real<Write>("write");
  const std::lock_guard lock(shim().mutex);
  if (descriptor == STDOUT_FILENO) record('a', 0, 0, bytes, size);
  const File* file = find(descriptor);
  if (file == nullptr) return call(descriptor, bytes, size);
  if (fails()) return -1;
  struct stat status {};
  ::fstat(descriptor, &status);
  const off_t at = (::fcntl(descriptor, F_GETFL) & O_APPEND) != 0
                       ? status.st_size
                       : ::lseek(descriptor, 0, SEEK_CUR);
  const ssize_t done = call(descriptor, bytes, size);
  if (done > 0)
    record('w', file->id, static_cast<std::uint64_t>(at), bytes, static_cast<std::size_t>(done));
  return done;
}

__attribute__((visibility("default"))) ssize_t pwrite(int descriptor, const void* bytes,
                                                      size_t size, off_t at) {
  static const auto call = real<Pwrite>("pwrite");
  const std::lock_guard lock(shim().mutex);
  const File* file = find(descriptor);
  if (file == nullptr) return call(descriptor, bytes, size, at);
  if (fails()) return -1;
  const ssize_t done = call(descriptor, bytes, size, at);
  if (done > 0)
    record('w', file->id, static_cast<std::uint64_t>(at), bytes, static_cast<std::size_t>(done));
  return done;
}
__attribute__((visibility("default"))) ssize_t pwrite64(int descriptor, const void* bytes,
                                                        size_t size, off_t at) {
  return pwrite(descriptor, bytes, size, at);
}

__attribute__((visibility("default"))) int ftruncate(int descriptor, off_t size) {
  static const auto call = real<Truncate>("ftruncate");
  const std::lock_guard lock(shim().mutex);
  const File* file = find(descriptor);
  if (file == nullptr) return call(descriptor, size);
  if (fails()) return -1;
  const int result = call(descriptor, size);
  if (result == 0) record('t', file->id, static_cast<std::uint64_t>(size), "", 0);
  return result;
}
__attribute__((visibility("default"))) int ftruncate64(int descriptor, off_t size) {
  return ftruncate(descriptor, size);
}

__attribute__((visibility("default"))) int fsync(int descriptor) {
  return sync_file("fsync", descriptor);
}
__attribute__((visibility("default"))) int fdatasync(int descriptor) {
  return sync_file("fdatasync", descriptor);
}

__attribute__((visibility("default"))) int rename(const char* from, const char* to) {
  static const auto call = real<TwoPaths>("rename");
  if (!ours(to)) return call(from, to);
  const std::lock_guard lock(shim().mutex);
  if (fails()) return -1;
  const int result = call(from, to);
  if (result == 0) record('r', std::string(from) + '\n' + to);
  return result;
}

__attribute__((visibility("default"))) int unlink(const char* path) {
  static const auto call = real<OnePath>("unlink");
  if (!ours(path)) return call(path);
  const std::lock_guard lock(shim().mutex);
  const int result = call(path);
  if (result == 0) record('u', path);
  return result;
}
__attribute__((visibility("default"))) int remove(const char* path) {
  struct stat status {};
  if (::lstat(path, &status) == 0 && S_ISDIR(status.st_mode)) return ::rmdir(path);
  return unlink(path);
}
// std::filesystem::remove_all.
__attribute__((visibility("default"))) int unlinkat(int folder, const char* name, int flags) {
  static const auto call = real<UnlinkAt>("unlinkat");
  const std::lock_guard lock(shim().mutex);
  std::string path = name;
  if (folder != AT_FDCWD && path[0] != '/') {
    char target[4096];
    const ssize_t size =
        ::readlink(("/proc/self/fd/" + std::to_string(folder)).c_str(), target, sizeof(target));
    if (size > 0) path = std::string(target, static_cast<std::size_t>(size)) + "/" + name;
  }
  const int result = call(folder, name, flags);
  if (result == 0 && ours(path.c_str()) && (flags & AT_REMOVEDIR) == 0) record('u', path);
  return result;
}
__attribute__((visibility("default"))) int mkdir(const char* path, mode_t mode) {
  static const auto call = real<MakeFolder>("mkdir");
  if (!ours(path)) return call(path, mode);
  const std::lock_guard lock(shim().mutex);
  if (::access(path, F_OK) != 0 && fails()) return -1;
  const int result = call(path, mode);
  if (result == 0) record('m', path);
  return result;
}

}  // extern "C"
