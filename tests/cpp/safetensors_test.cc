#include "collegium/core/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "collegium/core/bytes.h"
#include "collegium/core/file_envelope.h"
#include "hostile.h"
#include "io/json_file.h"

namespace collegium::core {
namespace {

using ::testing::HasSubstr;

// The file of a header and its data.
Bytes file_of(std::string_view header, std::string_view data) {
  ByteWriter writer;
  writer.write_string(header);
  writer.write_bytes(bytes_of(data));
  return writer.bytes();
}

Status open_status(const Bytes& bytes) {
  const ScratchFolder folder;
  write_bytes(folder / "m.safetensors", bytes);
  return SafeTensors::open(folder / "m.safetensors").status();
}

Status open_status(std::string_view header, std::string_view data = "") {
  return open_status(file_of(header, data));
}

// Every tensor as tests/oracles/make_safetensors.py saw it.
void expect_equal_to_golden(const std::string& model, const std::string& golden) {
  const auto file = SafeTensors::open(model);
  ASSERT_TRUE(file.ok()) << file.status().to_string();
  const auto document = JsonDocument::open(golden);
  ASSERT_TRUE(document.ok()) << document.status().to_string();
  const JsonValue root = document->root();

  std::size_t num_metadata = 0;
  EXPECT_TRUE(root.get("metadata")
                  ->for_each_field([&](std::string_view key, const JsonValue& value) {
                    ++num_metadata;
                    EXPECT_EQ(file->metadata().at(std::string(key)), *value.as_string());
                    return Status();
                  })
                  .ok());
  EXPECT_EQ(file->metadata().size(), num_metadata);

  std::size_t num_tensors = 0;
  const auto check = [&](std::string_view name, const JsonValue& entry) -> Status {
    ++num_tensors;
    COLLEGIUM_ASSIGN_OR_RETURN(const auto tensor, file->find(name));
    EXPECT_EQ(tensor_type_name(tensor.type), *entry.get_string("dtype")) << name;
    COLLEGIUM_ASSIGN_OR_RETURN(const auto shape, entry.get("shape")->as_array(16));
    EXPECT_EQ(tensor.shape.size(), shape.size()) << name;
    for (std::size_t i = 0; i < shape.size(); ++i)
      EXPECT_EQ(tensor.shape.at(i), *shape[i].as_unsigned()) << name;
    EXPECT_EQ(digest_hex(tensor.bytes), *entry.get_string("bytes")) << name;
    const auto values = file->read_float(name, tensor.shape);
    if (entry.has("float32")) {
      EXPECT_TRUE(values.ok()) << values.status().to_string();
      EXPECT_EQ(digest_hex(std::as_bytes(std::span(*values))), *entry.get_string("float32"))
          << name;
    } else {
      EXPECT_EQ(values.status().code(), StatusCode::kNotSupported) << name;
    }
    return {};
  };
  const Status status = root.get("tensors")->for_each_field(check);
  EXPECT_TRUE(status.ok()) << status.to_string();
  EXPECT_EQ(file->tensors().size(), num_tensors);
}

TEST(SafeTensors, ReadsEveryTypeAsThePackageDoes) {
  expect_equal_to_golden(test_data("small.safetensors"), test_data("safetensors.json"));
}

TEST(SafeTensors, ReadsMiniLmAsThePackageDoes) {
  const char* folder = std::getenv("COLLEGIUM_MINILM");
  if (folder == nullptr) GTEST_SKIP() << "COLLEGIUM_MINILM names no model folder";
  expect_equal_to_golden(std::string(folder) + "/model.safetensors",
                         test_data("minilm-tensors.json"));
}

TEST(SafeTensors, MessagesNameFileTensorAndBothShapes) {
  const auto file = SafeTensors::open(test_data("small.safetensors"));
  ASSERT_TRUE(file.ok());
  const Status missing = file->find("no.such").status();
  EXPECT_EQ(missing.code(), StatusCode::kNotFound);
  EXPECT_THAT(missing.message(), HasSubstr("small.safetensors: has no tensor 'no.such'"));
  const std::size_t shape[] = {5, 3};
  const Status wrong = file->read_float("numbers.F32", shape).status();
  EXPECT_EQ(wrong.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(wrong.message(), HasSubstr("'numbers.F32' has shape (3, 5), not (5, 3)"));
}

TEST(SafeTensors, MissingFileIsNotFound) {
  EXPECT_EQ(SafeTensors::open("/no/such/file").status().code(), StatusCode::kNotFound);
}

TEST(SafeTensors, NoTensorsAndPaddedHeaderAreFine) {
  EXPECT_TRUE(open_status("{}").ok());
  EXPECT_TRUE(open_status("{}      ").ok());
  EXPECT_TRUE(open_status(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", "xy").ok());
}

TEST(SafeTensors, MalformedHeadersAreCorruption) {
  const std::pair<const char*, const char*> headers[] = {
      {"[]", "not a JSON object"},
      {"", "not a JSON object"},
      {" {}", "not a JSON object"},
      {"{", "not JSON"},
      {"{}{}", "not JSON"},
      {"{\"\xff\": 1}", "not JSON"},
      {R"({"a": 1})", "must be an object"},
      {R"({"__metadata__": {"a": 1}})", "must be a string"},
      {R"({"__metadata__": {"a": "1", "a": "2"}})", "twice"},
      {R"({"a":{"dtype":"U8","shape":[1]}})", "no key 'data_offsets'"},
      {R"({"a":{"dtype":"U8","data_offsets":[0,1]}})", "no key 'shape'"},
      {R"({"a":{"shape":[1],"data_offsets":[0,1]}})", "no key 'dtype'"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}})", "unknown key 'x'"},
      {R"({"a":{"dtype":1,"shape":[1],"data_offsets":[0,1]}})", "must be a string"},
      {R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})", "whole number"},
      {R"({"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}})", "whole number"},
      {R"({"a":{"dtype":"U8","shape":1,"data_offsets":[0,1]}})", "must be an array"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}})", "must have 2"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}})", "more than 2"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}})", "no part of"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,99]}})", "no part of"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,1]}})", "need 4"},
      {R"({"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,1]}})", "64 bits"},
      {R"({"a":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}})", "64 bits"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
       R"("a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
       "twice"},
      {R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
       R"("b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
       "overlap"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
       R"("b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})",
       "leave a gap"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", "leave a gap"},
      {R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", "end at byte 2 of 3"},
  };
  for (const auto& [header, message] : headers) {
    const Status status = open_status(header, "xyz");
    EXPECT_EQ(status.code(), StatusCode::kCorruption) << header << " " << status.to_string();
    EXPECT_THAT(status.message(), HasSubstr(message)) << header;
    EXPECT_THAT(status.message(), HasSubstr("m.safetensors")) << header;
  }
}

