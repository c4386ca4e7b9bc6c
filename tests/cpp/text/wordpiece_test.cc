#include <gtest/gtest.h>

#include "collegium/core/text/tokenizer.h"
#include "io/json_file.h"
#include "text/character_tokenizer.h"
#include "text/oracle_text.h"

namespace collegium::core {
namespace {

constexpr std::string_view kTiny =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nun\n##aff\n##able\na\nb\n##b\n";

// What the `tokenizers` package says (tests/oracles/make_wordpiece.py).
const JsonValue& goldens() {
  static const auto document = JsonDocument::open(COLLEGIUM_TEST_DATA "/wordpiece.json");
  static const JsonValue root = document->root();
  return root;
}

std::vector<JsonValue> array(const JsonValue& object, std::string_view key) {
  return *object.get(key)->as_array(1'000'000);
}

template <typename T = std::int32_t>
std::vector<T> numbers(const JsonValue& object, std::string_view key) {
  std::vector<T> out;
  for (const JsonValue& value : array(object, key))
    out.push_back(static_cast<T>(*value.as_unsigned()));
  return out;
}

TEST(WordPiece, EqualsTokenizersOnHandWrittenTexts) {
  const auto tokenizer = character_tokenizer();
  const auto cases = array(goldens(), "cases");
  ASSERT_GE(cases.size(), 30u);
  for (const JsonValue& expected : cases) {
    const std::string text = *expected.get_string("text");
    const auto encoding = tokenizer->encode(text, {});
    ASSERT_TRUE(encoding.ok()) << encoding.status().to_string();
    EXPECT_EQ(encoding->ids, numbers(expected, "ids")) << text;
    std::vector<std::size_t> offsets;
    for (const ByteSpan& span : encoding->offsets) {
      offsets.push_back(span.begin);
      offsets.push_back(span.end);
    }
    EXPECT_EQ(offsets, numbers<std::size_t>(expected, "offsets")) << text;
    EXPECT_FALSE(encoding->truncated);
  }
}

void expect_equal_on_every_code_point(const char* mode, const char* config) {
  constexpr char32_t kBlock = 8192;
  const auto tokenizer = character_tokenizer(config);
  const auto expected = numbers<std::uint32_t>(*goldens().get("code_points"), mode);
  ASSERT_EQ(expected.size(), 0x110000 / kBlock);
  for (char32_t first = 0; first < 0x110000; first += kBlock) {
    std::vector<std::string> texts;
    for (char32_t c = first; c < first + kBlock; ++c) {
      if (c >= 0xd800 && c < 0xe000) continue;
      const std::string s = utf8(c);
      texts.push_back(s + " a" + s + "b \u302f" + s + "\U0001d165\u0323");
    }
    EXPECT_EQ(checksum(*tokenizer, texts), expected[first / kBlock])
        << mode << ", code points from " << std::uint32_t{first};
  }
}

TEST(WordPiece, EqualsTokenizersOnEveryCodePoint) {
  expect_equal_on_every_code_point("uncased", "{}");
}

TEST(WordPiece, SlowEqualsTokenizersOnEveryCodePointInTheOtherModes) {
  expect_equal_on_every_code_point("cased", R"({"do_lower_case": false})");
  expect_equal_on_every_code_point("uncased, accents kept", R"({"strip_accents": false})");
  expect_equal_on_every_code_point("cased, accents stripped",
                                   R"({"do_lower_case": false, "strip_accents": true})");
  expect_equal_on_every_code_point("ideographs not split", R"({"tokenize_chinese_chars": false})");
}

// random_texts() of make_wordpiece.py.
class RandomTexts {
 public:
  std::string next() {
    constexpr std::pair<char32_t, char32_t> kRanges[] = {
        {0x20, 0x7F},       {0x61, 0x7B},       {0x61, 0x7B},     {0x20, 0x21},
        {0xA0, 0x250},      {0x300, 0x370},     {0x300, 0x346},   {0x370, 0x600},
        {0x8D0, 0x900},     {0x900, 0xE00},     {0xF70, 0xF86},   {0x1100, 0x1200},
        {0x1E00, 0x2070},   {0x3000, 0x3100},   {0x302A, 0x3030}, {0x4E00, 0x4E10},
        {0xAC00, 0xAC40},   {0xFB00, 0xFB50},   {0xFE00, 0xFE30}, {0x1D15E, 0x1D173},
        {0x1F600, 0x1F610}, {0x2F800, 0x2F810}, {0x0, 0x20}};
    std::string text;
    for (std::uint64_t left = 1 + below(40); left > 0; --left) {
      const auto [first, last] = kRanges[below(std::size(kRanges))];
      text += utf8(first + static_cast<char32_t>(below(last - first)));
    }
    return text;
  }

