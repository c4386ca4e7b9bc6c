#include "io/mapped_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>

#include "scratch_folder.h"

namespace collegium::core {
namespace {

TEST(MappedFile, HoldsTheFilesBytesEvenAfterItIsReplaced) {
  const ScratchFolder folder;
  write_bytes(folder / "a", bytes_of("first"));
  auto file = MappedFile::open(folder / "a");
  ASSERT_TRUE(file.ok()) << file.status().to_string();
  write_bytes(folder / "b", bytes_of("second"));
  std::filesystem::rename(folder / "b", folder / "a");
  const MappedFile moved = *std::move(file);
  EXPECT_TRUE(std::ranges::equal(moved.bytes(), bytes_of("first")));
  EXPECT_EQ(moved.path(), folder / "a");
}

TEST(MappedFile, EmptyFileHasNoBytes) {
  const ScratchFolder folder;
  write_bytes(folder / "empty", {});
  const auto file = MappedFile::open(folder / "empty");
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE(file->bytes().empty());
}

TEST(MappedFile, WhatIsNoRegularFileIsATypedErrorThatNamesThePath) {
  const ScratchFolder folder;
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(MappedFile::open(folder / "missing").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(MappedFile::open(folder.path()).status().code(), StatusCode::kIoError);
  EXPECT_EQ(MappedFile::open("/dev/null").status().code(), StatusCode::kIoError);
  // Would wait for a writer for ever if opened like a file.
  EXPECT_EQ(MappedFile::open(folder / "pipe").status().code(), StatusCode::kIoError);
  EXPECT_NE(MappedFile::open(folder / "missing").status().message().find(folder / "missing"),
            std::string::npos);
}

}  // namespace
}  // namespace collegium::core
