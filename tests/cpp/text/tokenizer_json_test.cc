#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "collegium/core/text/tokenizer.h"
#include "io/json_file.h"
#include "text/character_tokenizer.h"
#include "text/oracle_text.h"

namespace collegium::core {
namespace {

// Each folder has a tokenizer.json and what the `tokenizers` package makes of texts with it
// (tests/oracles/make_tokenizers.py).
constexpr const char* kKinds[] = {
    "bert",     "bert_cased", "bert_raw",     "mpnet",          "wordpiece_parts",
    "roberta",  "gpt2",       "gpt2_regex",   "modernbert",     "llama3",
    "qwen2",    "smollm",     "gemma",        "unknown_bpe",    "xlmr",
    "xlmr_old", "t5",         "deepseek_llm", "deepseek_coder", "deepseek_v3",
};

std::string file_of(const std::string& kind, const std::string& name) {
  return COLLEGIUM_TEST_DATA "/tokenizers/" + kind + "/" + name;
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

std::vector<std::size_t> flat(const std::vector<ByteSpan>& spans) {
  std::vector<std::size_t> out;
  for (const ByteSpan& span : spans) {
    out.push_back(span.begin);
    out.push_back(span.end);
  }
  return out;
}

std::vector<std::int32_t> types(const Encoding& encoding) {
  return encoding.type_ids.empty() ? std::vector<std::int32_t>(encoding.ids.size(), 0)
                                   : encoding.type_ids;
}

class TokenizerJson : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    auto loaded = load_tokenizer_json(file_of(GetParam(), "tokenizer.json"));
    ASSERT_TRUE(loaded.ok()) << loaded.status().to_string();
    tokenizer = *loaded;
    auto opened = JsonDocument::open(file_of(GetParam(), "goldens.json"));
    ASSERT_TRUE(opened.ok()) << opened.status().to_string();
    document = std::make_unique<JsonDocument>(std::move(*opened));
  }
  JsonValue goldens() const { return document->root(); }