 private:
  std::uint64_t below(std::uint64_t limit) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return (state_ >> 33) % limit;
  }
  std::uint64_t state_ = 1;
};

TEST(WordPiece, EqualsTokenizersOnRandomMixesOfScriptsAndMarks) {
  const auto tokenizer = character_tokenizer();
  RandomTexts random;
  for (const std::uint32_t expected : numbers<std::uint32_t>(goldens(), "random")) {
    std::vector<std::string> texts;
    for (int i = 0; i < 1000; ++i) texts.push_back(random.next());
    EXPECT_EQ(checksum(*tokenizer, texts), expected);
  }
}

TEST(WordPiece, TruncatesAsTokenizersDoesAndSaysSo) {
  const auto tokenizer = character_tokenizer();
  for (const JsonValue& expected : array(goldens(), "truncated")) {
    const auto encoding = tokenizer->encode(*expected.get_string("text"),
                                            {.max_tokens = *expected.get_unsigned("max")});
    EXPECT_EQ(encoding->ids, numbers(expected, "ids"));
    EXPECT_EQ(encoding->offsets.size(), encoding->ids.size());
    EXPECT_EQ(encoding->truncated, *expected.get_bool("truncated"));
  }
  EXPECT_EQ(tokenizer->encode("a", {.max_tokens = 1}).status().code(),
            StatusCode::kInvalidArgument);
  const auto bare = tokenizer->encode("a b c", {.add_special_tokens = false, .max_tokens = 2});
  EXPECT_EQ(bare->ids.size(), 2u);
  EXPECT_TRUE(bare->truncated);
}

TEST(WordPiece, CutsWordsGreedily) {
  TokenizerFolder folder;
  const auto tokenizer = *folder.write("vocab.txt", kTiny).load();
  const auto encoding = *tokenizer->encode("Unaffable abb ax", {.add_special_tokens = false});
  EXPECT_EQ(encoding.ids, (std::vector<std::int32_t>{5, 6, 7, 8, 10, 10, 1}));
  EXPECT_EQ(encoding.offsets[1], (ByteSpan{2, 5}));
  EXPECT_EQ(encoding.offsets[6], (ByteSpan{14, 16}));
}

TEST(WordPiece, LooksTokensUp) {
  TokenizerFolder folder;
  const auto tokenizer = *folder.write("vocab.txt", kTiny).load();
  EXPECT_EQ(tokenizer->vocab_size(), 11u);
  EXPECT_EQ(tokenizer->token_id("##aff"), 6);
  EXPECT_EQ(tokenizer->token_id("aff"), -1);
  EXPECT_EQ(tokenizer->token(7), "##able");
  EXPECT_EQ(tokenizer->token(11), "");
  EXPECT_EQ(tokenizer->token(-1), "");
}

TEST(WordPiece, RefusesToDecodeAnIdOutOfRange) {
  TokenizerFolder folder;
  const auto tokenizer = *folder.write("vocab.txt", kTiny).load();
  EXPECT_EQ(*tokenizer->decode(std::vector<std::int32_t>{2, 5, 6, 3}, true), "unaff");
  for (const std::int32_t id : {-1, 11}) {
    const auto decoded = tokenizer->decode(std::vector<std::int32_t>{0, id}, false);
    EXPECT_EQ(decoded.status().code(), StatusCode::kInvalidArgument);
  }
}

TEST(WordPiece, RefusesTextThatIsNotUtf8AndSaysWhere) {
  const auto tokenizer = character_tokenizer();
  for (const std::string_view bad :
       {"abc\xff", "abc\xc0\x80", "abc\xed\xa0\x80", "abc\xf4\x90\x80\x80", "abc\xe2\x82",
        "abc\x80", "abc\xf8\x88\x80\x80\x80"}) {
    const Status status = tokenizer->encode(bad, {}).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find("offset 3"), std::string::npos) << status.message();
  }
}

