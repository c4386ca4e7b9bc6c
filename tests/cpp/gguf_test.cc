#include "collegium/core/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>

#include "collegium/core/bytes.h"
#include "collegium/core/file_envelope.h"
#include "hostile.h"
#include "io/json_file.h"

namespace collegium::core {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Builds files by hand, well-formed or not.
struct Builder {
  ByteWriter writer;

  Builder(std::uint64_t tensors, std::uint64_t entries, std::uint32_t version = 3) {
    writer.write_bytes(bytes_of("GGUF"));
    writer.write(version);
    writer.write(tensors);
    writer.write(entries);
  }
  Builder& entry(std::string_view key, GgufValueType type) {
    writer.write_string(key);
    return u32(static_cast<std::uint32_t>(type));
  }
  Builder& array(GgufValueType type, std::uint64_t count) {
    return u32(static_cast<std::uint32_t>(type)).u64(count);
  }
  Builder& tensor(std::string_view name, std::vector<std::uint64_t> dims, std::uint32_t type,
                  std::uint64_t offset) {
    writer.write_string(name);
    writer.write(static_cast<std::uint32_t>(dims.size()));
    for (const auto dim : dims) writer.write(dim);
    return u32(type).u64(offset);
  }
  Builder& u32(std::uint32_t value) {
    writer.write(value);
    return *this;
  }
  Builder& u64(std::uint64_t value) {
    writer.write(value);
    return *this;
  }
  Builder& data(std::size_t bytes, std::size_t alignment = 32) {
    while (writer.bytes().size() % alignment != 0) writer.write<std::uint8_t>(0);
    for (std::size_t i = 0; i < bytes; ++i) writer.write<std::uint8_t>(1);
    return *this;
  }
  Status status() const {
    const ScratchFolder folder;
    write_bytes(folder / "m.gguf", writer.bytes());
    return GgufFile::open(folder / "m.gguf").status();
  }
};

void expect_corruption(const Builder& builder, std::string_view message) {
  const Status status = builder.status();
  EXPECT_EQ(status.code(), StatusCode::kCorruption) << message << ": " << status.to_string();
  EXPECT_THAT(status.message(), HasSubstr(message));
  EXPECT_THAT(status.message(), HasSubstr("m.gguf"));
}

// Every tensor as tests/oracles/make_gguf.py saw it.
void expect_equal_to_golden(const GgufFile& file, const JsonValue& golden) {
  std::size_t num_tensors = 0;
  const auto check = [&](std::string_view name, const JsonValue& entry) -> Status {
    ++num_tensors;
    COLLEGIUM_ASSIGN_OR_RETURN(const auto tensor, file.find(name));
    EXPECT_EQ(ggml_type_name(tensor.type), *entry.get_string("type")) << name;
    COLLEGIUM_ASSIGN_OR_RETURN(const auto shape, entry.get("shape")->as_array(4));
    EXPECT_EQ(tensor.shape.size(), shape.size()) << name;
    for (std::size_t i = 0; i < shape.size(); ++i)
      EXPECT_EQ(tensor.shape.at(i), *shape[i].as_unsigned()) << name;
    EXPECT_EQ(digest_hex(tensor.bytes), *entry.get_string("bytes")) << name;
    const auto values = file.read_float(name, tensor.shape);
    if (entry.has("float32")) {
      EXPECT_TRUE(values.ok()) << values.status().to_string();
      EXPECT_EQ(digest_hex(std::as_bytes(std::span(*values))), *entry.get_string("float32"))
          << name;
    } else {
      EXPECT_EQ(values.status().code(), StatusCode::kNotSupported) << name;
    }
    return {};
  };
  const auto tensors = golden.get("tensors");
  ASSERT_TRUE(tensors.ok());
  const Status status = tensors->for_each_field(check);
  EXPECT_TRUE(status.ok()) << status.to_string();
  EXPECT_EQ(file.tensors().size(), num_tensors);
}

class SmallGguf : public ::testing::Test {
 protected:
  void SetUp() override {
    auto opened = GgufFile::open(test_data("small.gguf"));
    ASSERT_TRUE(opened.ok()) << opened.status().to_string();
    file = std::make_unique<GgufFile>(*std::move(opened));
    auto parsed = JsonDocument::open(test_data("gguf.json"));
    ASSERT_TRUE(parsed.ok()) << parsed.status().to_string();
    golden = std::make_unique<JsonDocument>(*std::move(parsed));
  }
  std::unique_ptr<GgufFile> file;
  std::unique_ptr<JsonDocument> golden;
};

TEST_F(SmallGguf, TensorsAreDequantizedToTheBitAsThePackageDoes) {
  expect_equal_to_golden(*file, golden->root());
}

TEST_F(SmallGguf, MetadataIsWhatThePackageReads) {
  EXPECT_EQ(file->version(), 3u);
  EXPECT_EQ(file->alignment(), 64u);
  EXPECT_EQ(*file->get_string("general.architecture"), "llama");
  const JsonValue values = *golden->root().get("metadata");
  for (const char* key : {"v.uint8", "v.uint16", "v.uint32", "v.uint64"})
    EXPECT_EQ(*file->get_unsigned(key), *values.get_unsigned(key)) << key;
  for (const char* key : {"v.uint8", "v.int8", "v.int16", "v.int32", "v.int64"})
    EXPECT_EQ(static_cast<double>(*file->get_integer(key)), *values.get_number(key)) << key;
  for (const char* key : {"v.float32", "v.float64", "v.int8", "v.int64", "v.uint64"})
    EXPECT_EQ(*file->get_number(key), *values.get_number(key)) << key;
  EXPECT_TRUE(*file->get_bool("v.true"));
  EXPECT_FALSE(*file->get_bool("v.false"));
  EXPECT_EQ(*file->get_string("v.string"), *values.get_string("v.string"));
  const auto strings = *file->get_strings("a.strings");
  const auto expected = *values.get("a.strings")->as_array(100);
  ASSERT_EQ(strings.size(), expected.size());
  for (std::size_t i = 0; i < strings.size(); ++i) EXPECT_EQ(strings[i], *expected[i].as_string());
  EXPECT_THAT(*file->get_integers("a.integers"), ElementsAre(1, -2, 3));
  EXPECT_THAT(*file->get_numbers("a.integers"), ElementsAre(1, -2, 3));
  EXPECT_THAT(*file->get_numbers("a.floats"), ElementsAre(0.5, -1.25));
  EXPECT_EQ(file->value("a.nested")->element_type, GgufValueType::kArray);
  EXPECT_EQ(file->value("a.nested")->count, 2u);
}

TEST_F(SmallGguf, WrongTypesAndMissingKeysSayWhatIsThere) {
  const Status wrong = file->get_string("v.uint8").status();
  EXPECT_EQ(wrong.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(wrong.message(), HasSubstr("v.uint8 is uint8, not a string"));
  const Status array = file->get_integers("a.strings").status();
  EXPECT_EQ(array.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(array.message(), HasSubstr("a.strings is array of string, not an array of integers"));
  EXPECT_EQ(file->get_unsigned("v.int8").status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(file->get_integer("v.uint64").status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(file->get_unsigned("v.float32").status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(file->get_bool("v.uint8").status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(file->get_strings("v.string").status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(file->get_integers("a.nested").status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(file->get_integers("a.floats").status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(file->get_string("absent").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(file->find("absent").status().code(), StatusCode::kNotFound);
  EXPECT_FALSE(file->has("absent"));
}

TEST_F(SmallGguf, RowsAreTheTensorsBytesInOrder) {
  for (const auto& [name, tensor] : file->tensors()) {
    const std::size_t shape_product = tensor.num_rows() * tensor.row_numbers();
    if (!can_dequantize(tensor.type)) continue;
    const auto whole = *file->read_float(name, tensor.shape);
    ASSERT_EQ(whole.size(), shape_product);
    std::vector<float> row(tensor.row_numbers());
    for (std::size_t i = 0; i < tensor.num_rows(); ++i) {
      dequantize(tensor.type, tensor.row(i).data(), row.size(), row.data());
      ASSERT_EQ(std::memcmp(row.data(), whole.data() + i * row.size(), row.size() * 4), 0) << name;
    }
    EXPECT_EQ((tensor.bytes.data() - file->bytes().data()) %
                  static_cast<std::ptrdiff_t>(file->alignment()),
              0)
        << name;
  }
}

TEST_F(SmallGguf, TypesNotReadAreNotSupportedOnlyWhenTheirNumbersAreAskedFor) {
  EXPECT_TRUE(file->find("refused.Q2_K").ok());
  const Status status =
      file->read_float("refused.Q2_K", file->find("refused.Q2_K")->shape).status();
  EXPECT_EQ(status.code(), StatusCode::kNotSupported);
  EXPECT_THAT(status.message(), HasSubstr("tensor 'refused.Q2_K' is Q2_K, only"));
  const std::size_t shape[] = {64, 3};
  const Status wrong = file->find("plain.Q4_1", shape).status();
  EXPECT_EQ(wrong.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(wrong.message(), HasSubstr("has shape (3, 64), not (64, 3)"));
}

// 48 blocks of random bytes of each quantised type: every code, scale and minimum there is.
TEST(Gguf, RandomBlocksAreDequantizedToTheBitAsThePackageDoes) {
  const auto file = GgufFile::open(test_data("quants.gguf"));
  ASSERT_TRUE(file.ok()) << file.status().to_string();
  const auto golden = JsonDocument::open(test_data("quants.json"));
  ASSERT_TRUE(golden.ok()) << golden.status().to_string();
  EXPECT_EQ(file->tensors().size(), 8u);
  expect_equal_to_golden(*file, golden->root());
}

TEST(Gguf, RowsThatCutASuperBlockAreCorruption) {
  expect_corruption(Builder(1, 0).tensor("a", {128, 2}, 14, 0).data(210),
                    "no multiple of Q6_K's block of 256");
  expect_corruption(Builder(1, 0).tensor("a", {256, 2}, 12, 0).data(287), "ends beyond");
  expect_corruption(Builder(1, 0).tensor("a", {256, 1ull << 60}, 13, 0).data(64), "64 bits");
  expect_corruption(Builder(1, 0).tensor("a", {16}, 6, 0).data(64), "no multiple of Q5_0's block");
}

TEST(Gguf, SlowSmolLm2IsDequantizedToTheBitAsThePackageDoes) {
  const char* path = std::getenv("COLLEGIUM_SMOLLM2");
  if (path == nullptr) GTEST_SKIP() << "COLLEGIUM_SMOLLM2 names no model file";
  const auto file = GgufFile::open(path);
  ASSERT_TRUE(file.ok()) << file.status().to_string();
  const auto golden = JsonDocument::open(test_data("smollm2-tensors.json"));
  ASSERT_TRUE(golden.ok()) << golden.status().to_string();
  expect_equal_to_golden(*file, golden->root());
}

TEST(Gguf, Version2IsReadAndOthersAreNotSupportedWithBothNumbers) {
  EXPECT_TRUE(Builder(0, 0, 2).status().ok());
  EXPECT_TRUE(Builder(0, 0, 3).status().ok());
  for (const std::uint32_t version : {0u, 1u, 4u}) {
    const Status status = Builder(0, 0, version).status();
    EXPECT_EQ(status.code(), StatusCode::kNotSupported);
    EXPECT_THAT(status.message(), HasSubstr("has GGUF version " + std::to_string(version) +
                                            ", this build reads 2 to 3"));
  }
  const Status big_endian = Builder(0, 0, 0x03000000).status();
  EXPECT_EQ(big_endian.code(), StatusCode::kNotSupported);
  EXPECT_THAT(big_endian.message(), HasSubstr("big-endian"));
}

TEST(Gguf, CountsAndLengthsBeyondTheFileAreCorruption) {
  using Type = GgufValueType;
  constexpr std::uint64_t kHuge = std::uint64_t{1} << 62;
  expect_corruption(Builder(kHuge, 0), "tensors do not fit");
  expect_corruption(Builder(0, kHuge), "metadata entries do not fit");
  expect_corruption(Builder(0, ~std::uint64_t{0}), "metadata entries do not fit");
  expect_corruption(Builder(0, 1).u64(kHuge).u64(0).u64(0),
                    "a metadata key of 4611686018427387904");
  expect_corruption(Builder(0, 1).entry("key", Type::kString).u64(~std::uint64_t{0}),
                    "ends within a string");
  expect_corruption(Builder(0, 1).entry("key", Type::kArray).array(Type::kUint64, kHuge),
                    "array of 4611686018427387904 elements");
  expect_corruption(Builder(0, 1).entry("key", Type::kArray).array(Type::kUint64, 2).u64(0),
                    "ends within a value");
  expect_corruption(Builder(0, 1).entry("key", Type::kArray).array(Type::kString, 2).u64(0).u32(0),
                    "ends within a string");
  expect_corruption(Builder(1, 0).u64(100'000).data(4000), "a tensor's name of 100000 bytes");
  expect_corruption(Builder(1, 0).tensor("t", {1, 1, 1, 1, 1}, 0, 0).data(64), "5 dimensions");
}

TEST(Gguf, UnknownValueTypesDuplicatesAndBadNamesAreCorruption) {
  using Type = GgufValueType;
  expect_corruption(Builder(0, 1).entry("key", static_cast<Type>(13)).u64(0), "value type 13");
  expect_corruption(Builder(0, 1).entry("key", Type::kArray).array(static_cast<Type>(99), 0),
                    "value type 99");
  expect_corruption(Builder(0, 2).entry("k", Type::kUint32).u32(1).entry("k", Type::kUint32).u32(1),
                    "'k' comes twice");
  expect_corruption(Builder(0, 1).entry("\xff", Type::kUint32).u32(1), "is not UTF-8");
  expect_corruption(Builder(2, 0).tensor("t", {1}, 0, 0).tensor("t", {1}, 0, 32).data(64),
                    "'t' comes twice");
}

TEST(Gguf, ArraysNestedTooDeeplyAreCorruption) {
  const auto nested = [](int depth) {
    Builder builder(0, 1);
    builder.entry("key", GgufValueType::kArray);
    for (int i = 1; i < depth; ++i) builder.array(GgufValueType::kArray, 1);
    builder.array(GgufValueType::kUint32, 1).u32(0);
    return builder;
  };
  EXPECT_TRUE(nested(4).status().ok());
  expect_corruption(nested(5), "nested deeper than 4");
  expect_corruption(nested(100'000), "nested deeper than 4");
}

TEST(Gguf, TensorsMustLieWithinTheDataAlignedAndApart) {
  EXPECT_TRUE(
      Builder(2, 0).tensor("a", {8}, 0, 32).tensor("b", {4, 2}, 0, 0).data(64).status().ok());
  expect_corruption(Builder(1, 0).tensor("a", {8}, 0, 0).data(31), "ends beyond the 31 bytes");
  expect_corruption(Builder(1, 0).tensor("a", {8}, 0, 64).data(64), "ends beyond");
  expect_corruption(Builder(1, 0).tensor("a", {8}, 0, ~std::uint64_t{31}).data(64), "ends beyond");
  expect_corruption(Builder(1, 0).tensor("a", {8}, 0, 4).data(64), "no multiple of the alignment");
  expect_corruption(Builder(2, 0).tensor("a", {9}, 0, 0).tensor("b", {8}, 0, 32).data(64),
                    "'b' at 32 overlaps the one before, which ends at 36");
  expect_corruption(Builder(1, 0).tensor("a", {33}, 8, 0).data(64), "no multiple of Q8_0's block");
  expect_corruption(Builder(1, 0).tensor("a", {0}, 0, 0).data(64), "a dimension of 0");
  expect_corruption(Builder(1, 0).tensor("a", {1ull << 32, 1ull << 32}, 0, 0).data(64), "64 bits");
  expect_corruption(Builder(1, 0).tensor("a", {1ull << 62}, 0, 0).data(64), "64 bits");
}

TEST(Gguf, TensorOfATypeNobodyKnowsIsCarriedButNotRead) {
  const ScratchFolder folder;
  const Builder builder =
      Builder(2, 0).tensor("new", {7}, 1000, 0).tensor("old", {8}, 0, 32).data(64);
  write_bytes(folder / "m.gguf", builder.writer.bytes());
  const auto file = GgufFile::open(folder / "m.gguf");
  ASSERT_TRUE(file.ok()) << file.status().to_string();
  const std::size_t seven[] = {7};
  const std::size_t eight[] = {8};
  const Status status = file->read_float("new", seven).status();
  EXPECT_EQ(status.code(), StatusCode::kNotSupported);
  EXPECT_THAT(status.message(), HasSubstr("type 1000"));
  EXPECT_TRUE(file->read_float("old", eight).ok());
}

TEST(Gguf, AlignmentMustBeAPowerOfTwoInUint32) {
  using Type = GgufValueType;
  for (const std::uint32_t alignment : {0u, 24u, 33u, 1u << 31})
    expect_corruption(Builder(0, 1).entry("general.alignment", Type::kUint32).u32(alignment),
                      "must be a power of two");
  expect_corruption(Builder(0, 1).entry("general.alignment", Type::kUint64).u64(32),
                    "must be uint32");
  EXPECT_TRUE(Builder(1, 1)
                  .entry("general.alignment", Type::kUint32)
                  .u32(8)
                  .tensor("a", {2}, 0, 8)
                  .data(16, 8)
                  .status()
                  .ok());
}

TEST(Gguf, StringsThatAreNotUtf8AndBoolsThatAreNotBoolsAreCorruption) {
  using Type = GgufValueType;
  const ScratchFolder folder;
  Builder builder(0, 2);
  builder.entry("text", Type::kString).writer.write_string("\xc3");
  builder.entry("flag", Type::kBool).writer.write<std::uint8_t>(2);
  write_bytes(folder / "m.gguf", builder.writer.bytes());
  const auto file = GgufFile::open(folder / "m.gguf");
  ASSERT_TRUE(file.ok()) << file.status().to_string();
  EXPECT_EQ(file->get_string("text").status().code(), StatusCode::kCorruption);
  EXPECT_EQ(file->get_bool("flag").status().code(), StatusCode::kCorruption);
}

TEST(Gguf, EveryTruncationIsCorruption) {
  const Bytes good = read_bytes(test_data("small.gguf"));
  // The writer pads the last tensor, 24 bytes of int32, to the alignment of 64.
  const std::size_t needed = good.size() - (64 - 24);
  for_each_truncation(good, [&](const std::string& path, std::size_t size) {
    ASSERT_EQ(GgufFile::open(path).status().code(),
              size < needed ? StatusCode::kCorruption : StatusCode::kOk)
        << size << " bytes";
  });
}

// The format has no checksum: a damaged file is refused, or all it hands out is readable.
TEST(Gguf, MutationsAreTypedErrorsOrReadableWithinBoundedMemory) {
  const Bytes good = read_bytes(test_data("small.gguf"));
  const auto unharmed = GgufFile::open(test_data("small.gguf"));
  ASSERT_TRUE(unharmed.ok());
  std::size_t head = good.size();  // metadata and tensor table, up to the first tensor
  for (const auto& [name, tensor] : unharmed->tensors())
    head = std::min<std::size_t>(
        head, static_cast<std::size_t>(tensor.bytes.data() - unharmed->bytes().data()));
  const std::size_t before = peak_memory_bytes();
  int refused = 0;
  const int rounds = 6000;
  for_each_mutation(good, head, rounds, [&](const std::string& path, int round) {
    const auto file = GgufFile::open(path);
    if (!file.ok()) {
      ++refused;
      ASSERT_TRUE(file.status().code() == StatusCode::kCorruption ||
                  file.status().code() == StatusCode::kNotSupported)
          << round << " " << file.status().to_string();
      return;
    }
    for (const auto& [key, value] : file->metadata()) {
      static_cast<void>(digest_hex(value.bytes));  // touches every byte
      static_cast<void>(file->get_unsigned(key).ok());
      static_cast<void>(file->get_integer(key).ok());
      static_cast<void>(file->get_number(key).ok());
      static_cast<void>(file->get_bool(key).ok());
      static_cast<void>(file->get_string(key).ok());
      static_cast<void>(file->get_integers(key).ok());
      static_cast<void>(file->get_numbers(key).ok());
      static_cast<void>(file->get_strings(key).ok());
    }
    for (const auto& [name, tensor] : file->tensors()) {
      const auto values = file->read_float(name, tensor.shape);
      ASSERT_TRUE(values.ok() || values.status().code() == StatusCode::kNotSupported) << round;
    }
  });
  EXPECT_GT(refused, rounds / 4);
  EXPECT_LT(refused, rounds);
  if (memory_is_measurable()) {
    EXPECT_LT(peak_memory_bytes() - before, std::size_t{32} << 20);
  }
}

}  // namespace
}  // namespace collegium::core
