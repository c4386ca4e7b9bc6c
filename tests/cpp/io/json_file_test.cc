#include "io/json_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "scratch_folder.h"

namespace collegium::core {
namespace {

using ::testing::HasSubstr;

Result<JsonDocument> parse(std::string_view text) {
  return JsonDocument::parse(bytes_of(text), "x.json");
}

// Real tokenizer_config.json files have model_max_length 1000000000000000019884624838656.
TEST(JsonFile, ReadsIntegersBeyond64BitsAsTheNearestDouble) {
  const auto document = parse(
      R"({"big": 1000000000000000019884624838656, "low": -9223372036854775809, "list":
          [99999999999999999999], "most": 18446744073709551615, "least": -9223372036854775808,
          "text": "\"1000000000000000019884624838656\\", "float": 123456789012345678901234.5e3})");
  ASSERT_TRUE(document.ok()) << document.status().to_string();
  const JsonValue root = document->root();
  EXPECT_EQ(*root.get_number("big"), 1e30);
  EXPECT_EQ(root.get_unsigned("big").status().code(), StatusCode::kCorruption);
  EXPECT_EQ(*root.get_number("low"), -9223372036854775808.0);
  EXPECT_EQ(*root.get_unsigned("most"), 18446744073709551615u);
  EXPECT_EQ(*root.get_string("text"), "\"1000000000000000019884624838656\\");
  EXPECT_EQ(*root.get_number("float"), 123456789012345678901234.5e3);
  EXPECT_FALSE(parse("[1000000000000000019884624838656").ok());
  EXPECT_FALSE(parse("[100000000000000000000.]").ok());
  EXPECT_FALSE(parse("[01000000000000000000000]").ok());
}

TEST(JsonFile, AnEmptyTextIsNoJson) {
  EXPECT_EQ(parse("").status().code(), StatusCode::kCorruption);
  EXPECT_THAT(parse("").status().message(), HasSubstr("x.json: is not JSON: it is empty"));
}

TEST(JsonFile, GivesTypedValuesByKey) {
  const auto document =
      parse(R"({"name": "a\u00e9", "size": 18446744073709551615, "scale": 1e-12, "on": true,
                "none": null, "list": [{"path": "p"}]})");
  ASSERT_TRUE(document.ok()) << document.status().to_string();
  const JsonValue root = document->root();
  EXPECT_EQ(*root.get_string("name"), "aé");
  EXPECT_EQ(*root.get_unsigned("size"), 18446744073709551615ull);
  EXPECT_EQ(*root.get_number("scale"), 1e-12);
  EXPECT_EQ(*root.get_number("size"), 18446744073709551615.0);
  EXPECT_TRUE(*root.get_bool("on"));
  EXPECT_TRUE(root.has("none"));
  const auto list = *root.get("list")->as_array(10);
  ASSERT_EQ(list.size(), 1u);
  EXPECT_EQ(*list[0].get_string("path"), "p");
  EXPECT_EQ(list[0].where(), "x.json: list[0]");
}

TEST(JsonFile, FallbackStandsForAbsentAndNullButNotForAnotherType) {
  const auto document = parse(R"({"none": null, "text": "x"})");
  const JsonValue root = document->root();
  EXPECT_EQ(*root.unsigned_or("absent", 5), 5u);
  EXPECT_EQ(*root.unsigned_or("none", 5), 5u);
  EXPECT_EQ(root.unsigned_or("text", 5).status().code(), StatusCode::kCorruption);
  EXPECT_EQ(*root.string_or("text", "y"), "x");
  EXPECT_EQ(*root.number_or("absent", 0.5), 0.5);
  EXPECT_TRUE(*root.bool_or("none", true));
  EXPECT_EQ(root.get("absent").status().code(), StatusCode::kNotFound);
}

TEST(JsonFile, WrongTypesSayFileKeyFoundAndAllowed) {
  const auto document = parse(R"({"n": -1, "f": 1.5, "s": "1", "a": [1, 2, 3]})");
  const JsonValue root = document->root();
  EXPECT_EQ(root.get_unsigned("n").status().code(), StatusCode::kCorruption);
  EXPECT_EQ(root.get_unsigned("f").status().code(), StatusCode::kCorruption);
  const Status status = root.get_unsigned("s").status();
  EXPECT_EQ(status.message(), "x.json: s: is a string, must be a whole number, not negative");
  EXPECT_EQ(root.get("a")->as_array(2).status().code(), StatusCode::kCorruption);
  EXPECT_EQ(root.as_array(9).status().code(), StatusCode::kCorruption);
  EXPECT_EQ(root.get("a")->get("key").status().code(), StatusCode::kCorruption);
  EXPECT_EQ(root.get("a")->string_or("key", "x").status().code(), StatusCode::kCorruption);
}

TEST(JsonFile, WalksFieldsInFileOrderAndEndsWithTheFirstFailure) {
  const auto document = parse(R"({"b": 1, "a": 2, "c": 3})");
  std::string seen;
  const Status status =
      document->root().for_each_field([&](std::string_view key, const JsonValue&) {
        seen += key;
        return key == "a" ? Status::cancelled("enough") : Status();
      });
  EXPECT_EQ(status.code(), StatusCode::kCancelled);
  EXPECT_EQ(seen, "ba");
}

TEST(JsonFile, DamageIsCorruptionThatNamesTheFile) {
  const std::string deep = std::string(100'000, '[') + std::string(100'000, ']');
  for (const std::string_view text :
       {std::string_view(""), std::string_view("   "), std::string_view("{"),
        std::string_view("{} {}"), std::string_view("{\"a\": 1,}"), std::string_view("\"\xff\""),
        std::string_view("[01]"), std::string_view("{\"a\": \"\n\"}"), std::string_view(deep),
        std::string_view(R"({"a": 1, "b": {"c": 1, "d": 2, "c": 3}})"),
        std::string_view(R"([{"a": 1, "a": 1}])")}) {
    const Status status = parse(text).status();
    EXPECT_EQ(status.code(), StatusCode::kCorruption) << text.substr(0, 50);
    EXPECT_THAT(status.message(), HasSubstr("x.json"));
  }
}

TEST(JsonFile, FilesAreReadWithinTheirBound) {
  const ScratchFolder folder;
  write_bytes(folder / "a.json", bytes_of(R"({"k": 1})"));
  EXPECT_EQ(*JsonDocument::open(folder / "a.json")->root().get_unsigned("k"), 1u);
  EXPECT_EQ(JsonDocument::open(folder / "a.json", 7).status().code(),
            StatusCode::kResourceExhausted);
  EXPECT_EQ(JsonDocument::open(folder / "b.json").status().code(), StatusCode::kNotFound);
}

TEST(JsonFile, ValuesOutliveAMoveOfTheDocument) {
  auto document = parse(R"({"k": "value"})");
  const JsonValue root = document->root();
  const JsonDocument moved = *std::move(document);
  EXPECT_EQ(*root.get_string("k"), "value");
}

}  // namespace
}  // namespace collegium::core