  std::shared_ptr<const Tokenizer> tokenizer;
  std::unique_ptr<JsonDocument> document;
};

INSTANTIATE_TEST_SUITE_P(Kinds, TokenizerJson, ::testing::ValuesIn(kKinds),
                         [](const auto& kind) { return std::string(kind.param); });

TEST_P(TokenizerJson, EqualsTokenizersOnHandWrittenTexts) {
  EXPECT_EQ(tokenizer->vocab_size(), *goldens().get_unsigned("vocab_size"));
  const auto cases = array(goldens(), "cases");
  ASSERT_GE(cases.size(), 40u);
  for (const JsonValue& expected : cases) {
    const std::string text = *expected.get_string("text");
    const auto encoding = tokenizer->encode(text, {});
    ASSERT_TRUE(encoding.ok()) << encoding.status().to_string();
    EXPECT_EQ(encoding->ids, numbers(expected, "ids")) << text;
    EXPECT_EQ(flat(encoding->offsets), numbers<std::size_t>(expected, "offsets")) << text;
    EXPECT_EQ(types(*encoding), numbers(expected, "types")) << text;
    EXPECT_FALSE(encoding->truncated);
    const auto plain = tokenizer->encode(text, {.add_special_tokens = false});
    EXPECT_EQ(plain->ids, numbers(expected, "plain")) << text;
  }
}

TEST_P(TokenizerJson, DecodesAsTokenizersDoes) {
  for (const JsonValue& expected : array(goldens(), "cases")) {
    const auto ids = numbers(expected, "ids");
    const auto plain = numbers(expected, "plain");
    EXPECT_EQ(*tokenizer->decode(ids, true), *expected.get_string("decoded"));
    std::vector<std::int32_t> part;
    for (std::size_t i = 1; i < plain.size(); i += 2) part.push_back(plain[i]);
    EXPECT_EQ(*tokenizer->decode(part, false), *expected.get_string("decoded_part"));
  }
}

TEST_P(TokenizerJson, TruncatesAsTokenizersDoes) {
  for (const JsonValue& expected : array(goldens(), "cut")) {
    const std::string text = *expected.get_string("text");
    const std::size_t limit = *expected.get_unsigned("max");
    const auto encoding = tokenizer->encode(text, {.max_tokens = limit});
    ASSERT_TRUE(encoding.ok()) << encoding.status().to_string();
    EXPECT_EQ(encoding->ids, numbers(expected, "ids")) << text << " " << limit;
    EXPECT_EQ(flat(encoding->offsets), numbers<std::size_t>(expected, "offsets")) << text;
    EXPECT_EQ(encoding->truncated, *expected.get_bool("truncated")) << text << " " << limit;
  }
}

TEST_P(TokenizerJson, JoinsPairsAsTokenizersDoes) {
  const auto pairs = array(goldens(), "pairs");
  ASSERT_GE(pairs.size(), 50u);
  for (const JsonValue& expected : pairs) {
    const std::string first = *expected.get_string("first");
    const std::string second = *expected.get_string("second");
    const EncodeOptions options{.add_special_tokens = *expected.get_bool("special"),
                                .max_tokens = *expected.get_unsigned("max")};
    const auto encoding = tokenizer->encode_pair(first, second, options);
    ASSERT_TRUE(encoding.ok()) << encoding.status().to_string();
    const std::string what = first + " | " + second + " " + std::to_string(options.max_tokens);
    EXPECT_EQ(encoding->ids, numbers(expected, "ids")) << what;
    EXPECT_EQ(flat(encoding->offsets), numbers<std::size_t>(expected, "offsets")) << what;
    EXPECT_EQ(types(*encoding), numbers(expected, "types")) << what;
    EXPECT_EQ(encoding->truncated, *expected.get_bool("truncated")) << what;
  }
}

// random_texts() of make_tokenizers.py.
std::vector<std::string> random_texts(std::size_t count) {
  constexpr std::pair<char32_t, char32_t> kRanges[] = {
      {0x20, 0x7f},       {0x61, 0x7b},       {0x61, 0x7b},       {0x20, 0x21},
      {0x20, 0x30},       {0x30, 0x3a},       {0x09, 0x0e},       {0xa0, 0x250},
      {0x300, 0x346},     {0x370, 0x600},     {0x8d0, 0xe80},     {0x1100, 0x1200},
      {0x1e00, 0x2070},   {0x2460, 0x2470},   {0x3000, 0x3100},   {0x4e00, 0x4e10},
      {0xac00, 0xac40},   {0xfb00, 0xfb50},   {0xfe00, 0xfe30},   {0xff00, 0xffa0},
      {0x1d15e, 0x1d173}, {0x1f600, 0x1f610}, {0x2f800, 0x2f810}, {0x0, 0x20},
  };
  constexpr const char* kWords[] = {
      "<mask>", "[MASK]", "alone",  "left",    "right", "<s>",    "</s>", "  ",  "'s",    "'LL",
      "\r\n",   "▁",      "\u200d", "e\u0301", "the ",  " class", "\n\n", "...", "<unk>", "Ġ",
  };
  std::uint64_t state = 1;
  const auto below = [&](std::size_t limit) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<std::size_t>(state >> 33) % limit;
  };
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < count; ++i) {
    std::string text;
    const std::size_t length = 1 + below(40);
    for (std::size_t j = 0; j < length; ++j) {
      const std::size_t kind = below(std::size(kRanges) + 4);
      if (kind < std::size(kRanges)) {
        const auto [first, last] = kRanges[kind];
        text += utf8(first + static_cast<char32_t>(below(last - first)));
      } else {
        text += kWords[below(std::size(kWords))];
      }
    }
    texts.push_back(text);
  }
  return texts;
}

TEST_P(TokenizerJson, EqualsTokenizersOnRandomTexts) {
  constexpr std::size_t kChunk = 500;
  const auto expected = numbers<std::uint32_t>(goldens(), "random");
  const auto texts = random_texts(expected.size() * kChunk);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const auto begin = texts.begin() + static_cast<std::ptrdiff_t>(i * kChunk);
    EXPECT_EQ(checksum(*tokenizer, {begin, begin + kChunk}), expected[i]) << i;
  }
}

