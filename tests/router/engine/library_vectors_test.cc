// How the encoder of a library is run, what is recorded of it, and of which indexes an answer is.
#include <nlohmann/json.hpp>

#include "collegium/core/isa.h"
#include "engine/library_testing.h"
#include "engine/records.h"

namespace collegium::router {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string this_level() { return std::string(core::isa_name(core::active_isa())); }

std::vector<VectorOrigin> vectors_made(const Library& library, const std::string& collection) {
  const auto info = library.info();
  EXPECT_TRUE(info.ok()) << info.status().to_string();
  for (const auto& entry : info->collections)
    if (entry.index.name == collection) return entry.vectors_made;
  ADD_FAILURE() << "no collection " << collection;
  return {};
}

// Writes a record behind the engine's back, as another build would have.
void put_record(const std::string& path, const std::string& key, const std::string& value) {
  auto corpus = index::Corpus::open(path);
  ASSERT_OK(corpus);
  index::WriteSet writes;
  writes.put_record(key, value);
  ASSERT_OK((*corpus)->commit(std::move(writes)));
  ASSERT_OK((*corpus)->close());
}

TEST(LibraryVectors, ComputeAndLevelAreRecordedWithWhatWasEmbedded) {
  const TemporaryFolder folder;
  const auto library = Library::create(folder / "lib", tiny_options());
  ASSERT_OK(library);
  const Subject law = law_subject(3);
  ASSERT_OK((*library)->add("law", law.documents, law.pairs));
  ASSERT_OK((*library)->add("empty", {}));
  EXPECT_THAT(vectors_made(**library, "law"), ElementsAre(VectorOrigin{"fp32", this_level()}));
  EXPECT_THAT(vectors_made(**library, "empty"), IsEmpty());
  const auto info = (*library)->info();
  ASSERT_OK(info);
  EXPECT_THAT(info->to_text(), HasSubstr("vectors made in fp32 on " + this_level()));
  const auto json = nlohmann::json::parse(info->to_json());
  EXPECT_EQ(json["collections"][1]["vectors_made"],
            nlohmann::json::parse(R"([{"compute": "fp32", "isa": ")" + this_level() + "\"}]"));
  EXPECT_EQ(json["collections"][0]["vectors_made"], nlohmann::json::array());
}

TEST(LibraryVectors, OtherLevelsAndComputesAreKeptBesideAndNeverRefused) {
  const TemporaryFolder folder;
  const Subject law = law_subject(3);
  {
    const auto library = Library::create(folder / "lib", tiny_options());
    ASSERT_OK(library);
    ASSERT_OK((*library)->add("law", law.documents));
    ASSERT_OK((*library)->close());
  }
  // Names of a build that knows more of them than this one.
  put_record(folder / "lib", made_with_key("law"),
             R"({"format":1,"vectors":[{"compute":"int4","isa":"avx1024"}]})");
  const auto library = Library::open(folder / "lib");
  ASSERT_OK(library);
  EXPECT_THAT(vectors_made(**library, "law"), ElementsAre(VectorOrigin{"int4", "avx1024"}));
  // Nothing is embedded, so nothing is added.
  ASSERT_OK((*library)->add("law", law.documents));
  EXPECT_THAT(vectors_made(**library, "law"), ElementsAre(VectorOrigin{"int4", "avx1024"}));
  ASSERT_OK((*library)->add("law", std::vector{make_document("new", "water", "the river runs")}));
  EXPECT_THAT(vectors_made(**library, "law"),
              ElementsAre(VectorOrigin{"fp32", this_level()}, VectorOrigin{"int4", "avx1024"}));
  ASSERT_OK((*library)->search("the river"));
}

TEST(LibraryVectors, APairsQueryIsAVectorOfItsCollection) {
  const TemporaryFolder folder;
  const Subject law = law_subject(3);
  {
    const auto library = Library::create(folder / "lib", tiny_options());
    ASSERT_OK(library);
    ASSERT_OK((*library)->add("law", law.documents));
    ASSERT_OK((*library)->close());
  }
  put_record(folder / "lib", made_with_key("law"), VectorOrigins{}.to_json());
  const auto library = Library::open(folder / "lib");
  ASSERT_OK(library);
  EXPECT_THAT(vectors_made(**library, "law"), IsEmpty());
  ASSERT_OK((*library)->add("law", {}, law.pairs));
  EXPECT_THAT(vectors_made(**library, "law"), ElementsAre(VectorOrigin{"fp32", this_level()}));
}

TEST(LibraryVectors, ALibraryRunsItsEncoderInInt8AndOpensItSo) {
  const TemporaryFolder folder;
  CreateOptions options = tiny_options();
  options.compute = core::Compute::kInt8;
  for (const bool link : {false, true}) {
    options.link = link;
    const std::string path = folder / (link ? "linked" : "copied");
    std::string digest, answer;
    {
      const auto library = Library::create(path, options);
      ASSERT_OK(library);
      EXPECT_EQ((*library)->encoder().compute(), core::Compute::kInt8);
      const Subject law = law_subject(5);
      ASSERT_OK((*library)->add("law", law.documents, law.pairs));
      EXPECT_THAT(vectors_made(**library, "law"), ElementsAre(VectorOrigin{"int8", this_level()}));
      digest = (*library)->encoder().digest();
      const auto found = (*library)->search("the law of the market");
      ASSERT_OK(found);
      answer = without_times(*found);
      ASSERT_OK((*library)->close());
    }
    const auto plain = core::Encoder::load(tiny_encoder());
    ASSERT_OK(plain);
    EXPECT_NE(digest, (*plain)->digest());
    const auto library = Library::open(path);
    ASSERT_OK(library);
    EXPECT_EQ((*library)->encoder().digest(), digest);
    const auto found = (*library)->search("the law of the market");
    ASSERT_OK(found);
    EXPECT_EQ(without_times(*found), answer);
    const auto info = (*library)->info();
    ASSERT_OK(info);
    EXPECT_EQ(info->compute, "int8");
    EXPECT_THAT(info->to_text(), HasSubstr("32 tokens, int8,"));
    EXPECT_EQ(nlohmann::json::parse(info->to_json())["compute"], "int8");
  }
}