TEST(WordPiece, TakesAnyLengthOfText) {
  const auto tokenizer = character_tokenizer();
  const std::size_t million = 1'000'000;
  EXPECT_EQ(tokenizer->encode(std::string(million, 'a'), {})->ids.size(), 3u);
  EXPECT_EQ(tokenizer->encode(std::string(million, '.'), {})->ids.size(), million + 2);
  EXPECT_EQ(tokenizer->encode(std::string(million, '['), {})->ids.size(), million + 2);
  EXPECT_EQ(tokenizer->encode(std::string(million, ' '), {})->ids.size(), 2u);
  std::string marks;
  for (std::size_t i = 0; i < million / 4; ++i) marks += i % 2 ? "\u0301" : "\u0323";
  EXPECT_EQ(tokenizer->encode("a" + marks, {})->ids.size(), 3u);
}

TEST(WordPiece, DigestCoversVocabularyAndOptions) {
  std::vector<std::string> digests;
  for (const auto& [vocabulary, config] :
       {std::pair<std::string, const char*>{kTiny, "{}"},
        {std::string(kTiny) + "c\n", "{}"},
        {std::string(kTiny), R"({"do_lower_case": false})"},
        {std::string(kTiny), R"({"strip_accents": false})"},
        {std::string(kTiny), R"({"tokenize_chinese_chars": false})"},
        {std::string(kTiny), R"({"unk_token": "a"})"},
        {std::string(kTiny), R"({"additional_special_tokens": ["a"]})"}}) {
    TokenizerFolder folder;
    const auto made =
        folder.write("vocab.txt", vocabulary).write("tokenizer_config.json", config).load();
    ASSERT_TRUE(made.ok()) << made.status().to_string();
    for (const std::string& other : digests) EXPECT_NE((*made)->digest(), other) << config;
    digests.push_back((*made)->digest());
    EXPECT_EQ(digests.back().size(), 32u);
  }
}

TEST(WordPiece, TakesTheFieldsOfRealFolders) {
  TokenizerFolder folder;
  folder.write("vocab.txt", kTiny).write("tokenizer_config.json", R"({
    "added_tokens_decoder": {"0": {"content": "[PAD]", "lstrip": false, "normalized": false,
                                   "rstrip": false, "single_word": false, "special": true}},
    "additional_special_tokens": [], "clean_up_tokenization_spaces": true, "cls_token": "[CLS]",
    "do_basic_tokenize": true, "do_lower_case": true, "mask_token": "[MASK]", "max_length": 128,
    "model_max_length": 1000000000000000019884624838656, "never_split": null,
    "name_or_path": "x", "pad_to_multiple_of": null, "pad_token": "[PAD]", "pad_token_type_id": 0,
    "padding_side": "right", "sep_token": "[SEP]", "special_tokens_map_file": null, "stride": 0,
    "strip_accents": null, "tokenize_chinese_chars": true, "tokenizer_class": "BertTokenizer",
    "truncation_side": "right", "truncation_strategy": "longest_first", "unk_token": "[UNK]"})");
  folder.write("special_tokens_map.json", R"({"cls_token": {"content": "[CLS]", "lstrip": false,
    "normalized": false, "rstrip": false, "single_word": false}, "unk_token": "[UNK]"})");
  EXPECT_TRUE(folder.status().ok()) << folder.status().to_string();
}

TEST(WordPiece, FindsAdditionalSpecialTokensInRawText) {
  TokenizerFolder folder;
  folder.write("vocab.txt", std::string(kTiny) + "[E1]\n[E1x]\n")
      .write("tokenizer_config.json", R"({"additional_special_tokens": ["[E1]", "[E1x]"]})");
  const auto encoding = *(*folder.load())->encode("a[E1]b[E1x]", {.add_special_tokens = false});
  EXPECT_EQ(encoding.ids, (std::vector<std::int32_t>{8, 11, 9, 12}));
}