// The blocks of code points from `first` on, each `step` blocks.
void expect_equal_on_code_points(const Tokenizer& tokenizer, const JsonValue& goldens,
                                 std::size_t first, std::size_t step) {
  constexpr std::size_t kBlock = 8192;
  constexpr std::size_t kGroup = 16;
  const auto expected = numbers<std::uint32_t>(goldens, "code_points");
  ASSERT_EQ(expected.size(), 0x110000 / kBlock);
  for (std::size_t block = first; block < expected.size(); block += step) {
    std::vector<std::string> texts;
    for (std::size_t group = block * kBlock; group < (block + 1) * kBlock; group += kGroup) {
      std::string text;
      for (std::size_t i = group; i < group + kGroup; ++i) {
        if (i >= 0xd800 && i < 0xe000) continue;
        const std::string c = utf8(static_cast<char32_t>(i));
        if (!text.empty()) text += ' ';
        text += c + " a" + c + "b \u0301" + c + "\u0323e" + c + "\u0301";
      }
      texts.push_back(text);
    }
    EXPECT_EQ(checksum(tokenizer, texts), expected[block]) << "code points from " << block * kBlock;
  }
}

TEST_P(TokenizerJson, EqualsTokenizersOnTheFirstCodePoints) {
  expect_equal_on_code_points(*tokenizer, goldens(), 0, 1000);
  expect_equal_on_code_points(*tokenizer, goldens(), 15, 14);
}

TEST_P(TokenizerJson, SlowEqualsTokenizersOnEveryCodePoint) {
  expect_equal_on_code_points(*tokenizer, goldens(), 0, 1);
}

TEST_P(TokenizerJson, TakesLinearTime) {
  constexpr std::size_t kBytes = std::size_t{1} << 20;
  std::string words;
  while (words.size() < kBytes) words += "The class of strings, 12 methods (and so on)\n";
  std::string marks = "a";
  while (marks.size() < kBytes) marks += "\u0301\u0323";
  std::string letters;
  for (std::size_t i = 0; letters.size() < kBytes; ++i)
    letters += static_cast<char>('a' + i * i % 7919 % 26);
  std::string ideographs;
  while (ideographs.size() < kBytes) ideographs += "敏捷的";
  const std::string texts[] = {words,
                               std::string(kBytes, 'a'),
                               std::string(kBytes, ' '),
                               std::string(kBytes, '\n'),
                               std::string(kBytes, '\''),
                               std::string(kBytes, '7'),
                               marks,
                               letters,
                               ideographs};
  for (const std::string& text : texts) {
    const auto begin = std::chrono::steady_clock::now();
    const auto encoding = tokenizer->encode(text, {});
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    ASSERT_TRUE(encoding.ok()) << encoding.status().to_string();
    // A tenth of it on a fast machine; quadratic time would be minutes.
    EXPECT_LT(took.count(), 10) << text.substr(0, 20);
    if (std::getenv("COLLEGIUM_PRINT_TIMES") != nullptr)
      printf("%s %.8s %.3f s\n", GetParam(), text.c_str(), took.count());
  }
}

TEST_P(TokenizerJson, RefusesTextThatIsNoUtf8AndIdsThatAreNone) {
  EXPECT_EQ(tokenizer->encode("a\xff", {}).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(tokenizer->encode_pair("a", "\xc3", {}).status().code(), StatusCode::kInvalidArgument);
  const auto beyond = static_cast<std::int32_t>(tokenizer->vocab_size());
  for (const std::int32_t id : {-1, beyond})
    EXPECT_EQ(tokenizer->decode(std::vector{id}, true).status().code(),
              StatusCode::kInvalidArgument);
  EXPECT_EQ(tokenizer->token(beyond), "");
  for (std::int32_t id = 0; id < beyond; ++id)
    EXPECT_EQ(tokenizer->token_id(tokenizer->token(id)), id);
}

// A folder with files in it, gone afterwards.
class Files {
 public:
  std::string folder() const { return path_; }
  std::string write(const std::string& text, const std::string& name = "tokenizer.json") {
    folder_.write(name, text);
    return path_ + "/" + name;
  }

 private:
  TokenizerFolder folder_;
  std::string path_ = folder_.path();
};

std::string read(const std::string& path) {
  std::ostringstream out;
  out << std::ifstream(path, std::ios::binary).rdbuf();
  return out.str();
}

// `text` with the one place of `from` replaced.
std::string replaced(std::string text, std::string_view from, std::string_view to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, text.npos) << from;
  EXPECT_EQ(text.find(from, at + 1), text.npos) << from;
  return at == text.npos ? text : text.replace(at, from.size(), to);
}

