#include "collegium/core/status.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace collegium::core {
namespace {

Result<int> half(int value) {
  if (value % 2 != 0)
    return Status::invalid_argument("value: " + std::to_string(value) + " is odd");
  return value / 2;
}

Result<int> quarter(int value) {
  COLLEGIUM_ASSIGN_OR_RETURN(const int h, half(value));
  return half(h);
}

TEST(Status, CarriesCodeMessageAndContext) {
  const Status status = Status::not_found("no collection 'law'").with_context("ask");
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_EQ(status.to_string(), "not_found: ask: no collection 'law'");
  EXPECT_TRUE(Status().with_context("x").ok());
}

TEST(Status, DiskFullIsItsOwnKind) {
  EXPECT_EQ(Status::from_errno(ENOSPC, "write").code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(Status::from_errno(ENOENT, "open").code(), StatusCode::kNotFound);
  EXPECT_EQ(Status::from_errno(EACCES, "open").code(), StatusCode::kIoError);
}

TEST(Result, MacrosPassFailuresOn) {
  EXPECT_EQ(*quarter(8), 2);
  EXPECT_EQ(quarter(6).status().message(), "value: 3 is odd");
}

TEST(Result, NeverTurnsAnOkStatusIntoAValue) {
  const Result<int> result = Status();
  EXPECT_EQ(result.status().code(), StatusCode::kInternal);
}

}  // namespace
}  // namespace collegium::core
