#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "collegium/index/lexical.h"
#include "corpus_testing.h"

namespace collegium::index {
namespace {

std::vector<std::string> terms(const std::string& text, const LexicalSettings& settings = {}) {
  std::vector<std::string> found;
  const auto tokens = lexical_tokens(text, settings);
  EXPECT_OK(tokens);
  if (!tokens.ok()) return found;
  std::size_t before = 0;
  for (const LexicalToken& token : *tokens) {
    EXPECT_LT(token.bytes.begin, token.bytes.end);
    EXPECT_LE(token.bytes.end, text.size());
    EXPECT_GE(token.bytes.begin, before) << text;
    before = token.bytes.begin;
    found.push_back(token.term);
  }
  return found;
}
using Terms = std::vector<std::string>;

TEST(LexicalWords, AreRunsOfLettersAndDigitsWithoutCase) {
  EXPECT_EQ(terms("The quick (\"Brown\") fox-trot, 3 times!"),
            (Terms{"the", "quick", "brown", "fox", "trot", "3", "times"}));
  EXPECT_EQ(terms(""), Terms{});
  EXPECT_EQ(terms(" \t\n--- ... ''' \"\" _ __"), Terms{});
}

TEST(LexicalWords, KeepApostrophesWithinAndNumbersWhole) {
  EXPECT_EQ(terms("don't O\xE2\x80\x99"
                  "Brien 'quoted' l'homme"),
            (Terms{"don't", "o'brien", "quoted", "l'homme"}));
  EXPECT_EQ(terms("3.14 1,000,000 v1.2 end. 5,"), (Terms{"3.14", "1,000,000", "v1.2", "end", "5"}));
  EXPECT_EQ(terms("example.com e.g."), (Terms{"example", "com", "e", "g"}));
}

TEST(LexicalWords, DropAPossessive) {
  EXPECT_EQ(terms("the dog's CAT'S dog\xE2\x80\x99s s"), (Terms{"the", "dog", "cat", "dog", "s"}));
}

TEST(LexicalWords, AreInCompatibilityFormAndFolded) {
  EXPECT_EQ(terms("Straße STRASSE"), (Terms{"strasse", "strasse"}));
  EXPECT_EQ(terms("ﬁnance Ｆｕｌｌ ①"), (Terms{"finance", "full", "1"}));
  EXPECT_EQ(terms("ΑΘΗΝΑ Αθήνα"), (Terms{"αθηνα", "αθηνα"}));
  EXPECT_EQ(terms("МОСКВА Москва"), (Terms{"москва", "москва"}));
}

TEST(LexicalWords, ComposedAndDecomposedAccentsAreTheSame) {
  const std::string composed = "caf\xC3\xA9";
  const std::string decomposed = "cafe\xCC\x81";
  EXPECT_EQ(terms(composed + " " + decomposed), (Terms{"cafe", "cafe"}));
  LexicalSettings exact;
  exact.fold_accents = false;
  EXPECT_EQ(terms(composed + " " + decomposed, exact), (Terms{composed, composed}));
}

TEST(LexicalWords, MarksOfOtherScriptsAreNoAccents) {
  // Devanagari: vowel signs and virama belong to the word, and to its meaning.
  EXPECT_EQ(terms("हिन्दी में"), (Terms{"हिन्दी", "में"}));
  EXPECT_EQ(terms("مرحبا بالعالم"), (Terms{"مرحبا", "بالعالم"}));
  EXPECT_EQ(terms("한국어 검색"), (Terms{"한국어", "검색"}));
}

TEST(LexicalWords, ScriptsWithoutSpacesGivePairs) {
  EXPECT_EQ(terms("東京都"), (Terms{"東京", "京都"}));
  EXPECT_EQ(terms("猫"), (Terms{"猫"}));
  EXPECT_EQ(terms("iPhone手机店x"), (Terms{"iphone", "i", "phone", "手机", "机店", "x"}));
  EXPECT_EQ(terms("カタカナ ｶﾀ"), (Terms{"カタ", "タカ", "カナ", "カタ"}));
  // Thai: a consonant with its marks is one character.
  EXPECT_EQ(terms("กี่คน"), (Terms{"กี่ค", "คน"}));
}

TEST(LexicalWords, EmojiAreWords) {
  EXPECT_EQ(terms("ship 🚀 it❤️!"), (Terms{"ship", "🚀", "it", "❤"}));
  EXPECT_EQ(terms("👍🏽"), (Terms{"👍"}));  // whatever the skin
}

TEST(LexicalWords, InvisibleCharactersAreNotThere) {
  EXPECT_EQ(terms("co\xC2\xADoperate zero\xE2\x80\x8Bwidth"), (Terms{"cooperate", "zerowidth"}));
}

TEST(LexicalWords, NamesAreFoundWholeAndByPart) {
  EXPECT_EQ(terms("parse_http_request"), (Terms{"parse_http_request", "parse", "http", "request"}));
  EXPECT_EQ(terms("getHTTPResponse2"), (Terms{"gethttpresponse2", "get", "http", "response2"}));
  EXPECT_EQ(terms("the PDFs NASA Word"), (Terms{"the", "pdfs", "nasa", "word"}));
  EXPECT_EQ(terms("__init__ _x"), (Terms{"init", "x"}));
  LexicalSettings plain;
  plain.split_names = false;
  EXPECT_EQ(terms("parse_http getX", plain), (Terms{"parse_http", "getx"}));
}

TEST(LexicalWords, ANameStandsWhereItsFirstPartDoes) {
  const auto tokens = lexical_tokens("a fooBar b", {}).value();
  ASSERT_EQ(tokens.size(), 5u);
  const std::uint32_t positions[] = {0, 1, 1, 2, 3};
  for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(tokens[i].position, positions[i]) << i;
  EXPECT_TRUE(tokens[1].whole_name);
  EXPECT_EQ(tokens[1].bytes, (core::ByteSpan{2, 8}));
  EXPECT_EQ(tokens[3].bytes, (core::ByteSpan{5, 8}));
}

TEST(LexicalWords, AreStemmedByLanguage) {
  LexicalSettings english;
  english.stemmer = "english";
  EXPECT_EQ(terms("running connections connected", english), (Terms{"run", "connect", "connect"}));
  LexicalSettings german;
  german.stemmer = "german";
  EXPECT_EQ(terms("Häuser Haus", german), (Terms{"haus", "haus"}));
}

TEST(LexicalWords, StopWordsLeaveTheirPlace) {
  LexicalSettings settings;
  settings.stop_words = LexicalSettings::english_stop_words();
  const auto tokens = lexical_tokens("The House of the Rising Sun", settings).value();
  ASSERT_EQ(tokens.size(), 3u);
  EXPECT_EQ(tokens[0].position, 1u);
  EXPECT_EQ(tokens[1].position, 4u);
  EXPECT_EQ(tokens[2].term, "sun");
}

TEST(LexicalWords, ALongWordIsOneTermOf255BytesAtMost) {
  const std::string a(300, 'a');
  const std::string b = a + "b";
  std::string umlauts;
  for (int i = 0; i < 400; ++i) umlauts += "ж";
  const auto found = terms(a + " " + b + " " + umlauts + " " + a);
  ASSERT_EQ(found.size(), 4u);
  for (const std::string& term : found) {
    EXPECT_LE(term.size(), 255u);
    EXPECT_TRUE(core::check_utf8(term, "term").ok());
  }
  EXPECT_EQ(found[0], found[3]);
  EXPECT_NE(found[0], found[1]);
}

TEST(LexicalWords, RefuseWhatIsNoSetting) {
  LexicalSettings settings;
  settings.stemmer = "klingon";
  EXPECT_CODE(lexical_tokens("x", settings), kInvalidArgument);
  settings = {};
  settings.b = 1.5;
  EXPECT_CODE(lexical_tokens("x", settings), kInvalidArgument);
  settings = {};
  settings.k1 = std::nan("");
  EXPECT_CODE(lexical_tokens("x", settings), kInvalidArgument);
  EXPECT_CODE(lexical_tokens("\xff", {}), kInvalidArgument);
}

TEST(LexicalQuery, ReadsQuotesPlusAndMinus) {
  using Need = LexicalQuery::Need;
  const auto query = LexicalQuery::parse(
      "plain +must -not \"a phrase\" -\"bad phrase\" well-known - + a+b \"open");
  const std::pair<const char*, Need> expected[] = {
      {"plain", Need::kOptional},      {"must", Need::kRequired},
      {"not", Need::kExcluded},        {"a phrase", Need::kRequired},
      {"bad phrase", Need::kExcluded}, {"well-known", Need::kOptional},
      {"-", Need::kOptional},          {"+", Need::kOptional},
      {"a+b", Need::kOptional},        {"open", Need::kRequired}};
  ASSERT_EQ(query.clauses.size(), std::size(expected));
  for (std::size_t i = 0; i < std::size(expected); ++i) {
    EXPECT_EQ(query.clauses[i].text, expected[i].first);
    EXPECT_EQ(query.clauses[i].need, expected[i].second) << i;
  }
  for (const char* odd : {"", "\"", "\"\"", "+", "-\"", "+\"", "++--", "   "})
    LexicalQuery::parse(odd);
}

}  // namespace
}  // namespace collegium::index