TEST_P(TokenizerJson, DamagedFilesGiveAStatusOrATokenizerThatWorks) {
  const std::string good = read(file_of(GetParam(), "tokenizer.json"));
  Files file;
  std::mt19937 random(20240611);
  const auto below = [&](std::size_t limit) { return random() % limit; };
  constexpr std::string_view kPieces[] = {"null", "-1", "0",  "99999999999", "\"\"", "[]",
                                          "{}",   ",",  "\"", "1e9",         "true", "\"\\u0000\""};
  std::size_t loaded = 0;
  for (int round = 0; round < 500; ++round) {
    std::string bad = good;
    const std::size_t edits = 1 + below(3);
    for (std::size_t i = 0; i < edits && !bad.empty(); ++i) {
      // The part before the vocabulary is short and the more interesting.
      const std::size_t at =
          below(2) ? below(bad.size()) : below(std::min<std::size_t>(bad.size(), 3000));
      switch (below(6)) {
        case 0:
          bad[at] = static_cast<char>(random());
          break;
        case 1:
          bad[at] = static_cast<char>('0' + below(10));
          break;
        case 2:
          bad.resize(at);
          break;
        case 3:
          bad.erase(at, 1 + below(20));
          break;
        case 4:
          bad.insert(at, kPieces[below(std::size(kPieces))]);
          break;
        default: {
          // A whole value for another.
          const std::size_t colon = bad.find(':', at);
          if (colon == bad.npos) break;
          const std::size_t end = bad.find_first_of(",}]", colon);
          if (end == bad.npos) break;
          bad.replace(colon + 1, end - colon - 1, kPieces[below(std::size(kPieces))]);
        }
      }
    }
    const auto result = load_tokenizer_json(file.write(bad));
    if (!result.ok()) {
      EXPECT_TRUE(result.status().code() == StatusCode::kCorruption ||
                  result.status().code() == StatusCode::kNotSupported)
          << result.status().to_string();
      continue;
    }
    ++loaded;
    for (const char* text : {"Hello  wörld [MASK] <mask>", "", "e\u0301 漢字 12\n\u0007 ﬁ"}) {
      const auto encoding = (*result)->encode(text, {});
      ASSERT_TRUE(encoding.ok()) << encoding.status().to_string();
      for (const std::int32_t id : encoding->ids)
        EXPECT_TRUE(id >= 0 && static_cast<std::size_t>(id) < (*result)->vocab_size());
      for (const ByteSpan& span : encoding->offsets)
        EXPECT_TRUE(span.begin <= span.end && span.end <= std::string_view(text).size());
      (void)(*result)->decode(encoding->ids, true);
    }
  }
  EXPECT_GT(loaded, 0u);
  EXPECT_LT(loaded, 400u);
}

TEST(TokenizerJsonFile, BertIsTheWordPieceOfItsVocabulary) {
  Files file;
  auto tokenizer = *load_tokenizer_json(file_of("bert", "tokenizer.json"));
  std::string vocabulary;
  for (std::size_t id = 0; id < tokenizer->vocab_size(); ++id)
    vocabulary += std::string(tokenizer->token(static_cast<std::int32_t>(id))) + "\n";
  file.write(vocabulary, "vocab.txt");
  EXPECT_EQ(tokenizer->digest(), (*load_wordpiece(file.folder()))->digest());

  tokenizer = *load_tokenizer_json(file_of("bert_cased", "tokenizer.json"));
  vocabulary.clear();
  for (std::size_t id = 0; id < tokenizer->vocab_size(); ++id)
    vocabulary += std::string(tokenizer->token(static_cast<std::int32_t>(id))) + "\n";
  file.write(vocabulary, "vocab.txt");
  file.write(R"({"do_lower_case": false, "tokenize_chinese_chars": false})",
             "tokenizer_config.json");
  EXPECT_EQ(tokenizer->digest(), (*load_wordpiece(file.folder()))->digest());
}

