#pragma once

#include <sys/resource.h>

#include <cstddef>
#include <functional>
#include <random>
#include <span>

#include "scratch_folder.h"

// There where a sanitizer is linked.
extern "C" [[gnu::weak]] void __asan_init();
extern "C" [[gnu::weak]] void __tsan_init();

namespace collegium::core {

// Calls `check(path, size)` for each truncation of `good`, from one byte less to nothing. The file
// is shortened in place: some file systems write through when a file is emptied and written again.
inline void for_each_truncation(
    std::span<const std::byte> good,
    const std::function<void(const std::string& path, std::size_t size)>& check) {
  const ScratchFolder folder;
  write_bytes(folder / "cut", good);
  for (std::size_t size = good.size(); size-- > 0;) {
    std::filesystem::resize_file(folder / "cut", size);
    check(folder / "cut", size);
    if (::testing::Test::HasFatalFailure()) return;
  }
}

// Calls `check(path, round)` for `rounds` seeded mutations of the first `head` bytes of `good`:
// one to four bytes set to something else, half of them to an extreme.
inline void for_each_mutation(
    std::span<const std::byte> good, std::size_t head, int rounds,
    const std::function<void(const std::string& path, int round)>& check) {
  const ScratchFolder folder;
  write_bytes(folder / "mutated", good);
  std::fstream file(folder / "mutated", std::ios::in | std::ios::out | std::ios::binary);
  std::mt19937 random(20240902);
  for (int round = 0; round < rounds; ++round) {
    Bytes bytes(good.begin(), good.end());
    const unsigned changes = 1 + random() % 4;
    for (unsigned i = 0; i < changes; ++i) {
      constexpr std::byte kExtremes[] = {std::byte{0}, std::byte{1}, std::byte{0x7f},
                                         std::byte{0x80}, std::byte{0xff}};
      const std::byte value =
          random() % 2 == 0 ? kExtremes[random() % 5] : static_cast<std::byte>(random() % 256);
      bytes[random() % head] = value;
    }
    file.seekp(0);
    file.write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
    ASSERT_TRUE(file.flush());
    check(folder / "mutated", round);
    if (::testing::Test::HasFatalFailure()) return;
  }
}

// The most memory this process has had so far.
inline std::size_t peak_memory_bytes() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::size_t>(usage.ru_maxrss) * 1024;
}

// A sanitizer keeps what is freed. Asked of the process: these objects may be linked with either.
inline bool memory_is_measurable() { return &__asan_init == nullptr && &__tsan_init == nullptr; }

}  // namespace collegium::core
