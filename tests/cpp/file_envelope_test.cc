#include "collegium/core/file_envelope.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <thread>

#include "collegium/core/bytes.h"
#include "hostile.h"

namespace collegium::core {
namespace {

using ::testing::HasSubstr;

constexpr FileKind kKind = {"test", 2};

std::size_t num_open_files() {
  const std::filesystem::directory_iterator begin("/proc/self/fd"), end;
  return static_cast<std::size_t>(std::distance(begin, end));
}

TEST(FileEnvelope, GivesBackWhatWasWritten) {
  const ScratchFolder folder;
  const std::string large(100'000, 'x');
  for (const std::string& text : {std::string(), std::string("a"), large}) {
    ASSERT_TRUE(write_file_envelope(folder / "f", kKind, bytes_of(text)).ok());
    const auto envelope = read_file_envelope(folder / "f", kKind);
    ASSERT_TRUE(envelope.ok()) << envelope.status().to_string();
    EXPECT_EQ(envelope->version, 2u);
    EXPECT_TRUE(std::ranges::equal(envelope->payload, bytes_of(text)));
    EXPECT_EQ(folder.num_files(), 1u);
  }
}

TEST(FileEnvelope, RelativePathWithoutAFolderWorks) {
  const ScratchFolder folder;
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  const Status status = write_file_envelope("f", kKind, bytes_of("x"));
  std::filesystem::current_path(before);
  EXPECT_TRUE(status.ok()) << status.to_string();
  EXPECT_TRUE(read_file_envelope(folder / "f", kKind).ok());
}

// Written by tests/oracles/make_envelope.py. It must load for ever.
TEST(FileEnvelope, Version1SpecimenLoadsAndIsWrittenTheSame) {
  std::vector<std::byte> payload;
  for (int i = 0; i < 300; ++i) payload.push_back(static_cast<std::byte>(i * 7 % 256));
  const auto envelope = read_file_envelope(test_data("envelope-v1.bin"), {"specimen", 5});
  ASSERT_TRUE(envelope.ok()) << envelope.status().to_string();
  EXPECT_EQ(envelope->version, 3u);
  EXPECT_EQ(envelope->payload, payload);

  const ScratchFolder folder;
  ASSERT_TRUE(write_file_envelope(folder / "f", {"specimen", 3}, payload).ok());
  EXPECT_EQ(read_bytes(folder / "f"), read_bytes(test_data("envelope-v1.bin")));
}

TEST(FileEnvelope, EveryTruncationAndAddedByteIsCorruption) {
  const ScratchFolder folder;
  ASSERT_TRUE(write_file_envelope(folder / "f", kKind, bytes_of("payload of some bytes")).ok());
  Bytes bytes = read_bytes(folder / "f");
  for_each_truncation(bytes, [](const std::string& path, std::size_t size) {
    ASSERT_EQ(read_file_envelope(path, kKind).status().code(), StatusCode::kCorruption)
        << size << " bytes";
  });
  bytes.push_back(std::byte{0});
  write_bytes(folder / "long", bytes);
  EXPECT_EQ(read_file_envelope(folder / "long", kKind).status().code(), StatusCode::kCorruption);
}

TEST(FileEnvelope, EveryBitFlipIsCorruption) {
  const ScratchFolder folder;
  ASSERT_TRUE(write_file_envelope(folder / "f", kKind, bytes_of("payload of some bytes")).ok());
  const Bytes good = read_bytes(folder / "f");
  std::fstream file(folder / "f", std::ios::in | std::ios::out | std::ios::binary);
  const auto set_byte = [&](std::size_t position, std::byte value) {
    file.seekp(static_cast<std::streamoff>(position));
    file.put(static_cast<char>(value));
    ASSERT_TRUE(file.flush());
  };
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    set_byte(bit / 8, good[bit / 8] ^ std::byte{1} << (bit % 8));
    ASSERT_EQ(read_file_envelope(folder / "f", kKind).status().code(), StatusCode::kCorruption)
        << "bit " << bit;
    set_byte(bit / 8, good[bit / 8]);
  }
  EXPECT_TRUE(read_file_envelope(folder / "f", kKind).ok());  // as it was
}

// The specimen with `value` at `offset` of its header and the header's checksum made to match.
template <typename T>
Bytes patched_specimen(std::size_t offset, T value) {
  Bytes bytes = read_bytes(test_data("envelope-v1.bin"));
  std::memcpy(bytes.data() + offset, &value, sizeof value);
  const std::uint64_t checksum = XXH3_64bits(bytes.data(), 32);
  std::memcpy(bytes.data() + 32, &checksum, sizeof checksum);
  return bytes;
}

TEST(FileEnvelope, LengthThatIsNotTheFilesIsCorruptionBeforeAnythingIsAllocated) {
  const ScratchFolder folder;
  for (const std::uint64_t length :
       {std::uint64_t{0}, std::uint64_t{299}, std::uint64_t{301}, std::uint64_t{1} << 40,
        std::uint64_t{1} << 63, ~std::uint64_t{0}, ~std::uint64_t{0} - 47}) {
    write_bytes(folder / "f", patched_specimen(24, length));
    EXPECT_EQ(read_file_envelope(folder / "f", {"specimen", 3}).status().code(),
              StatusCode::kCorruption)
        << length;
  }
}

TEST(FileEnvelope, NewerEnvelopeSaysBothNumbers) {
  const ScratchFolder folder;
  write_bytes(folder / "f", patched_specimen(8, std::uint32_t{2}));
  const Status status = read_file_envelope(folder / "f", {"specimen", 3}).status();
  EXPECT_EQ(status.code(), StatusCode::kNotSupported);
  EXPECT_THAT(status.message(), HasSubstr("has envelope version 2, this build reads up to 1"));
}

TEST(FileEnvelope, AnotherKindIsCorruptionThatNamesBoth) {
  const ScratchFolder folder;
  ASSERT_TRUE(write_file_envelope(folder / "f", {"router", 1}, {}).ok());
  const Status status = read_file_envelope(folder / "f", {"gate", 1}).status();
  EXPECT_EQ(status.code(), StatusCode::kCorruption);
  EXPECT_THAT(status.message(), HasSubstr("'router', not 'gate'"));
}

TEST(FileEnvelope, NewerKindVersionSaysBothNumbersAndOlderOnesAreRead) {
  const ScratchFolder folder;
  ASSERT_TRUE(write_file_envelope(folder / "f", {"router", 3}, bytes_of("x")).ok());
  const Status status = read_file_envelope(folder / "f", {"router", 2}).status();
  EXPECT_EQ(status.code(), StatusCode::kNotSupported);
  EXPECT_THAT(status.message(), HasSubstr("has router version 3, this build reads up to 2"));
  EXPECT_EQ(read_file_envelope(folder / "f", {"router", 7})->version, 3u);
}

TEST(FileEnvelope, WhatIsNoFileIsATypedError) {
  const ScratchFolder folder;
  EXPECT_EQ(read_file_envelope(folder / "missing", kKind).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(read_file_envelope(folder.path(), kKind).status().code(), StatusCode::kIoError);
  EXPECT_EQ(read_file_envelope("/dev/zero", kKind).status().code(), StatusCode::kIoError);
}

TEST(FileEnvelope, MalformedKindsAreRefusedBeforeAnythingIsWritten) {
  const ScratchFolder folder;
  for (const FileKind kind : {FileKind{"", 1}, FileKind{"ninechars", 1}, FileKind{"a b", 1},
                              FileKind{"é", 1}, FileKind{"ok", 0}})
    EXPECT_EQ(write_file_envelope(folder / "f", kind, {}).code(), StatusCode::kInvalidArgument)
        << kind.name;
  EXPECT_EQ(folder.num_files(), 0u);
}

TEST(FileEnvelope, FailedWriteLeavesNoTemporaryAndNoOpenFile) {
  const ScratchFolder folder;
  std::filesystem::create_directory(folder / "taken");
  write_bytes(folder / "taken/inside", {});
  const std::size_t open_files = num_open_files();
  // Fails at the rename, after everything was written.
  EXPECT_FALSE(write_file_envelope(folder / "taken", kKind, bytes_of("x")).ok());
  EXPECT_EQ(write_file_envelope(folder / "no/such/f", kKind, {}).code(), StatusCode::kNotFound);
  EXPECT_EQ(folder.num_files(), 1u);
  EXPECT_EQ(num_open_files(), open_files);
}

// Runs in a child process, so that its limits and mounts are its own. What it returns is its exit
// code.
int in_child(const std::function<int()>& function) {
  const pid_t child = ::fork();
  if (child == 0) std::_Exit(function());
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  return WEXITSTATUS(status);
}

constexpr int kSkip = 100;

// 0 when a write of `bytes` over a good file at `path` fails as a full disk should.
int overwrite_fails_cleanly(const std::string& path, std::size_t bytes) {
  const std::string large(bytes, 'y');
  const Status status = write_file_envelope(path, kKind, bytes_of(large));
  if (status.code() != StatusCode::kResourceExhausted) return 1;
  const auto envelope = read_file_envelope(path, kKind);
  if (!envelope.ok() || !std::ranges::equal(envelope->payload, bytes_of("old"))) return 2;
  const std::filesystem::directory_iterator begin(std::filesystem::path(path).parent_path()), end;
  if (std::distance(begin, end) != 1) return 3;
  return write_file_envelope(path, kKind, bytes_of("new")).ok() ? 0 : 4;
}

TEST(FileEnvelope, FullDiskIsResourceExhaustedAndTheOldFileSurvives) {
  const ScratchFolder folder;
  const int code = in_child([&] {
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", folder.path().c_str(), "tmpfs", 0, "size=65536") != 0)
      return kSkip;
    if (!write_file_envelope(folder / "f", kKind, bytes_of("old")).ok()) return 10;
    return overwrite_fails_cleanly(folder / "f", 200'000);
  });
  if (code == kSkip) GTEST_SKIP() << "may not mount a tmpfs here";
  EXPECT_EQ(code, 0);
}

TEST(FileEnvelope, FileSizeLimitIsResourceExhaustedAndTheOldFileSurvives) {
  const ScratchFolder folder;
  ASSERT_TRUE(write_file_envelope(folder / "f", kKind, bytes_of("old")).ok());
  EXPECT_EQ(in_child([&] {
              ::signal(SIGXFSZ, SIG_IGN);
              const rlimit limit{65536, 65536};
              if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 10;
              return overwrite_fails_cleanly(folder / "f", 200'000);
            }),
            0);
}

// Readers see one whole file or the other, whenever they look.
TEST(FileEnvelope, ReadersNeverSeeAHalfWrittenFile) {
  const ScratchFolder folder;
  const std::string texts[] = {std::string(50'000, 'a'), std::string(70'000, 'b')};
  ASSERT_TRUE(write_file_envelope(folder / "f", kKind, bytes_of(texts[0])).ok());
  std::vector<std::thread> writers;
  for (const auto& text : texts)
    writers.emplace_back([&folder, &text] {
      for (int i = 0; i < 20; ++i)
        EXPECT_TRUE(write_file_envelope(folder / "f", kKind, bytes_of(text)).ok());
    });
  for (int i = 0; i < 200; ++i) {
    const auto envelope = read_file_envelope(folder / "f", kKind);
    ASSERT_TRUE(envelope.ok()) << envelope.status().to_string();
    ASSERT_TRUE(std::ranges::equal(envelope->payload, bytes_of(texts[0])) ||
                std::ranges::equal(envelope->payload, bytes_of(texts[1])));
  }
  for (auto& writer : writers) writer.join();
  EXPECT_EQ(folder.num_files(), 1u);
}

// Values of Python's xxhash, printed by tests/oracles/make_envelope.py.
TEST(Digest, IsXxh3OfAllBytesHoweverTheyAreCut) {
  EXPECT_EQ(digest_hex({}), "99aa06d3014798d86001c324468d497f");
  EXPECT_EQ(digest_hex(bytes_of("collegium")), "96dd4b660da6e3b70ec07bec72e95e3a");
  std::vector<std::byte> payload;
  for (int i = 0; i < 300; ++i) payload.push_back(static_cast<std::byte>(i * 7 % 256));
  for (const std::size_t cut : {1u, 7u, 128u, 300u}) {
    Digest digest;
    for (std::size_t i = 0; i < payload.size(); i += cut)
      digest.update(std::span(payload).subspan(i, std::min(cut, payload.size() - i)));
    EXPECT_EQ(digest.hex(), "366a6c90343f6288e2558afb5598da2a") << cut;
  }
}

}  // namespace
}  // namespace collegium::core