// bert-base-uncased's own file is one of those.
TEST(TokenizerJsonFile, AnOldFileWhoseModelNamesNoTypeIsTheSame) {
  Files file;
  std::string text = read(file_of("bert", "tokenizer.json"));
  const std::size_t model = text.find("\"model\"");
  const std::string type = "\"type\":\"WordPiece\",";
  const std::size_t at = text.find(type, model);
  ASSERT_NE(at, std::string::npos);
  file.write(text.erase(at, type.size()));
  const auto old = load_tokenizer(file.folder());
  ASSERT_TRUE(old.ok()) << old.status().to_string();
  EXPECT_EQ(old->tokenizer->digest(),
            (*load_tokenizer_json(file_of("bert", "tokenizer.json")))->digest());
}

TEST(TokenizerJsonFile, ATokenOrAWordOfAbsurdLengthIsRefused) {
  Files file;
  std::string text = read(file_of("xlmr", "tokenizer.json"));
  const std::size_t vocabulary = text.find("\"vocab\":[");
  ASSERT_NE(vocabulary, std::string::npos);
  const std::size_t end = text.rfind("]]");
  ASSERT_NE(end, std::string::npos);
  text.insert(end + 1, ",[\"" + std::string(5000, 'a') + "\",-1.0]");
  file.write(text);
  Status status = load_tokenizer(file.folder()).status();
  EXPECT_EQ(status.code(), StatusCode::kNotSupported) << status.to_string();
  EXPECT_NE(status.message().find("5000 bytes"), std::string::npos) << status.to_string();

  text = read(file_of("wordpiece_parts", "tokenizer.json"));
  const std::string limit = "\"max_input_chars_per_word\":";
  const std::size_t at = text.find(limit);
  ASSERT_NE(at, std::string::npos);
  file.write(text.insert(at + limit.size(), "1000"));
  status = load_tokenizer(file.folder()).status();
  EXPECT_EQ(status.code(), StatusCode::kNotSupported) << status.to_string();
  EXPECT_NE(status.message().find("max_input_chars_per_word"), std::string::npos);
}

TEST(TokenizerJsonFile, EveryKindHasItsOwnDigest) {
  std::vector<std::string> digests;
  for (const char* kind : kKinds)
    digests.push_back((*load_tokenizer_json(file_of(kind, "tokenizer.json")))->digest());
  std::sort(digests.begin(), digests.end());
  EXPECT_EQ(std::unique(digests.begin(), digests.end()), digests.end());
}

TEST(TokenizerJsonFile, TruncationAndPaddingAreTheCallersDefaults) {
  Files file;
  const std::string good = read(file_of("roberta", "tokenizer.json"));
  const std::string path = file.write(replaced(
      replaced(good, R"("truncation":null)", R"("truncation":{"max_length":3,"stride":0})"),
      R"("padding":null)", R"("padding":{"strategy":{"Fixed":128}})"));
  const auto given = *load_tokenizer_json(path);
  const auto plain = *load_tokenizer_json(file_of("roberta", "tokenizer.json"));
  EXPECT_EQ(given->digest(), plain->digest());
  const std::string text = "strings and classes and methods";
  EXPECT_EQ(given->encode(text, {})->ids, plain->encode(text, {})->ids);
}

struct Refusal {
  const char* kind;
  const char* from;
  const char* to;
  StatusCode code;
  const char* message;  // a part of it
};