TEST(SafeTensors, UnknownDtypeIsNotSupportedByName) {
  const Status status =
      open_status(R"({"a":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}})", "x");
  EXPECT_EQ(status.code(), StatusCode::kNotSupported);
  EXPECT_THAT(status.message(), HasSubstr("dtype 'F4'"));
}

TEST(SafeTensors, HeaderLengthsBeyondFileOrLimitAreCorruption) {
  for (const std::uint64_t length :
       {std::uint64_t{3}, std::uint64_t{100'000'000}, std::uint64_t{100'000'001},
        std::uint64_t{1} << 63, ~std::uint64_t{0}}) {
    ByteWriter writer;
    writer.write(length);
    writer.write_bytes(bytes_of("{}"));
    EXPECT_EQ(open_status(writer.bytes()).code(), StatusCode::kCorruption) << length;
  }
}

TEST(SafeTensors, EveryTruncationIsCorruption) {
  for_each_truncation(read_bytes(test_data("small.safetensors")), [](const std::string& path,
                                                                     std::size_t size) {
    ASSERT_EQ(SafeTensors::open(path).status().code(), StatusCode::kCorruption) << size << " bytes";
  });
}

// The format has no checksum: a damaged file is refused, or every tensor it hands out is readable.
TEST(SafeTensors, MutationsAreTypedErrorsOrReadableWithinBoundedMemory) {
  const Bytes good = read_bytes(test_data("small.safetensors"));
  std::uint64_t header_bytes = 0;
  ASSERT_TRUE(ByteReader(good).read(header_bytes));
  const std::size_t before = peak_memory_bytes();
  int refused = 0;
  const int rounds = 4000;
  for_each_mutation(good, 8 + header_bytes, rounds, [&](const std::string& path, int round) {
    const auto file = SafeTensors::open(path);
    if (!file.ok()) {
      ++refused;
      ASSERT_TRUE(file.status().code() == StatusCode::kCorruption ||
                  file.status().code() == StatusCode::kNotSupported)
          << round << " " << file.status().to_string();
      return;
    }
    for (const auto& [name, tensor] : file->tensors()) {
      ASSERT_EQ(tensor.num_elements() * tensor_type_bytes(tensor.type), tensor.bytes.size());
      static_cast<void>(digest_hex(tensor.bytes));  // touches every byte
      const auto values = file->read_float(name, tensor.shape);
      ASSERT_TRUE(values.ok() || values.status().code() == StatusCode::kNotSupported) << round;
    }
  });
  EXPECT_GT(refused, rounds / 2);
  EXPECT_LT(refused, rounds);
  if (memory_is_measurable()) {
    EXPECT_LT(peak_memory_bytes() - before, std::size_t{32} << 20);
  }
}

}  // namespace
}  // namespace collegium::core
