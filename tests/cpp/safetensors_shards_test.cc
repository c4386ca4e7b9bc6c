#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "collegium/core/safetensors.h"
#include "experts/model_folder.h"

namespace collegium::core {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

// Two shards with a tensor each, and an index to be filled in.
class Shards : public testing::Test {
 protected:
  Shards() {
    write_safetensors(folder_.file("a.safetensors"), {{"x", {{2}, {1.0f, 2.0f}}}});
    write_safetensors(folder_.file("b.safetensors"), {{"y", {{1}, {3.0f}}}});
  }
  Result<SafeTensors> open(const std::string& index) {
    write_file(folder_.file("index.json"), index);
    return SafeTensors::open_sharded(folder_.file("index.json"));
  }
  Status open_map(const std::string& weight_map) {
    return open(R"({"metadata": {"total_size": 12}, "weight_map": )" + weight_map + "}").status();
  }
  TemporaryFolder folder_;
};

TEST_F(Shards, ReadAsOne) {
  const auto file =
      open(R"({"weight_map": {"y": "b.safetensors", "x": "a.safetensors"}, "metadata": {}})");
  ASSERT_TRUE(file.ok()) << file.status().to_string();
  EXPECT_THAT(file->files(), ElementsAre("a.safetensors", "b.safetensors"));
  EXPECT_EQ(file->tensors().size(), 2u);
  const std::size_t two[] = {2}, one[] = {1};
  EXPECT_THAT(*file->read_float("x", two), ElementsAre(1.0f, 2.0f));
  EXPECT_THAT(*file->read_float("y", one), ElementsAre(3.0f));
  const Status missing = file->find("z").status();
  EXPECT_EQ(missing.code(), StatusCode::kNotFound);
  EXPECT_THAT(missing.message(), HasSubstr("index.json: has no tensor 'z'"));
  const auto single = SafeTensors::open(folder_.file("a.safetensors"));
  EXPECT_THAT(single->files(), ElementsAre(folder_.file("a.safetensors")));
}

TEST_F(Shards, ATensorThatIsNotWhereTheIndexSaysIsCorruptionByName) {
  const Status missing =
      open_map(R"({"x": "a.safetensors", "y": "b.safetensors", "z": "b.safetensors"})");
  EXPECT_EQ(missing.code(), StatusCode::kCorruption);
  EXPECT_THAT(missing.message(), HasSubstr("tensor 'z' is not in its shard 'b.safetensors'"));
  const Status swapped = open_map(R"({"x": "b.safetensors", "y": "a.safetensors"})");
  EXPECT_EQ(swapped.code(), StatusCode::kCorruption);
  EXPECT_THAT(swapped.message(),
              HasSubstr("tensor 'x' is in 'a.safetensors', not in 'b.safetensors'"));
  write_safetensors(folder_.file("b.safetensors"), {{"y", {{1}, {3.0f}}}, {"w", {{1}, {4.0f}}}});
  const Status unnamed = open_map(R"({"x": "a.safetensors", "y": "b.safetensors"})");
  EXPECT_EQ(unnamed.code(), StatusCode::kCorruption);
  EXPECT_THAT(unnamed.message(),
              HasSubstr("does not name tensor 'w', which is in 'b.safetensors'"));
}

TEST_F(Shards, ATensorInTwoShardsIsCorruptionByName) {
  write_safetensors(folder_.file("b.safetensors"), {{"y", {{1}, {3.0f}}}, {"x", {{1}, {4.0f}}}});
  for (const char* map :
       {R"({"x": "a.safetensors", "y": "b.safetensors"})",
        R"({"y": "b.safetensors", "x": "b.safetensors", "v": "a.safetensors"})"}) {
    const Status twice = open_map(map);
    EXPECT_EQ(twice.code(), StatusCode::kCorruption);
    EXPECT_THAT(twice.message(),
                HasSubstr("tensor 'x' is in 'a.safetensors' and in 'b.safetensors'"));
  }
  // Twice in the index itself.
  EXPECT_EQ(open_map(R"({"x": "a.safetensors", "x": "b.safetensors"})").code(),
            StatusCode::kCorruption);
}

TEST_F(Shards, ANameThatLeadsElsewhereIsCorruptionAndNeverOpened) {
  const TemporaryFolder outside;
  write_safetensors(outside.file("a.safetensors"), {{"x", {{2}, {1.0f, 2.0f}}}});
  const std::string up = "../" + outside.path().substr(outside.path().rfind('/') + 1);
  for (const std::string& name :
       {outside.file("a.safetensors"), up + "/a.safetensors", std::string("./a.safetensors"),
        std::string("sub/a.safetensors"), std::string("sub\\\\a.safetensors"), std::string(".."),
        std::string(""), std::string("a"), std::string(".safetensors"),
        std::string("a.safetensors\\u0000"), std::string("a\\u0000.safetensors"),
        std::string("a.safetensors/"), std::string("\\n.safetensors"),
        std::string(300, 'a') + ".safetensors"}) {
    const Status status = open_map("{\"x\": \"" + name + "\"}");
    EXPECT_EQ(status.code(), StatusCode::kCorruption) << name << ": " << status.to_string();
    EXPECT_THAT(status.message(), AllOf(HasSubstr("weight_map: x"),
                                        HasSubstr("must be the name of a .safetensors file")))
        << name;
  }
}

TEST_F(Shards, AShardThatIsNotThereIsNotFound) {
  const Status status = open_map(R"({"x": "a.safetensors", "y": "c.safetensors"})");
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_THAT(status.message(), HasSubstr(folder_.file("c.safetensors")));
  EXPECT_EQ(SafeTensors::open_sharded(folder_.file("none.json")).status().code(),
            StatusCode::kNotFound);
}

TEST_F(Shards, ADamagedShardIsCorruptionThatNamesIt) {
  write_file(folder_.file("b.safetensors"), std::string(8, '\xff') + "{}");
  const Status status = open_map(R"({"x": "a.safetensors", "y": "b.safetensors"})");
  EXPECT_EQ(status.code(), StatusCode::kCorruption);
  EXPECT_THAT(status.message(), HasSubstr(folder_.file("b.safetensors")));
}

TEST_F(Shards, AMalformedIndexIsCorruption) {
  for (const char* index :
       {"", "[]", "{", "7", "{}", R"({"weight_map": {}})", R"({"weight_map": []})",
        R"({"weight_map": {"x": 7}})", R"({"weight_map": {"x": ["a.safetensors"]}})",
        R"({"weight_map": null})", R"({"weight_map": {"x": null}})"}) {
    EXPECT_EQ(open(index).status().code(), StatusCode::kCorruption) << index;
  }
  const Status unknown =
      open(R"({"weight_map": {"x": "a.safetensors"}, "weight_rotation": {}})").status();
  EXPECT_EQ(unknown.code(), StatusCode::kNotSupported);
  EXPECT_THAT(unknown.message(), HasSubstr("weight_rotation"));
}

TEST_F(Shards, TooManyAreCorruptionBeforeAnyIsOpened) {
  std::string map = "{";
  for (int i = 0; i < 1001; ++i)
    map += (i == 0 ? "\"" : ",\"") + std::to_string(i) + "\":\"" + std::to_string(i) +
           ".safetensors\"";
  const Status status = open_map(map + "}");
  EXPECT_EQ(status.code(), StatusCode::kCorruption);
  EXPECT_THAT(status.message(), HasSubstr("names 1001 shards, at most 1000"));
}

}  // namespace
}  // namespace collegium::core
