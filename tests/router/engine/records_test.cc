#include "engine/records.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace collegium::router {
namespace {

StoredPair sample_pair() {
  StoredPair pair;
  pair.document_id = "doc/7";
  pair.query = "what is a river?";
  pair.split = Split::kDev;
  pair.gain = 2.0f;
  pair.vector = {0.25f, -1.0f, 3.5f};
  return pair;
}

TEST(Records, APairComesBackAsItWas) {
  const StoredPair pair = sample_pair();
  const auto back = StoredPair::parse(pair.serialize(), 3);
  ASSERT_TRUE(back.ok()) << back.status().to_string();
  EXPECT_EQ(back->document_id, pair.document_id);
  EXPECT_EQ(back->query, pair.query);
  EXPECT_EQ(back->split, pair.split);
  EXPECT_EQ(back->gain, pair.gain);
  EXPECT_EQ(back->vector, pair.vector);
}

TEST(Records, APairThatWasMadeSaysHowAndOneThatWasJudgedIsWrittenAsVersion1) {
  StoredPair pair = sample_pair();
  EXPECT_EQ(pair.serialize().front(), 1);
  pair.kind = "cloze";
  const std::string bytes = pair.serialize();
  EXPECT_EQ(bytes.front(), 2);
  const auto back = StoredPair::parse(bytes, 3);
  ASSERT_TRUE(back.ok()) << back.status().to_string();
  EXPECT_EQ(back->kind, "cloze");
  EXPECT_EQ(back->vector, pair.vector);
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_EQ(StoredPair::parse(bytes.substr(0, size), 3).status().code(), StatusCode::kCorruption)
        << size;
}

TEST(Records, ANegativeComesBackAsItWas) {
  const StoredNegative negative{"hello", Split::kTest, {1.0f, 2.0f}};
  const auto back = StoredNegative::parse(negative.serialize(), 2);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->query, "hello");
  EXPECT_EQ(back->split, Split::kTest);
  EXPECT_EQ(back->vector, negative.vector);
}

TEST(Records, ATruncatedRecordIsCorruptionAtEveryLength) {
  const std::string bytes = sample_pair().serialize();
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_EQ(StoredPair::parse(bytes.substr(0, size), 3).status().code(), StatusCode::kCorruption)
        << size;
  EXPECT_EQ(StoredPair::parse(bytes + "x", 3).status().code(), StatusCode::kCorruption);
}

TEST(Records, HugeLengthsAreCorruptionNotAllocation) {
  std::string bytes = sample_pair().serialize();
  for (std::size_t i = 6; i < 10; ++i) bytes[i] = '\xff';
  EXPECT_EQ(StoredPair::parse(bytes, 3).status().code(), StatusCode::kCorruption);
}

TEST(Records, AVectorOfAnotherDimensionIsCorruption) {
  EXPECT_EQ(StoredPair::parse(sample_pair().serialize(), 4).status().code(),
            StatusCode::kCorruption);
}

TEST(Records, ANewerRecordIsNotSupported) {
  std::string bytes = sample_pair().serialize();
  bytes[0] = 3;
  EXPECT_EQ(StoredPair::parse(bytes, 3).status().code(), StatusCode::kNotSupported);
}

TEST(Records, SettingsComeBackAndNewerOnesAreNotSupported) {
  LibrarySettings settings;
  settings.encoder = {"abc", "encoder", false};
  settings.language_model = {"def", "/models/lm.gguf", true};
  const auto back = LibrarySettings::parse(settings.to_json());
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->encoder.digest, "abc");
  EXPECT_TRUE(back->language_model.linked);
  EXPECT_EQ(back->compute, core::Compute::kAuto);
  EXPECT_EQ(back->truncate_dim, 0u);
  settings.format = kLibraryFormat + 1;
  const auto newer = LibrarySettings::parse(settings.to_json());
  EXPECT_EQ(newer.status().code(), StatusCode::kNotSupported);
  EXPECT_EQ(newer.status().message(), "the library has format 3, this build reads up to 2");
  EXPECT_EQ(LibrarySettings::parse("{\"format\":").status().code(), StatusCode::kCorruption);
  EXPECT_EQ(LibrarySettings::parse("[]").status().code(), StatusCode::kCorruption);
}

TEST(Records, HowTheEncoderIsRunComesBackAndWhatIsUnknownIsNotSupported) {
  LibrarySettings settings;
  settings.encoder = {"abc", "encoder", false};
  settings.compute = core::Compute::kInt8;
  settings.truncate_dim = 64;
  const std::string json = settings.to_json();
  const auto back = LibrarySettings::parse(json);
  ASSERT_TRUE(back.ok()) << back.status().to_string();
  EXPECT_EQ(back->compute, core::Compute::kInt8);
  EXPECT_EQ(back->truncate_dim, 64u);
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string changed = json;
    changed.replace(changed.find(from), from.size(), to);
    return LibrarySettings::parse(changed).status();
  };
  EXPECT_EQ(with("\"int8\"", "\"int3\"").code(), StatusCode::kNotSupported);
  EXPECT_THAT(with("\"int8\"", "\"int3\"").message(), testing::HasSubstr("'int3'"));
  EXPECT_EQ(with("\"int8\"", "8").code(), StatusCode::kCorruption);
  EXPECT_EQ(with("encoder_options", "encoder_opinions").code(), StatusCode::kCorruption);
  // Of format 1 it is not asked for.
  const auto older = LibrarySettings::parse(
      R"({"format":1,"encoder":{"digest":"a","path":"encoder","linked":false},)"
      R"("language_model":{"digest":"","path":"","linked":false}})");
  ASSERT_TRUE(older.ok()) << older.status().to_string();
  EXPECT_EQ(older->compute, core::Compute::kAuto);
}

TEST(Records, HowVectorsWereMadeComesBackWithNamesThatAreUnknownHere) {
  VectorOrigins made;
  made.origins = {{"int8", "amx"}, {"fp32", "scalar"}, {"int4", "avx1024"}};
  const auto back = VectorOrigins::parse(made.to_json());
  ASSERT_TRUE(back.ok()) << back.status().to_string();
  EXPECT_EQ(back->origins, made.origins);
  EXPECT_EQ(VectorOrigins::parse(R"({"format":2,"vectors":[]})").status().message(),
            "a made-with record has format 2, this build reads up to 1");
  for (const char* bad :
       {"", "[]", "{}", R"({"format":1})", R"({"format":1,"vectors":[{"compute":"fp32"}]})",
        R"({"format":1,"vectors":[{"compute":"fp32","isa":7}]})",
        R"({"format":1,"vectors":["x"]})"})
    EXPECT_EQ(VectorOrigins::parse(bad).status().code(), StatusCode::kCorruption) << bad;
  EXPECT_EQ(made_with_key("law"), "made-with/law");
}

TEST(Records, KeysOfOneCollectionAreNoPrefixOfAnothers) {
  EXPECT_EQ(pair_prefix("law"), "pair/law/");
  EXPECT_TRUE(pair_key("law", "doc", "query").starts_with(pair_prefix("law", "doc")));
  EXPECT_NE(pair_key("law", "ab", "c"), pair_key("law", "a", "bc"));
  EXPECT_TRUE(check_collection_name("medicine 2 été").ok());
  for (const char* bad : {"", "a/b", ".", "..", "a\nb", "\xff"})
    EXPECT_EQ(check_collection_name(bad).code(), StatusCode::kInvalidArgument) << bad;
  EXPECT_FALSE(check_collection_name(std::string(129, 'a')).ok());
}

}  // namespace
}  // namespace collegium::router