TEST(TokenizerJsonFile, RefusesByNameWhatItDoesNotRun) {
  constexpr StatusCode kNot = StatusCode::kNotSupported;
  constexpr StatusCode kDamage = StatusCode::kCorruption;
  const Refusal refusals[] = {
      {"roberta", R"("normalizer":null)", R"("normalizer":{"type":"Fancy"})", kNot,
       "normalizer 'Fancy'"},
      {"roberta", R"("normalizer":null)",
       R"("normalizer":{"type":"Replace","pattern":{"Regex":"a+"},"content":""})", kNot,
       "regular expression 'a+'"},
      {"roberta", R"("normalizer":null)", R"("normalizer":{"type":"NFC","more":1})", kNot, "more"},
      {"roberta", R"("normalizer":null)", R"("normalizer":null,"extra":1)", kNot, "extra"},
      {"roberta", R"("version":"1.0")", R"("version":"2.0")", kNot, "version '2.0'"},
      {"roberta", R"("dropout":null)", R"("dropout":0.1)", kNot, "dropout"},
      {"roberta", R"("end_of_word_suffix":null)", R"("end_of_word_suffix":"</w>")", kNot,
       "end_of_word_suffix"},
      {"roberta", R"("type":"RobertaProcessing")", R"("type":"Other")", kNot,
       "post-processor 'Other'"},
      {"roberta", R"("model":{"type":"BPE")", R"("model":{"type":"WordLevel")", kNot,
       "model 'WordLevel'"},
      {"llama3", R"(\\p{N}{1,3})", R"(\\p{N}{1,4})", kNot, "regular expression"},
      {"llama3", R"("behavior":"Isolated")", R"("behavior":"Removed")", kNot, "Isolated"},
      {"llama3", R"("invert":false)", R"("invert":true)", kNot, "invert"},
      {"smollm", R"("type":"Digits")", R"("type":"Fives")", kNot, "pre-tokenizer 'Fives'"},
      {"smollm", R"({"type":"Digits","individual_digits":true})",
       R"({"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true})",
       kNot, "second time"},
      {"t5", R"("unk_id":2)", R"("unk_id":null)", kNot, "unk_id"},
      {"t5", R"("unk_id":2)", R"("unk_id":90000)", kDamage, "unk_id"},
      {"xlmr", R"("id":"A")", R"("id":"C")", kDamage, "'C'"},
      {"mpnet", R"("unk_token":"[UNK]")", R"("unk_token":"[NONE]")", kDamage, "'[NONE]'"},
      {"mpnet", R"({"id":1,"content":"<pad>")", R"({"id":7,"content":"<pad>")", kDamage,
       "must be 1"},
  };
  Files file;
  for (const Refusal& refusal : refusals) {
    std::string text = read(file_of(refusal.kind, "tokenizer.json"));
    const std::size_t at = text.find(refusal.from);
    ASSERT_NE(at, text.npos) << refusal.from;
    text.replace(at, std::string_view(refusal.from).size(), refusal.to);
    const auto result = load_tokenizer_json(file.write(text));
    ASSERT_FALSE(result.ok()) << refusal.to;
    EXPECT_EQ(result.status().code(), refusal.code) << result.status().to_string();
    EXPECT_NE(result.status().message().find(refusal.message), std::string::npos)
        << result.status().to_string();
  }
}

TEST(TokenizerJsonFile, NormalisationThatMultipliesTextIsStopped) {
  std::string steps;
  for (int i = 0; i < 50; ++i)
    steps += std::string(i == 0 ? "" : ",") +
             R"({"type":"Replace","pattern":{"String":"a"},"content":"aaaaaaaaaaaaaaaa"})";
  Files file;
  const auto tokenizer = *load_tokenizer_json(
      file.write(replaced(read(file_of("roberta", "tokenizer.json")), R"("normalizer":null)",
                          R"("normalizer":{"type":"Sequence","normalizers":[)" + steps + "]}")));
  const auto encoding = tokenizer->encode(std::string(1000, 'a'), {});
  EXPECT_EQ(encoding.status().code(), StatusCode::kNotSupported);
}

TEST(TokenizerJsonFile, AnEmptyOrMissingFileIsNamed) {
  Files file;
  EXPECT_EQ(load_tokenizer_json(file.write("")).status().code(), StatusCode::kCorruption);
  EXPECT_EQ(load_tokenizer_json(file.folder() + "/none").status().code(), StatusCode::kNotFound);
}