TEST(WordPiece, RefusesByNameWhatWouldChangeIds) {
  for (const auto& [field, text] :
       {std::pair{"do_basic_tokenize", R"({"do_basic_tokenize": false})"},
        {"never_split", R"({"never_split": ["x"]})"},
        {"truncation_side", R"({"truncation_side": "left"})"},
        {"tokenizer_class", R"({"tokenizer_class": "LlamaTokenizer"})"},
        {"wordpieces_prefix", R"({"wordpieces_prefix": "@@"})"},
        {"mask_token", R"({"mask_token": {"content": "[MASK]", "lstrip": true}})"},
        {"frobnicate", R"({"frobnicate": 1})"}}) {
    TokenizerFolder folder;
    const Status status =
        folder.write("vocab.txt", kTiny).write("tokenizer_config.json", text).status();
    EXPECT_EQ(status.code(), StatusCode::kNotSupported) << status.to_string();
    EXPECT_NE(status.message().find(field), std::string::npos) << status.message();
  }
  TokenizerFolder folder;
  folder.write("vocab.txt", kTiny)
      .write("tokenizer_config.json", R"({"unk_token": "[UNK]"})")
      .write("special_tokens_map.json", R"({"unk_token": "a"})");
  EXPECT_EQ(folder.status().code(), StatusCode::kNotSupported);
}

TEST(WordPiece, RefusesDamagedFilesAsCorruption) {
  for (const std::string& vocabulary :
       {std::string("[UNK]\n[CLS]\n"), std::string(kTiny) + "a\n", std::string(kTiny) + "\nz\n",
        std::string(kTiny) + "\xff\n", std::string()}) {
    TokenizerFolder folder;
    EXPECT_EQ(folder.write("vocab.txt", vocabulary).status().code(), StatusCode::kCorruption);
  }
  for (const char* config : {"{", "[]", R"({"do_lower_case": "yes"})", R"({"unk_token": 3})"}) {
    TokenizerFolder folder;
    folder.write("vocab.txt", kTiny).write("tokenizer_config.json", config);
    EXPECT_EQ(folder.status().code(), StatusCode::kCorruption) << config;
  }
  EXPECT_EQ(TokenizerFolder().status().code(), StatusCode::kNotFound);
}

TEST(WordPiece, DecodesAsTokenizersDoes) {
  const char* minilm = std::getenv("COLLEGIUM_MINILM");
  if (minilm == nullptr) GTEST_SKIP() << "COLLEGIUM_MINILM names no MiniLM folder";
  const auto tokenizer = *load_wordpiece(minilm);
  for (const JsonValue& expected : array(goldens(), "decoded_by_minilm")) {
    EXPECT_EQ(*tokenizer->decode(numbers(expected, "ids"), *expected.get_bool("skip")),
              *expected.get_string("text"));
  }
}

TEST(WordPiece, SlowEqualsTokenizersOnAllSharedQueriesAnd40000Documents) {
  const char* minilm = std::getenv("COLLEGIUM_MINILM");
  if (minilm == nullptr) GTEST_SKIP() << "COLLEGIUM_MINILM names no MiniLM folder";
  const std::string data = shared_data();
  if (data.empty()) GTEST_SKIP() << "COLLEGIUM_DATA names no folder of retrieval data";
  const auto tokenizer = *load_wordpiece(minilm);
  std::size_t sets = 0;
  const auto compare = [&](const std::string& name, const JsonValue& expected,
                           std::string_view kind, const std::string& file, std::size_t limit) {
    std::vector<std::string> texts;
    std::vector<std::uint32_t> sums;
    const auto lines = gzip_lines(data + "/" + name + "/" + file, limit);
    for (std::size_t i = 0; i < lines.size(); ++i) {
      const auto line = JsonDocument::parse(std::as_bytes(std::span(lines[i])), name);
      ASSERT_TRUE(line.ok()) << line.status().to_string();
      const std::string text = *line->root().get_string("text");
      texts.push_back(kind == "queries" ? text : *line->root().get_string("title") + " " + text);
      if (texts.size() == 100 || i + 1 == lines.size()) {
        sums.push_back(checksum(*tokenizer, texts));
        texts.clear();
      }
    }
    EXPECT_EQ(sums, numbers<std::uint32_t>(expected, kind)) << name << " " << kind;
  };
  const Status status =
      goldens().get("minilm")->for_each_field([&](std::string_view key, const JsonValue& expected) {
        const std::string name(key);
        compare(name, expected, "queries", "queries.jsonl.gz", std::size_t(-1));
        compare(name, expected, "documents", "corpus.jsonl.gz", 3000);
        ++sets;
        return Status();
      });
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(sets, 18u);
}

}  // namespace
}  // namespace collegium::core