TEST(LibraryVectors, TruncatedVectorsAreTheWholeLibrarys) {
  const TemporaryFolder folder;
  CreateOptions options = tiny_options();
  options.truncate_dim = 12;
  options.compute = core::Compute::kInt8;
  {
    const auto library = Library::create(folder / "lib", options);
    ASSERT_OK(library);
    const Subject law = law_subject(5);
    ASSERT_OK((*library)->add("law", law.documents, law.pairs));
    ASSERT_OK((*library)->close());
  }
  const auto library = Library::open(folder / "lib");
  ASSERT_OK(library);
  EXPECT_EQ((*library)->encoder().dim(), 12u);
  const auto info = (*library)->info();
  ASSERT_OK(info);
  EXPECT_EQ(info->dim, 12u);
  EXPECT_EQ(info->truncate_dim, 12u);
  const auto found = (*library)->search("the law of the market");
  ASSERT_OK(found);
  EXPECT_EQ(found->passages.size(), 5u);
}

TEST(LibraryVectors, WhatTheEncoderCannotDoLeavesNoLibrary) {
  const TemporaryFolder folder;
  CreateOptions options = tiny_options();
  options.truncate_dim = 33;
  const auto library = Library::create(folder / "lib", options);
  EXPECT_EQ(library.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(library.status().message(), HasSubstr("truncate_dim is 33"));
  EXPECT_THAT(files_in(folder.path()), IsEmpty());
}

TEST(LibraryVectors, ALibraryOfFormat1RunsItsEncoderAsTheFolderSays) {
  const TemporaryFolder folder;
  std::string digest;
  {
    const auto library = Library::create(folder / "lib", tiny_options());
    ASSERT_OK(library);
    digest = (*library)->encoder().digest();
    ASSERT_OK((*library)->close());
  }
  put_record(folder / "lib", "library",
             R"({"format":1,"encoder":{"digest":")" + digest +
                 R"(","path":"encoder","linked":false},)" +
                 R"("language_model":{"digest":"","path":"","linked":false}})");
  const auto library = Library::open(folder / "lib");
  ASSERT_OK(library);
  EXPECT_EQ((*library)->encoder().compute(), core::Compute::kFp32);
}

TEST(LibraryVectors, AnAnswerNamesTheIndexesItIsAFunctionOf) {
  const TemporaryFolder folder;
  CreateOptions options = tiny_options();
  options.hnsw_threshold = 20;
  std::map<std::string, std::uint64_t> generations;
  {
    const auto library = Library::create(folder / "lib", options);
    ASSERT_OK(library);
    const Subject law = law_subject(40), music = music_subject(10);
    ASSERT_OK((*library)->add("law", law.documents));
    ASSERT_OK((*library)->add("music", music.documents));
    ASSERT_OK((*library)->close());  // builds the graph of the large one
  }
  const auto library = Library::open(folder / "lib");
  ASSERT_OK(library);
  const auto info = (*library)->info();
  ASSERT_OK(info);
  for (const auto& collection : info->collections)
    generations[collection.index.name] = collection.index.index_generation;
  EXPECT_NE(generations.at("law"), 0u);
  EXPECT_EQ(generations.at("music"), 0u);
  const auto info_json = nlohmann::json::parse(info->to_json());
  EXPECT_EQ(info_json["collections"][0]["index_generation"], generations.at("law"));

  AskOptions all;
  all.k = 50;
  const auto found = (*library)->search("the law of music", all);
  ASSERT_OK(found);
  EXPECT_EQ(found->index_generations, generations);
  for (const CitedPassage& passage : found->passages)
    EXPECT_EQ(passage.index_generation, generations.at(passage.collection));
  const auto json = nlohmann::json::parse(found->to_json());
  EXPECT_EQ(json["index_generations"]["law"], generations.at("law"));
  EXPECT_EQ(json["index_generations"]["music"], 0u);
  EXPECT_EQ(json["passages"][0]["index_generation"], generations.at(found->passages[0].collection));

  // Only what was searched.
  AskOptions music;
  music.collections = {"music"};
  const auto exact = (*library)->ask("the law of music", music);
  ASSERT_OK(exact);
  EXPECT_EQ(exact->index_generations, (std::map<std::string, std::uint64_t>{{"music", 0}}));
  AskOptions internal;
  internal.gate = GateDecision::kInternal;
  const auto unsearched = (*library)->ask("the law of music", internal);
  ASSERT_OK(unsearched);
  EXPECT_THAT(unsearched->index_generations, IsEmpty());
}

}  // namespace
}  // namespace collegium::router