TEST(LoadTokenizer, TokenizerJsonWinsOverVocabulary) {
  Files file;
  EXPECT_EQ(load_tokenizer(file.folder()).status().code(), StatusCode::kNotFound);
  file.write("x", "sentencepiece.bpe.model");
  const auto bare = load_tokenizer(file.folder());
  EXPECT_EQ(bare.status().code(), StatusCode::kNotSupported);
  EXPECT_NE(bare.status().message().find("sentencepiece.bpe.model"), std::string::npos);
  file.write("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n", "vocab.txt");
  file.write("{}", "tokenizer_config.json");
  auto loaded = load_tokenizer(file.folder());
  ASSERT_TRUE(loaded.ok()) << loaded.status().to_string();
  EXPECT_EQ(loaded->files, (std::vector<std::string>{"vocab.txt", "tokenizer_config.json"}));
  EXPECT_EQ(loaded->tokenizer->vocab_size(), 6u);
  file.write(read(file_of("roberta", "tokenizer.json")));
  loaded = load_tokenizer(file.folder());
  ASSERT_TRUE(loaded.ok()) << loaded.status().to_string();
  EXPECT_EQ(loaded->files, (std::vector<std::string>{"tokenizer.json", "tokenizer_config.json"}));
  EXPECT_EQ(loaded->tokenizer->vocab_size(), 801u);
}

// As transformers 5.23 does, which builds the tokenizers of most classes from this file.
TEST(LoadTokenizer, RefusesAConfigThatDisagreesWithTokenizerJson) {
  struct Folder {
    const char* kind;
    const char* config;
    const char* refused;  // a part of the message; null: it is read
  };
  const Folder folders[] = {
      {"bert", R"({"tokenizer_class": "BertTokenizer"})", nullptr},
      {"bert", R"({"do_lower_case": true, "strip_accents": null})", nullptr},
      {"bert", R"({"do_lower_case": false})", "do_lower_case is false, but"},
      {"bert", R"({"truncation_side": "left"})", "truncation_side is 'left'"},
      {"roberta", R"({"split_special_tokens": true})", "split_special_tokens is true"},
      {"bert", R"({"strip_accents": false})", "strip_accents is false, but"},
      {"bert", R"({"tokenize_chinese_chars": false})", "tokenize_chinese_chars"},
      {"bert", R"({"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": false})",
       nullptr},
      {"bert_cased", R"({"do_lower_case": false, "tokenize_chinese_chars": false})", nullptr},
      {"bert_cased", "{}", "do_lower_case is true where it is not given, but"},
      {"mpnet", R"({"tokenizer_class": "MPNetTokenizer", "do_lower_case": false})",
       "do_lower_case"},
      {"roberta", R"({"tokenizer_class": "RobertaTokenizer"})", nullptr},
      {"roberta", R"({"add_prefix_space": true})", "add_prefix_space is true, but"},
      {"gpt2", R"({"tokenizer_class": "GPT2Tokenizer"})", "add_prefix_space is false where"},
      {"xlmr", R"({"tokenizer_class": "XLMRobertaTokenizer"})", nullptr},
      {"xlmr", R"({"add_prefix_space": false})", "add_prefix_space is false, but"},
  };
  for (const Folder& folder : folders) {
    Files file;
    file.write(read(file_of(folder.kind, "tokenizer.json")));
    file.write(folder.config, "tokenizer_config.json");
    const auto loaded = load_tokenizer(file.folder());
    if (folder.refused == nullptr) {
      EXPECT_TRUE(loaded.ok()) << folder.config << loaded.status().to_string();
      continue;
    }
    ASSERT_FALSE(loaded.ok()) << folder.kind << folder.config;
    EXPECT_EQ(loaded.status().code(), StatusCode::kNotSupported);
    EXPECT_NE(loaded.status().message().find(folder.refused), std::string::npos)
        << loaded.status().to_string();
  }
}

}  // namespace
}  // namespace collegium::core
