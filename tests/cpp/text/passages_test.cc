#include "collegium/core/text/passages.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "collegium/core/gguf.h"
#include "text/byte_level_bpe.h"
#include "text/character_tokenizer.h"
#include "text/white_space.h"

namespace collegium::core {
namespace {

std::string_view slice(std::string_view text, ByteSpan span) {
  return text.substr(span.begin, span.end - span.begin);
}

// The passages joined with "|".
std::string joined(std::string_view text, const std::vector<PassageSpan>& passages) {
  std::string out;
  for (const PassageSpan& passage : passages) {
    if (!out.empty()) out += '|';
    out += slice(text, passage.bytes);
  }
  return out;
}

// One token a letter and a mark: with 16 tokens a passage, 14 characters that are no space.
std::string split16(std::string_view title, std::string_view text) {
  const auto passages = split_passages(title, text, *character_tokenizer(), {.max_tokens = 16});
  return passages.ok() ? joined(text, *passages) : passages.status().to_string();
}

// Counts what it is asked to tokenise.
class CountingTokenizer final : public Tokenizer {
 public:
  explicit CountingTokenizer(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  Result<Encoding> encode(std::string_view text, const EncodeOptions& options) const override {
    ++calls;
    bytes += text.size();
    return tokenizer_.encode(text, options);
  }
  Result<std::string> decode(std::span<const std::int32_t> ids, bool skip) const override {
    return tokenizer_.decode(ids, skip);
  }
  std::size_t vocab_size() const noexcept override { return tokenizer_.vocab_size(); }
  std::int32_t token_id(std::string_view token) const override {
    return tokenizer_.token_id(token);
  }
  std::string_view token(std::int32_t id) const override { return tokenizer_.token(id); }
  std::string digest() const override { return tokenizer_.digest(); }

  mutable std::size_t calls = 0;
  mutable std::size_t bytes = 0;

 private:
  const Tokenizer& tokenizer_;
};

void expect_covered_and_within(std::string_view title, std::string_view text,
                               const Tokenizer& tokenizer, std::size_t max_tokens) {
  const PassageOptions options{.max_tokens = max_tokens};
  const auto passages = split_passages(title, text, tokenizer, options);
  ASSERT_TRUE(passages.ok()) << passages.status().to_string();
  const std::string carried = *passage_title(title, tokenizer, options);
  std::size_t covered = 0;
  for (const PassageSpan& passage : *passages) {
    ASSERT_EQ(skip_space(text, covered, passage.bytes.begin), passage.bytes.begin) << text;
    ASSERT_LT(passage.bytes.begin, passage.bytes.end) << text;
    covered = passage.bytes.end;
    const std::string_view piece = slice(text, passage.bytes);
    ASSERT_EQ(skip_space(piece, 0, piece.size()), 0u) << text;
    ASSERT_EQ(trim_end(piece, 0, piece.size()), piece.size()) << text;
    const auto encoding = tokenizer.encode(passage_input(carried, piece), {});
    ASSERT_TRUE(encoding.ok());
    ASSERT_LE(encoding->ids.size(), max_tokens) << piece;
  }
  ASSERT_EQ(skip_space(text, covered, text.size()), text.size()) << text;
}

TEST(Passages, AreCutAtParagraphsThenSentencesThenWordsThenCharacters) {
  EXPECT_EQ(split16("", "aaa bbb. cc dd."), "aaa bbb. cc dd.");
  EXPECT_EQ(split16("", "aaaa bbbb.\n\ncc. dddd eeee."), "aaaa bbbb.|cc. dddd eeee.");
  EXPECT_EQ(split16("", "aaaa. bbbb. cccc. dddd."), "aaaa. bbbb.|cccc. dddd.");
  EXPECT_EQ(split16("", "aaaa bbbb cccc dddd eeee"), "aaaa bbbb cccc|dddd eeee");
  EXPECT_EQ(split16("", "abcdefghijklmnopqrstuvwxyz"), "abcdefghijklmn|opqrstuvwxyz");
  EXPECT_EQ(split16("", "漢字漢字漢字漢字漢字漢字漢字漢字"), "漢字漢字漢字漢字漢字漢字漢字|漢字");
  EXPECT_EQ(split16("", "한국한국한국한국"), "한국한국|한국한국");  // three tokens each
  EXPECT_EQ(split16("", ""), "");
  EXPECT_EQ(split16("", " \n\t\u00a0"), "");
}

TEST(Passages, KeepRoomForTheTitle) {
  EXPECT_EQ(split16("tt", "aaaa bbbb cccc dddd"), "aaaa bbbb cccc|dddd");
  EXPECT_EQ(split16("ttt", "aaaa bbbb cccc dddd"), "aaaa bbbb|cccc dddd");
  EXPECT_EQ(passage_input("", "text"), "text");
  EXPECT_EQ(passage_input("title", "text"), "title text");
}

TEST(Passages, CarryAtMostAQuarterOfTheirTokensAsTitleCutAtAWord) {
  const auto title = [](std::string_view given) {
    return *passage_title(given, *character_tokenizer(), {.max_tokens = 16});
  };
  EXPECT_EQ(title("  ab cd  "), "ab cd");
  EXPECT_EQ(title("ab cde"), "ab");
  EXPECT_EQ(title("abcdefgh"), "abcd");
  EXPECT_EQ(title("ééééé"), "éééé");
  EXPECT_EQ(title(" "), "");
  EXPECT_EQ(title(std::string(1'000'000, 'a') + " b"), std::string(1'000'000, 'a') + " b");
  std::string words;
  for (int i = 0; i < 100'000; ++i) words += "ab ";
  EXPECT_EQ(title(words), "ab ab");
}

TEST(Passages, NeverSpanTwoSectionsAndNameTheirHeading) {
  const std::string text =
      "before\n# One\na b\n## Two ##\n\n## Three\nc d\n```\n# code\n```\n#no heading\n";
  const auto passages = *split_passages("", text, *character_tokenizer(), {.max_tokens = 64});
  ASSERT_EQ(passages.size(), 3u);
  EXPECT_EQ(passages[0].section, "");
  EXPECT_EQ(slice(text, passages[0].bytes), "before");
  EXPECT_EQ(passages[1].section, "One");
  EXPECT_EQ(slice(text, passages[1].bytes), "# One\na b");
  EXPECT_EQ(passages[2].section, "Three");  // a heading without text goes with the next
  EXPECT_EQ(slice(text, passages[2].bytes),
            "## Two ##\n\n## Three\nc d\n```\n# code\n```\n#no heading");
}

// The sections of `text`, joined with "|".
std::string sections_of(std::string_view text) {
  const auto passages = *split_passages("", text, *character_tokenizer(), {.max_tokens = 64});
  std::string out;
  for (const PassageSpan& passage : passages) {
    if (!out.empty()) out += '|';
    out += passage.section.empty() ? "-" : passage.section;
  }
  return out;
}

// After CommonMark 0.31, 4.2 (headings) and 4.5 (fenced code).
TEST(Passages, TakeNoHeadingFromIndentedOrFencedCode) {
  EXPECT_EQ(sections_of("a\n # One\nb\n  # Two\nc\n   # Three\nd"), "-|One|Two|Three");
  EXPECT_EQ(sections_of("def f():\n    # comment\n    return 1"), "-");
  EXPECT_EQ(sections_of("    # code"), "-");
  EXPECT_EQ(sections_of("a:\n\t# comment\n\tb"), "-");
  EXPECT_EQ(sections_of("a:\n  \t# comment\nb"), "-");
  EXPECT_EQ(sections_of("a\n\u00a0# no space of ASCII\nb"), "-");
  EXPECT_EQ(sections_of("# One\r\na\r\n## Two\r\nb\r\n"), "One|Two");
  EXPECT_EQ(sections_of("a\n```sh\n# code\n```\n# One\nb"), "-|One");
  EXPECT_EQ(sections_of("a\n~~~\n# code\n```\n# code\n~~~\n# One\nb"), "-|One");
  EXPECT_EQ(sections_of("a\n````\n```\n# code\n````\n# One\nb"), "-|One");
  EXPECT_EQ(sections_of("a\n```\n# code\n``` sh\n# code\n```\n# One\nb"), "-|One");
  EXPECT_EQ(sections_of("a\n```` code ```` in a line\n# One\nb"), "-|One");
  EXPECT_EQ(sections_of("a\n```code``` in a line\n# One\nb"), "-|One");
  EXPECT_EQ(sections_of("a\n- b\n    ```\n# code\n    ```\n# One\nb"), "-|One");
}

TEST(Passages, TellBlankTextFromOther) {
  for (const char* text : {"", " ", "\t\r\n\f\v", "\u00a0\u3000", "\u2003 \u2028\u0085"})
    EXPECT_TRUE(is_blank(text)) << text;
  for (const char* text : {"a", " \u3000a", "\u00a0.", "漢", "\u200b"})
    EXPECT_FALSE(is_blank(text)) << text;
}

TEST(Passages, CutALongHeadingInTheirLabelOnly) {
  std::string heading;
  for (int i = 0; i < 1000; ++i) heading += "é";
  const std::string text = "# " + heading + "\ntext";
  const auto passages = *split_passages("", text, *character_tokenizer(), {.max_tokens = 64});
  for (const PassageSpan& passage : passages) {
    EXPECT_EQ(passage.section.size(), 200u);
    EXPECT_TRUE(check_utf8(passage.section, "section").ok());
  }
  expect_covered_and_within("", text, *character_tokenizer(), 64);
}

TEST(Passages, CoverEveryByteOnceWithinTheLimitWhateverTheText) {
  constexpr std::string_view kParts[] = {
      ".",      "! ",         " ",     "\n",      "\n\n",    "# ",     "\n# h\n",
      "word",   "Word ",      "long",  "é",       "e\u0301", "漢字",   "한국",
      "\u200b", "\u0000x",    "[SEP]", "[MASK] ", "\u00a0",  "\u3000", "\u302f",
      "\u0323", "👩\u200d👧", "a.b",   "- ",      "```\n",   "\u0085", "\ufdfa"};
  const auto tokenizer = character_tokenizer();
  std::mt19937 random(3);
  const auto make = [&](std::size_t most) {
    std::string text;
    for (std::size_t left = random() % most; left > 0; --left)
      text += kParts[random() % std::size(kParts)];
    return text;
  };
  for (int i = 0; i < 4000; ++i) {
    const std::string title = make(random() % 4 == 0 ? 30 : 3);
    const std::string text = make(150);
    ASSERT_NO_FATAL_FAILURE(expect_covered_and_within(title, text, *tokenizer, 16 + random() % 30));
  }
}

// Tokens that are parts of characters (byte-level BPE, byte fallback), or begin at a space.
TEST(Passages, CoverEveryByteOnceUnderEveryKindOfTokenizer) {
  const auto file = GgufFile::open(COLLEGIUM_TEST_DATA "/tiny_llama.gguf");
  ASSERT_TRUE(file.ok()) << file.status().to_string();
  const std::shared_ptr<const Tokenizer> tokenizers[] = {
      *ByteLevelBpe::from_gguf(*file), *load_sentencepiece(COLLEGIUM_TEST_DATA "/unigram.model"),
      *load_sentencepiece(COLLEGIUM_TEST_DATA "/bpe.model")};
  constexpr std::string_view kParts[] = {
      ".",          "! ",           " ",      "\n",        "\n\n",   "the ", "evidence",
      "é",          "e\u0301",      "漢字",   "漢",        "漢漢漢", "한국", "ひらが",
      "\u3000",     "\u0e01\u0e33", "\u00a0", "\u200b",    "\u0301", "😀",   "😀😀😀",
      "👩\u200d👧", "🇩🇪",           "✓",      "\U00010348"};
  for (const auto& tokenizer : tokenizers) {
    for (const std::string_view part : kParts) {
      std::string text;
      for (int i = 0; i < 200; ++i) text += part;
      ASSERT_NO_FATAL_FAILURE(expect_covered_and_within("", text, *tokenizer, 64));
      ASSERT_NO_FATAL_FAILURE(expect_covered_and_within("漢字 é", "x" + text, *tokenizer, 31));
    }
    std::mt19937 random(4);
    for (int i = 0; i < 500; ++i) {
      std::string title, text;
      for (std::size_t left = random() % 4; left > 0; --left)
        title += kParts[random() % std::size(kParts)];
      for (std::size_t left = random() % 150; left > 0; --left)
        text += kParts[random() % std::size(kParts)];
      ASSERT_NO_FATAL_FAILURE(
          expect_covered_and_within(title, text, *tokenizer, 24 + random() % 40));
    }
  }
}

TEST(Passages, TokeniseLinearlyManyBytes) {
  const std::string kinds[] = {"A sentence of a few words. ",
                               "word ",
                               "x",
                               "漢",
                               "# h\n",
                               "# h\nt\n",
                               "a.",
                               "\u0301",
                               "\n",
                               "para\n\n",
                               "e.g. ",
                               "[SEP]",
                               "(((( ",
                               ". ",
                               "\u200b",
                               "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx,"};
  for (const std::string& kind : kinds) {
    std::size_t bytes[2];
    for (const std::size_t size : {0, 1}) {
      std::string text;
      while (text.size() < (size == 0 ? 50'000u : 500'000u)) text += kind;
      const CountingTokenizer counting(*character_tokenizer());
      const auto passages = split_passages("a title", text, counting);
      ASSERT_TRUE(passages.ok());
      bytes[size] = counting.bytes;
    }
    EXPECT_LE(bytes[1], 11 * bytes[0]) << kind;
    EXPECT_LE(bytes[1], 3'000'000u) << kind;
  }
}

TEST(Passages, RefuseWhatIsNotUtf8AndTooFewTokens) {
  const auto tokenizer = character_tokenizer();
  for (const auto& [title, text, word] :
       {std::tuple{"t", "a\xff", "text"}, {"\xff", "a", "title"}}) {
    const Status status = split_passages(title, text, *tokenizer).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find(word), std::string::npos);
  }
  const Status status = split_passages("", "a", *tokenizer, {.max_tokens = 15}).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(passage_title("", *tokenizer, {.max_tokens = 0}).status().code(),
            StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace collegium::core
