#include "text/byte_level_bpe.h"

#include <gtest/gtest.h>
#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "collegium/core/gguf.h"
#include "io/json_file.h"
#include "text/oracle_text.h"

namespace collegium::core {
namespace {

// GPT-2's spelling of the bytes these tests use.
BpeSource tiny_source() {
  BpeSource source;
  source.pre = "gpt-2";
  source.tokens = {"<|end|>", "<|end", "a",  "b",   "c", "Ġ", "1",
                   "ab",      "abc",   "bc", "Ġab", "Ã", "©", "<keep>"};
  source.types.assign(source.tokens.size(), BpeTokenType::kNormal);
  source.types[0] = source.types[1] = BpeTokenType::kControl;
  source.types.back() = BpeTokenType::kUserDefined;
  source.merges = {"a b", "b c", "ab c", "Ġ ab"};
  return source;
}

std::shared_ptr<const ByteLevelBpe> make(BpeSource source) {
  auto bpe = ByteLevelBpe::create(std::move(source), "test");
  EXPECT_TRUE(bpe.ok()) << bpe.status().to_string();
  return *bpe;
}

StatusCode code_of(BpeSource source) {
  return ByteLevelBpe::create(std::move(source), "test").status().code();
}

std::vector<std::int32_t> ids_of(const Tokenizer& tokenizer, std::string_view text) {
  const auto encoding = tokenizer.encode(text, {});
  EXPECT_TRUE(encoding.ok()) << encoding.status().to_string();
  return encoding.ok() ? encoding->ids : std::vector<std::int32_t>();
}

using Ids = std::vector<std::int32_t>;

TEST(ByteLevelBpe, MergesTheBestPairFirst) {
  const auto bpe = make(tiny_source());
  EXPECT_EQ(ids_of(*bpe, "abc"), (Ids{8}));
  EXPECT_EQ(ids_of(*bpe, " abc"), (Ids{5, 8}));  // "ab c" comes before "Ġ ab"
  EXPECT_EQ(ids_of(*bpe, "bc b ab"), (Ids{9, 5, 3, 10}));
  EXPECT_EQ(ids_of(*bpe, ""), Ids{});
}

TEST(ByteLevelBpe, CutsAsTheNameOfTheTokenizerSays) {
  BpeSource source = tiny_source();
  source.tokens.push_back("cab");  // 14, which no merges make
  source.types.push_back(BpeTokenType::kNormal);
  const auto ids = [&](const char* pre, std::string_view text) {
    BpeSource named = source;
    named.pre = pre;
    return ids_of(*make(std::move(named)), text);
  };
  for (const char* name : {"llama-bpe", "llama3", "llama-v3", "falcon3"})
    EXPECT_EQ(ids(name, "cab"), (Ids{14})) << name;
  for (const char* name : {"dbrx", "smaug-bpe", "qwen2", "deepseek-r1-qwen", "gpt-2", "olmo"})
    EXPECT_EQ(ids(name, "cab"), (Ids{4, 7})) << name;
  for (const char* name : {"olmo", "qwen2", "deepseek-r1-qwen"})  // é in one character
    EXPECT_EQ(ids(name, "e\u0301"), (Ids{11, 12})) << name;
  for (const char* name : {"gpt-2", "dbrx", "refact", "smollm"})
    EXPECT_EQ(ids(name, "e\u0301"), Ids{}) << name;
  // " 1": digits alone, or with the space.
  source.merges.push_back("Ġ 1");
  source.tokens.push_back("Ġ1");  // 15
  source.types.push_back(BpeTokenType::kNormal);
  for (const char* name : {"smollm", "refact", "starcoder"})
    EXPECT_EQ(ids(name, "a 1"), (Ids{2, 5, 6})) << name;
  for (const char* name : {"gpt-2", "olmo"}) EXPECT_EQ(ids(name, "a 1"), (Ids{2, 15})) << name;
}

TEST(ByteLevelBpe, FindsAddedTokensLongestFirstAndControlOnesBeforeOthers) {
  const auto bpe = make(tiny_source());
  EXPECT_EQ(ids_of(*bpe, "a<|end|>b<|endc<keep>"), (Ids{2, 0, 3, 1, 4, 13}));
  EXPECT_EQ(ids_of(*bpe, "<keep<|end|>>"), (Ids{0}));  // '<', 'k', ... have no token here
}

TEST(ByteLevelBpe, WithoutControlTokensNoneIsLeftWhateverTheyAre) {
  const auto breaks = [](std::vector<std::string> control, const std::string& text) {
    BpeSource source = tiny_source();
    source.types.assign(source.tokens.size(), BpeTokenType::kNormal);
    for (std::string& token : control) {
      source.tokens.push_back(std::move(token));
      source.types.push_back(BpeTokenType::kControl);
    }
    return make(std::move(source))->without_control_tokens(text);
  };
  EXPECT_EQ(breaks({"<e>", "<e>x"}, "a<e>x<e>"), "a< e>x< e>");
  EXPECT_EQ(breaks({"xy", "yz"}, "xyz"), "x y z");
  EXPECT_EQ(breaks({"éa"}, "éaé"), "é aé");
  EXPECT_EQ(breaks({"é", "<e>"}, "<éee>"), "<ee>");
  EXPECT_EQ(breaks({"é", "<e>"}, "<ée>"), "< e>");
  EXPECT_EQ(breaks({"<e>", "< e"}, "x<e>y< < eez"), "xyz");
}

TEST(ByteLevelBpe, GivesByteOffsetsAndFlagsTruncation) {
  const auto bpe = make(tiny_source());
  const auto encoding = bpe->encode("abc é<|end|>", {});
  ASSERT_TRUE(encoding.ok());
  EXPECT_EQ(encoding->ids, (Ids{8, 5, 11, 12, 0}));
  EXPECT_EQ(encoding->offsets, (std::vector<ByteSpan>{{0, 3}, {3, 4}, {4, 5}, {5, 6}, {6, 13}}));
  EXPECT_FALSE(encoding->truncated);
  const auto cut = bpe->encode("abc é<|end|>", {.add_special_tokens = true, .max_tokens = 2});
  EXPECT_EQ(cut->ids, (Ids{8, 5}));
  EXPECT_TRUE(cut->truncated);
}

TEST(ByteLevelBpe, AddsBeginAndEndWhereTheFileAsksForThem) {
  BpeSource source = tiny_source();
  source.bos_id = 1;
  source.eos_id = 0;
  const auto bpe = make(source);
  EXPECT_EQ(ids_of(*bpe, "ab"), (Ids{1, 7, 0}));
  EXPECT_EQ(bpe->encode("ab", {.add_special_tokens = false, .max_tokens = 0})->ids, (Ids{7}));
  const auto cut = bpe->encode("ab c ab", {.add_special_tokens = true, .max_tokens = 3});
  EXPECT_EQ(cut->ids, (Ids{1, 7, 0}));
  EXPECT_TRUE(cut->truncated);
  EXPECT_EQ(bpe->encode("ab", {.add_special_tokens = true, .max_tokens = 1}).status().code(),
            StatusCode::kInvalidArgument);
}

TEST(ByteLevelBpe, DecodesCharactersCutInTwoAsReplacement) {
  const auto bpe = make(tiny_source());
  EXPECT_EQ(*bpe->decode(Ids{8, 5, 11, 12, 0}, false), "abc é<|end|>");
  EXPECT_EQ(*bpe->decode(Ids{8, 5, 11, 12, 0, 13}, true), "abc é<keep>");
  EXPECT_EQ(*bpe->decode(Ids{11, 2}, true),
            "\xEF\xBF\xBD"
            "a");
  EXPECT_EQ(bpe->decode(Ids{2, 14}, true).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(bpe->decode(Ids{-1}, true).status().code(), StatusCode::kInvalidArgument);
}

TEST(ByteLevelBpe, RefusesTextThatIsNotUtf8) {
  const auto bpe = make(tiny_source());
  EXPECT_EQ(bpe->encode("ab\xFF", {}).status().code(), StatusCode::kInvalidArgument);
}

TEST(ByteLevelBpe, RefusesDamagedVocabulariesByKind) {
  const auto damaged = [](auto change) {
    BpeSource source = tiny_source();
    change(source);
    return code_of(std::move(source));
  };
  EXPECT_EQ(damaged([](BpeSource& s) { s.tokens = {}; }), StatusCode::kCorruption);
  EXPECT_EQ(damaged([](BpeSource& s) { s.types.pop_back(); }), StatusCode::kCorruption);
  EXPECT_EQ(damaged([](BpeSource& s) { s.types[3] = BpeTokenType(9); }), StatusCode::kCorruption);
  EXPECT_EQ(damaged([](BpeSource& s) { s.tokens[3] = "a"; }), StatusCode::kCorruption);
  EXPECT_EQ(damaged([](BpeSource& s) { s.tokens[3] = ""; }), StatusCode::kCorruption);
  EXPECT_EQ(damaged([](BpeSource& s) { s.tokens[3] = "\xFF"; }), StatusCode::kCorruption);
  EXPECT_EQ(damaged([](BpeSource& s) { s.tokens[0] = std::string(2000, 'x'); }),
            StatusCode::kCorruption);
  EXPECT_EQ(damaged([](BpeSource& s) { s.merges[0] = "a x"; }), StatusCode::kCorruption);
  EXPECT_EQ(damaged([](BpeSource& s) { s.merges[0] = "c a"; }), StatusCode::kCorruption);
  EXPECT_EQ(damaged([](BpeSource& s) { s.merges[0] = "ab"; }), StatusCode::kCorruption);
  EXPECT_EQ(damaged([](BpeSource& s) { s.merges[0] = "a b c"; }), StatusCode::kCorruption);
  EXPECT_EQ(damaged([](BpeSource& s) { s.bos_id = 14; }), StatusCode::kCorruption);
  EXPECT_EQ(damaged([](BpeSource& s) { s.eos_id = -2; }), StatusCode::kCorruption);
  EXPECT_EQ(damaged([](BpeSource& s) { s.pre = "tekken"; }), StatusCode::kNotSupported);
}

TEST(ByteLevelBpe, DigestCoversVocabularyMergesPatternAndSpecialTokens) {
  const std::string digest = make(tiny_source())->digest();
  EXPECT_EQ(make(tiny_source())->digest(), digest);
  const auto changed = [](auto change) {
    BpeSource source = tiny_source();
    change(source);
    return make(std::move(source))->digest();
  };
  EXPECT_NE(changed([](BpeSource& s) { s.pre = "smollm"; }), digest);
  EXPECT_NE(changed([](BpeSource& s) { std::swap(s.merges[0], s.merges[1]); }), digest);
  EXPECT_NE(changed([](BpeSource& s) { s.tokens[13] = "<kept>"; }), digest);
  EXPECT_NE(changed([](BpeSource& s) { s.types[13] = BpeTokenType::kControl; }), digest);
  EXPECT_NE(changed([](BpeSource& s) { s.bos_id = 0; }), digest);
}

double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return double(now.tv_sec) + 1e-9 * double(now.tv_nsec);
}

// One word of a megabyte. Eight times the bytes may take eight times as long and some; merging that
// looks at every pair again after each merge would take 64 times.
TEST(ByteLevelBpe, TimeForOneWordGrowsWithItsLengthNotItsSquare) {
  BpeSource source = tiny_source();
  source.tokens.insert(source.tokens.end(), {"aa", "aaaa"});
  source.types.insert(source.types.end(), 2, BpeTokenType::kNormal);
  source.merges.insert(source.merges.end(), {"a a", "aa aa"});
  const auto bpe = make(std::move(source));
  constexpr std::size_t kMegabyte = std::size_t{1} << 20;
  EXPECT_EQ(ids_of(*bpe, std::string(kMegabyte, 'a')), Ids(kMegabyte / 4, 15));
  EXPECT_EQ(ids_of(*bpe, std::string(kMegabyte, ' ')).size(), kMegabyte);
  for (const char c : {'a', ' ', '<', '\''}) {
    const auto seconds = [&](std::size_t size) {
      double best = 1e9;
      for (int run = 0; run < 2; ++run) {
        const double start = thread_seconds();
        ids_of(*bpe, std::string(size, c));
        best = std::min(best, thread_seconds() - start);
      }
      return best;
    };
    EXPECT_LT(seconds(kMegabyte), 30 * seconds(kMegabyte / 8) + 0.01) << c;
  }
}

// --- Against tests/oracles/make_byte_level_bpe_goldens.py ---

const JsonDocument& goldens() {
  static const JsonDocument document = [] {
    auto loaded =
        JsonDocument::open(std::string(COLLEGIUM_TEST_DATA) + "/byte_level_bpe_goldens.json");
    return std::move(loaded).value();
  }();
  return document;
}

// SmolLM2's tokenizer cut by a pattern; null where the model is not there.
std::shared_ptr<const ByteLevelBpe> smollm2(const std::string& pattern) {
  const char* path = std::getenv("COLLEGIUM_SMOLLM2");
  if (path == nullptr) return nullptr;
  const auto file = GgufFile::open(path);
  EXPECT_TRUE(file.ok()) << file.status().to_string();
  const auto bpe = ByteLevelBpe::from_gguf(*file, pattern);
  EXPECT_TRUE(bpe.ok()) << bpe.status().to_string();
  return *bpe;
}

Ids integers(const JsonValue& value) {
  Ids ids;
  for (const auto id : value.element().get_array()) ids.push_back(std::int32_t(id.get_int64()));
  return ids;
}

TEST(ByteLevelBpe, ReadsThePatternTheFileNames) {
  const char* path = std::getenv("COLLEGIUM_SMOLLM2");
  if (path == nullptr) GTEST_SKIP() << "COLLEGIUM_SMOLLM2 names no SmolLM2 GGUF file";
  const auto tokenizer = load_byte_level_bpe(path);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().to_string();
  EXPECT_EQ((*tokenizer)->digest(), smollm2("smollm")->digest());
  EXPECT_EQ((*tokenizer)->vocab_size(), 49152u);
  EXPECT_EQ((*tokenizer)->token_id("<|im_end|>"), 2);
  EXPECT_EQ((*tokenizer)->token(2), "<|im_end|>");
}

TEST(ByteLevelBpe, EqualsTransformersAndTokenizersOnMadeTexts) {
  if (std::getenv("COLLEGIUM_SMOLLM2") == nullptr)
    GTEST_SKIP() << "COLLEGIUM_SMOLLM2 names no SmolLM2 GGUF file";
  for (const std::string pattern : {"gpt-2", "smollm"}) {
    const auto bpe = smollm2(pattern);
    const auto cases = goldens().root().get("cases")->as_array(100000);
    ASSERT_GE(cases->size(), 300u);
    for (const JsonValue& c : *cases) {
      const std::string text = *c.get_string("text");
      const Ids expected = integers(*c.get(pattern));
      ASSERT_EQ(ids_of(*bpe, text), expected) << pattern << ": " << text;
      if (pattern != "smollm") continue;
      EXPECT_EQ(*bpe->decode(expected, true), *c.get_string("decoded"));
      Ids part;
      for (std::size_t i = 1; i < expected.size(); i += 2) part.push_back(expected[i]);
      EXPECT_EQ(*bpe->decode(part, false), *c.get_string("decoded_part"));
    }
  }
}

TEST(ByteLevelBpe, EqualsLlamaCppUnderEveryNameOfAPreTokenizer) {
  if (std::getenv("COLLEGIUM_SMOLLM2") == nullptr)
    GTEST_SKIP() << "COLLEGIUM_SMOLLM2 names no SmolLM2 GGUF file";
  const auto document =
      *JsonDocument::open(std::string(COLLEGIUM_TEST_DATA) + "/bpe_pre_goldens.json");
  const JsonValue root = document.root();
  const auto texts = *root.get("texts")->as_array(1000);
  const auto first = *root.get("gpt-2")->as_array(1000);
  ASSERT_GT(texts.size(), 200u);
  ASSERT_EQ(first.size(), texts.size());
  for (const char* name : {"gpt-2", "olmo", "smollm", "refact", "starcoder", "llama-bpe", "llama3",
                           "llama-v3", "falcon3", "dbrx", "smaug-bpe", "qwen2", "deepseek-r1-qwen",
                           "deepseek-llm", "deepseek-coder", "deepseek-v3"}) {
    const auto bpe = smollm2(name);
    std::size_t others = 0;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      Ids expected = integers(first[i]);
      const auto own = root.get(name)->get(std::to_string(i));
      if (own.ok()) expected = integers(*own), ++others;
      EXPECT_EQ(ids_of(*bpe, *texts[i].as_string()), expected) << name << " " << i;
    }
    EXPECT_EQ(others > 10, std::string_view(name) != "gpt-2" && std::string_view(name) != "olmo");
  }
}

TEST(ByteLevelBpe, SlowEqualsTransformersAndTokenizersOnSharedQueriesAndDocuments) {
  if (std::getenv("COLLEGIUM_SMOLLM2") == nullptr)
    GTEST_SKIP() << "COLLEGIUM_SMOLLM2 names no SmolLM2 GGUF file";
  const std::string data = shared_data();
  if (data.empty()) GTEST_SKIP() << "COLLEGIUM_DATA names no folder of retrieval data";
  const auto per_hash = std::size_t(*goldens().root().get_unsigned("texts_per_hash"));
  const std::shared_ptr<const ByteLevelBpe> bpes[] = {smollm2("gpt-2"), smollm2("smollm")};
  const std::string names[] = {"gpt-2", "smollm"};
  std::size_t texts = 0;
  const std::vector<JsonValue> corpora = *goldens().root().get("corpora")->as_array(1000);
  for (const JsonValue& corpus : corpora) {
    const std::string name = *corpus.get_string("file");
    const auto count = std::size_t(*corpus.get_unsigned("texts"));
    const auto lines = gzip_lines(data + "/" + name, count);
    ASSERT_EQ(lines.size(), count) << name;
    std::uint64_t hashes[2] = {};
    std::size_t group = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const auto line = JsonDocument::parse(std::as_bytes(std::span(lines[i])), name);
      ASSERT_TRUE(line.ok()) << line.status().to_string();
      const std::string text = *line->root().get_string("text");
      for (int p = 0; p < 2; ++p) {
        if (i % per_hash == 0) hashes[p] = 0xCBF29CE484222325u;
        const Ids ids = ids_of(*bpes[p], text);
        const auto mix = [&](std::uint64_t word) {
          hashes[p] = (hashes[p] ^ word) * 0x100000001B3u;
        };
        mix(ids.size());
        for (const std::int32_t id : ids) mix(std::uint64_t(id));
        if ((i + 1) % per_hash == 0 || i + 1 == count) {
          char hex[17];
          std::snprintf(hex, sizeof hex, "%016llx", static_cast<unsigned long long>(hashes[p]));
          const auto expected = corpus.get(names[p])->as_array(100000);
          ASSERT_LT(group, expected->size());
          EXPECT_EQ(hex, *(*expected)[group].as_string())
              << names[p] << ", " << name << " texts up to " << i;
        }
      }
      if ((i + 1) % per_hash == 0) ++group;
      ++texts;
    }
  }
  EXPECT_GT(texts, 60000u);
}

}  // namespace
}  // namespace collegium::core
