#include "collegium/core/experts/encoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <numeric>
#include <random>
#include <set>

#include "collegium/core/safetensors.h"
#include "collegium/core/thread_pool.h"
#include "experts/model_folder.h"
#include "io/json_file.h"
#include "kernels/kernels.h"
#include "relative_error.h"
#include "threads_restored.h"

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace collegium::core {
namespace {

using Vectors = std::vector<float>;

std::shared_ptr<const Encoder> load(const std::string& folder, Isa isa = active_isa()) {
  auto encoder = Encoder::load(folder, {.isa = isa});
  EXPECT_TRUE(encoder.ok()) << encoder.status().to_string();
  return encoder.ok() ? *encoder : nullptr;
}

Encoder::Embeddings encode(const Encoder& encoder, const std::vector<std::string>& texts,
                           TextKind kind = TextKind::kDocument) {
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  auto result = encoder.encode(views, kind);
  EXPECT_TRUE(result.ok()) << result.status().to_string();
  return result.ok() ? std::move(*result) : Encoder::Embeddings();
}

// By value: a loop over *result would outlive the result.
std::vector<JsonValue> elements(const Result<JsonValue>& array) {
  EXPECT_TRUE(array.ok()) << array.status().to_string();
  auto list = array->as_array(10000);
  EXPECT_TRUE(list.ok()) << list.status().to_string();
  return std::move(*list);
}

std::vector<std::string> golden_texts() {
  auto document = JsonDocument::open(encoder_data("texts.json"));
  EXPECT_TRUE(document.ok());
  std::vector<std::string> texts;
  for (const JsonValue& text : elements(document->root())) texts.push_back(*text.as_string());
  return texts;
}

Vectors golden(const SafeTensors& file, const std::string& name) {
  const auto view = file.find(name);
  EXPECT_TRUE(view.ok()) << name;
  return *file.read_float(name, view->shape);
}

// --- oracle: transformers in float64, see tests/oracles/make_encoder_goldens.py -----------------

class TinyModel : public testing::TestWithParam<const char*> {};

TEST_P(TinyModel, TokenVectorsAndVectorsAreTransformersWithin1e5AtEveryLevel) {
  const std::string name = GetParam();
  const auto file = SafeTensors::open(encoder_data(name + ".golden.safetensors"));
  ASSERT_TRUE(file.ok()) << file.status().to_string();
  const auto texts = golden_texts();
  ASSERT_GE(texts.size(), 10u);
  for (Isa isa : available_isas()) {
    const auto encoder = load(encoder_data(name), isa);
    ASSERT_NE(encoder, nullptr);
    for (std::size_t i = 0; i < texts.size(); ++i) {
      for (const TextKind kind : {TextKind::kQuery, TextKind::kDocument}) {
        const std::string key =
            std::to_string(i) + (kind == TextKind::kQuery ? ".query" : ".document");
        const auto tokens = encoder->token_vectors(texts[i], kind);
        ASSERT_TRUE(tokens.ok()) << tokens.status().to_string();
        EXPECT_LT(relative_error(*tokens, golden(*file, key + ".tokens"), encoder->dim()), 1e-5)
            << name << " text " << key << " at " << isa_name(isa);
        const auto vector = encode(*encoder, {texts[i]}, kind).vectors;
        EXPECT_LT(relative_error(vector, golden(*file, key + ".vector"), encoder->dim()), 1e-5)
            << name << " text " << key << " at " << isa_name(isa);
      }
    }
  }
}

TEST_P(TinyModel, EveryLevelGivesTheSameBits) {
  const auto texts = random_texts(40, 3);
  const auto expected = encode(*load(encoder_data(GetParam()), Isa::kScalar), texts).vectors;
  for (Isa isa : available_isas()) {
    EXPECT_EQ(encode(*load(encoder_data(GetParam()), isa), texts).vectors, expected)
        << isa_name(isa);
  }
}

INSTANTIATE_TEST_SUITE_P(Goldens, TinyModel, testing::Values("plain", "prefixed", "odd"),
                         [](const auto& model) { return std::string(model.param); });

// The folder of real weights, or nothing.
const char* minilm_folder() { return std::getenv("COLLEGIUM_MINILM"); }

// The lines of a .jsonl.gz of the shared data.
std::vector<std::string> read_lines(const std::string& path) {
  std::vector<std::string> lines;
  FILE* pipe = popen(("gzip -dc '" + path + "'").c_str(), "r");
  if (pipe == nullptr) return lines;
  std::string text;
  char buffer[1 << 16];
  for (std::size_t n; (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;) text.append(buffer, n);
  pclose(pipe);
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

std::string shared_data() {
  const char* data = std::getenv("COLLEGIUM_DATA");
  if (data != nullptr) return data;
  return std::string(COLLEGIUM_TEST_DATA) + "/../../../shared/data";
}

// Cosine from random projections: for P of independent standard normal rows, the mean square of
// P (a - b) estimates |a - b|^2 = 2 (1 - cos). Over 1,000 texts of 8 projections each the worst one
// is within a factor of ten; what is seen is a million times below the bound.
TEST(EncoderOracle, SlowCosineWithTransformersOnMiniLmIsAtLeast099999On1000Texts) {
  if (minilm_folder() == nullptr) GTEST_SKIP() << "COLLEGIUM_MINILM names no model folder";
  if (!std::filesystem::is_directory(shared_data())) GTEST_SKIP() << "no data at " << shared_data();
  const auto encoder = load(minilm_folder());
  ASSERT_NE(encoder, nullptr);
  const auto document = JsonDocument::open(encoder_data("minilm.json"));
  ASSERT_TRUE(document.ok()) << document.status().to_string();
  std::vector<std::vector<double>> projections;
  for (const JsonValue& row : elements(document->root().get("projections"))) {
    projections.emplace_back();
    for (const JsonValue& x : elements(row)) projections.back().push_back(*x.as_number());
  }
  std::string open_file;
  std::vector<std::string> lines;
  double worst = 0.0;
  std::size_t count = 0;
  for (const JsonValue& entry : elements(document->root().get("texts"))) {
    const std::string path = shared_data() + "/" + *entry.get_string("set") + "/" +
                             *entry.get_string("file") + ".jsonl.gz";
    if (path != open_file) lines = read_lines(path);
    open_file = path;
    const std::size_t line = *entry.get_unsigned("line");
    ASSERT_LT(line, lines.size()) << path;
    const auto json = JsonDocument::parse(std::as_bytes(std::span(lines[line])), path);
    const auto embeddings = encode(*encoder, {*json->root().get_string("text")});
    ASSERT_EQ(embeddings.num_tokens[0], *entry.get_unsigned("tokens")) << path << " line " << line;
    const auto expected = elements(entry.get("projections"));
    double square = 0.0;
    for (std::size_t p = 0; p < projections.size(); ++p) {
      const double seen = std::inner_product(projections[p].begin(), projections[p].end(),
                                             embeddings.vectors.begin(), 0.0);
      const double difference = seen - *expected[p].as_number();
      square += difference * difference / static_cast<double>(projections.size());
    }
    worst = std::max(worst, square / 2);
    ++count;
  }
  EXPECT_EQ(count, 1000u);
  EXPECT_LT(worst, 1e-6);
  RecordProperty("worst_one_minus_cosine", std::to_string(worst));
}

// --- the same bits, whatever the company --------------------------------------------------------

void expect_bits_do_not_depend_on_company(const Encoder& encoder, std::size_t count,
                                          std::size_t rounds) {
  const ThreadsRestored restored;
  const auto texts = random_texts(count, 11);
  const std::size_t dim = encoder.dim();
  set_num_threads(1);
  std::vector<Vectors> alone;
  for (const auto& text : texts) alone.push_back(encode(encoder, {text}).vectors);
  std::mt19937 generator(12);
  for (std::size_t round = 0; round < rounds; ++round) {
    set_num_threads(std::vector<std::size_t>{1, 2, 4}[round % 3]);
    // The largest batch first, then many small ones.
    std::vector<std::size_t> chosen(round == 0 ? 512
                                               : 1 + generator() % (round % 5 == 0 ? count : 7));
    for (std::size_t& i : chosen) i = generator() % count;
    std::vector<std::string> batch;
    for (std::size_t i : chosen) batch.push_back(texts[i]);
    const auto together = encode(encoder, batch).vectors;
    ASSERT_EQ(together.size(), chosen.size() * dim);
    for (std::size_t i = 0; i < chosen.size(); ++i) {
      ASSERT_EQ(
          std::memcmp(together.data() + i * dim, alone[chosen[i]].data(), dim * sizeof(float)), 0)
          << "text " << chosen[i] << " at place " << i << " of " << chosen.size() << " on "
          << default_pool().num_threads() << " threads";
    }
  }
}

TEST(EncoderBits, AloneInAnyBatchInAnyOrderAndOnAnyThreadsTheSame) {
  const TemporaryFolder folder;
  write_random_bert(folder.path(), random_bert(5));
  for (Isa isa : available_isas()) {
    if (isa == Isa::kScalar) continue;  // EveryLevelGivesTheSameBits covers it, in less time
    expect_bits_do_not_depend_on_company(*load(folder.path(), isa), 60, 60);
  }
}

TEST(EncoderBits, SlowMiniLmTheSameInAnyCompany) {
  if (minilm_folder() == nullptr) GTEST_SKIP() << "COLLEGIUM_MINILM names no model folder";
  expect_bits_do_not_depend_on_company(*load(minilm_folder()), 100, 100);
}

TEST(EncoderBits, ConcurrentCallersGetTheSameBits) {
  const TemporaryFolder folder;
  write_random_bert(folder.path(), random_bert(6));
  const auto encoder = load(folder.path());
  const auto texts = random_texts(30, 13);
  const auto expected = encode(*encoder, texts).vectors;
  ThreadPool callers(4);
  std::vector<Vectors> seen(12);
  callers.parallel_for(seen.size(),
                       [&](std::size_t i) { seen[i] = encode(*encoder, texts).vectors; });
  for (const auto& vectors : seen) EXPECT_EQ(vectors, expected);
}

// sentence_bert_config.json as current sentence-transformers write it for a BERT.
TEST(Encoder, AFolderSavedByACurrentSentenceTransformersGivesTheSameVectors) {
  const TemporaryFolder folder;
  copy_folder(encoder_data("plain"), folder.path());
  write_file(folder.file("sentence_bert_config.json"), R"({
    "max_seq_length": 32,
    "do_lower_case": false,
    "transformer_task": "feature-extraction",
    "modality_config": {
      "text": {"method": "forward", "method_output_name": "last_hidden_state"}
    },
    "module_output_name": "token_embeddings",
    "processing_kwargs": {}
  })");
  const auto saved = load(folder.path());
  ASSERT_NE(saved, nullptr);
  const auto encoder = load(encoder_data("plain"));
  EXPECT_EQ(saved->digest(), encoder->digest());
  EXPECT_EQ(encode(*saved, {"the river"}).vectors, encode(*encoder, {"the river"}).vectors);
}

// --- what it says about texts -------------------------------------------------------------------

TEST(Encoder, EmptyTextGivesTheVectorOfClsAndSep) {
  const auto encoder = load(encoder_data("plain"));
  const auto embeddings = encode(*encoder, {"", "river"});
  EXPECT_EQ(embeddings.num_tokens, (std::vector<std::size_t>{2, 3}));
  const auto file = SafeTensors::open(encoder_data("plain.golden.safetensors"));
  ASSERT_TRUE(file.ok());
  const Vectors first(embeddings.vectors.begin(), embeddings.vectors.begin() + 32);
  EXPECT_LT(relative_error(first, golden(*file, "0.document.vector"), 32), 1e-5);
}

TEST(Encoder, NoTextsGiveNoVectors) {
  const auto embeddings = encode(*load(encoder_data("plain")), {});
  EXPECT_TRUE(embeddings.vectors.empty());
  EXPECT_TRUE(embeddings.num_tokens.empty());
  EXPECT_TRUE(embeddings.truncated.empty());
}

TEST(Encoder, ATextBeyondTheLimitIsCutAndFlagged) {
  const auto encoder = load(encoder_data("plain"));
  ASSERT_EQ(encoder->max_tokens(), 32u);
  std::string fits, longer;
  for (int i = 0; i < 30; ++i) fits += "river ";
  longer = fits + "river";
  const auto embeddings = encode(*encoder, {fits, longer, longer + " water"});
  EXPECT_EQ(embeddings.num_tokens, (std::vector<std::size_t>{32, 32, 32}));
  EXPECT_EQ(embeddings.truncated, (std::vector<bool>{false, true, true}));
}

TEST(Encoder, VectorsHaveLengthOneWhereTheModelSaysSo) {
  const auto length = [](const Vectors& v) {
    return std::sqrt(std::inner_product(v.begin(), v.end(), v.begin(), 0.0));
  };
  EXPECT_NEAR(length(encode(*load(encoder_data("plain")), {"river"}).vectors), 1.0, 1e-6);
  EXPECT_GT(length(encode(*load(encoder_data("prefixed")), {"river"}).vectors), 2.0);
}

TEST(Encoder, QueriesAndDocumentsGetTheirPrompts) {
  const auto encoder = load(encoder_data("odd"));
  const auto query = encode(*encoder, {"river"}, TextKind::kQuery);
  const auto document = encode(*encoder, {"river"}, TextKind::kDocument);
  EXPECT_EQ(query.num_tokens[0], 5u);     // what is river
  EXPECT_EQ(document.num_tokens[0], 6u);  // the law : river
}

TEST(Encoder, ATextThatFillsWhatThePromptLeavesIsNotCut) {
  EXPECT_EQ(load(encoder_data("plain"))->max_text_tokens(TextKind::kDocument), 32u);
  const auto encoder = load(encoder_data("odd"));
  ASSERT_EQ(encoder->max_tokens(), 40u);
  EXPECT_EQ(encoder->max_text_tokens(TextKind::kQuery), 38u);     // what is
  EXPECT_EQ(encoder->max_text_tokens(TextKind::kDocument), 37u);  // the law :
  for (const TextKind kind : {TextKind::kQuery, TextKind::kDocument}) {
    std::string text;  // with the two special tokens as long as may be
    for (std::size_t i = 2; i < encoder->max_text_tokens(kind); ++i) text += "river ";
    const auto embeddings = encode(*encoder, {text, text + "river"}, kind);
    EXPECT_EQ(embeddings.num_tokens[0], 40u);
    EXPECT_FALSE(embeddings.truncated[0]);
    EXPECT_TRUE(embeddings.truncated[1]);
  }
}

TEST(Encoder, APromptThatFillsTheEncoderLeavesNoTextTokens) {
  const TemporaryFolder folder;
  copy_folder(encoder_data("odd"), folder.path());
  std::string prompt;
  for (int i = 0; i < 50; ++i) prompt += "law ";
  replace_in_file(folder.file("config_sentence_transformers.json"), "the law: ", prompt);
  EXPECT_EQ(load(folder.path())->max_text_tokens(TextKind::kDocument), 0u);
  EXPECT_EQ(load(folder.path())->max_text_tokens(TextKind::kQuery), 38u);
}

TEST(Encoder, InvalidUtf8IsAnErrorThatNamesTextAndByte) {
  for (const char* model : {"plain", "odd"}) {  // without and with a prompt
    const auto encoder = load(encoder_data(model));
    const std::vector<std::string_view> texts = {"river", "the \xff river", "\xff"};
    const auto result = encoder->encode(texts, TextKind::kQuery);
    ASSERT_EQ(result.status().code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(result.status().message(), testing::HasSubstr("text 1"));
    EXPECT_THAT(result.status().message(), testing::HasSubstr("offset 4"));
    EXPECT_EQ(encoder->token_vectors("\xc3", TextKind::kQuery).status().code(),
              StatusCode::kInvalidArgument);
  }
}

TEST(Encoder, ProgressComesFromTheCallerInOrderAndCanCancel) {
  const auto encoder = load(encoder_data("plain"));
  const auto texts = random_texts(3000, 17);
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  const auto caller = std::this_thread::get_id();
  std::vector<std::uint64_t> seen;
  const auto all = encoder->encode(views, TextKind::kDocument, [&](const Progress& progress) {
    EXPECT_EQ(std::this_thread::get_id(), caller);
    EXPECT_EQ(progress.total, texts.size());
    EXPECT_EQ(progress.stage, "encode");
    seen.push_back(progress.done);
    return true;
  });
  ASSERT_TRUE(all.ok());
  EXPECT_GT(seen.size(), 3u);
  EXPECT_EQ(seen.front(), 0u);
  EXPECT_EQ(seen.back(), texts.size());
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  int calls = 0;
  const auto stopped =
      encoder->encode(views, TextKind::kDocument, [&](const Progress&) { return ++calls < 3; });
  EXPECT_EQ(stopped.status().code(), StatusCode::kCancelled);
  EXPECT_EQ(calls, 3);
}

TEST(Encoder, WhatACallbackThrowsIsAStatus) {
  const std::vector<std::string_view> texts = {"river"};
  const auto result =
      load(encoder_data("plain"))->encode(texts, TextKind::kDocument, [](const Progress&) -> bool {
        throw std::runtime_error("from the callback");
      });
  EXPECT_EQ(result.status().code(), StatusCode::kInternal);
  EXPECT_THAT(result.status().message(), testing::HasSubstr("from the callback"));
}

#if defined(__SSE2__)
TEST(Encoder, CallbacksSeeTheirOwnFloatingPointSettings) {
  const std::vector<std::string_view> texts = {"river", "the river"};
  const auto encoder = load(encoder_data("plain"));
  const unsigned int before = _mm_getcsr();
  int calls = 0;
  const auto result = encoder->encode(texts, TextKind::kDocument, [&](const Progress&) {
    EXPECT_EQ(_mm_getcsr() & ~0x3fu, before & ~0x3fu);  // all but the flags of what happened
    return ++calls > 0;
  });
  EXPECT_TRUE(result.ok()) << result.status().to_string();
  EXPECT_GE(calls, 2);
  EXPECT_EQ(_mm_getcsr() & ~0x3fu, before & ~0x3fu);
}
#endif

TEST(Encoder, FlopsCountTheMultiplyAddsOfTheTrunk) {
  const auto encoder = load(encoder_data("plain"));  // hidden 32, intermediate 64, 2 layers
  const double linear = 10 * (4 * 32 * 32 + 2 * 32 * 64), attention = 2 * 10 * 10 * 32;
  EXPECT_DOUBLE_EQ(encoder->flops(10), 2 * 2 * (linear + attention));
}

// --- what it says about itself ------------------------------------------------------------------

TEST(EncoderDigest, IsThatOfACopyMadeOfTheFilesItNames) {
  const auto encoder = load(encoder_data("odd"));
  EXPECT_THAT(encoder->digest(), testing::MatchesRegex("[0-9a-f]{32}"));
  EXPECT_THAT(encoder->files(), testing::UnorderedElementsAre(
                                    "config.json", "vocab.txt", "model.safetensors", "modules.json",
                                    "1_Pooling/config.json", "config_sentence_transformers.json",
                                    "tokenizer_config.json"));
  const TemporaryFolder copy;
  for (const auto& name : encoder->files()) {
    write_file(copy.file(name), read_file(encoder_data("odd") + "/" + name));
  }
  EXPECT_EQ(load(copy.path())->digest(), encoder->digest());
  EXPECT_EQ(load(copy.path())->files(), encoder->files());
}

TEST(EncoderDigest, ChangesWithWhateverChangesVectors) {
  std::set<std::string> digests;
  const auto add = [&](const auto& change) {
    const TemporaryFolder folder;
    copy_folder(encoder_data("odd"), folder.path());
    change(folder);
    const auto encoder = load(folder.path());
    EXPECT_TRUE(digests.insert(encoder->digest()).second);
  };
  add([](const TemporaryFolder&) {});
  add([](const TemporaryFolder& folder) {
    replace_in_file(folder.file("config.json"), "\"layer_norm_eps\": 1e-12",
                    "\"layer_norm_eps\": 1e-5");
  });
  add([](const TemporaryFolder& folder) {
    replace_in_file(folder.file("1_Pooling/config.json"), "cls_token\": false",
                    "cls_token\": true");
    replace_in_file(folder.file("1_Pooling/config.json"), "mean_tokens\": true",
                    "mean_tokens\": false");
  });
  add([](const TemporaryFolder& folder) {
    replace_in_file(folder.file("config_sentence_transformers.json"), "what is ", "what is  ");
  });
  add([](const TemporaryFolder& folder) {
    write_file(folder.file("sentence_bert_config.json"), R"({"max_seq_length": 20})");
  });
  add([](const TemporaryFolder& folder) {
    replace_in_file(folder.file("tokenizer_config.json"), "true", "false");
  });
  add([](const TemporaryFolder& folder) {
    std::string weights = read_file(folder.file("model.safetensors"));
    std::uint64_t header = 0;
    std::memcpy(&header, weights.data(), sizeof header);
    weights[sizeof header + header] ^= 1;  // the first weight's lowest bit
    write_file(folder.file("model.safetensors"), weights);
  });
}

TEST(Encoder, WithoutModulesPoolsTheMeanAndTakesTheLimitOfTheTokenizer) {
  const TemporaryFolder folder;
  copy_folder(encoder_data("plain"), folder.path());
  for (const char* name : {"modules.json", "sentence_bert_config.json"}) {
    std::filesystem::remove(folder.file(name));
  }
  EXPECT_EQ(load(folder.path())->max_tokens(), 40u);  // the positions
  write_file(folder.file("tokenizer_config.json"), R"({"model_max_length": 24})");
  const auto encoder = load(folder.path());
  EXPECT_EQ(encoder->max_tokens(), 24u);
  // Mean, not normalised: parallel to the golden vector.
  auto vector = encode(*encoder, {"river"}).vectors;
  const double length =
      std::sqrt(std::inner_product(vector.begin(), vector.end(), vector.begin(), 0.0));
  EXPECT_GT(length, 2.0);
  for (float& x : vector) x = static_cast<float>(x / length);
  const auto file = SafeTensors::open(encoder_data("plain.golden.safetensors"));
  EXPECT_LT(relative_error(vector, golden(*file, "1.document.vector"), 32), 1e-5);
}

TEST(Encoder, TrunkInAFolderOfItsOwnIsFound) {
  const TemporaryFolder folder;
  for (const char* name : {"config.json", "vocab.txt", "model.safetensors", "tokenizer_config.json",
                           "sentence_bert_config.json"}) {
    write_file(folder.file(std::string("0_Transformer/") + name),
               read_file(encoder_data("plain") + "/" + name));
  }
  copy_folder(encoder_data("plain") + "/1_Pooling", folder.file("1_Pooling"));
  write_file(folder.file("modules.json"), read_file(encoder_data("plain") + "/modules.json"));
  replace_in_file(folder.file("modules.json"), "\"path\": \"\"", "\"path\": \"0_Transformer\"");
  const auto encoder = load(folder.path());
  ASSERT_NE(encoder, nullptr);
  EXPECT_EQ(encoder->digest(), load(encoder_data("plain"))->digest());
  EXPECT_THAT(encoder->files(), testing::Contains("0_Transformer/vocab.txt"));
}

}  // namespace
}  // namespace collegium::core
