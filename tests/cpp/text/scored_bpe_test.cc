#include "text/scored_bpe.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <limits>

#include "collegium/core/gguf.h"
#include "io/json_file.h"
#include "scratch_folder.h"

namespace collegium::core {
namespace {

using Ids = std::vector<std::int32_t>;

ScoredBpeSource source_of(const GgufFile& file) {
  ScoredBpeSource source;
  const auto tokens = *file.get_strings("tokenizer.ggml.tokens");
  source.tokens.assign(tokens.begin(), tokens.end());
  const auto scores = *file.get_numbers("tokenizer.ggml.scores");
  for (const double score : scores) source.scores.push_back(static_cast<float>(score));
  const auto types = *file.get_integers("tokenizer.ggml.token_type");
  for (const std::int64_t type : types) source.types.push_back(static_cast<BpeTokenType>(type));
  return source;
}

ScoredBpeSource small_source() { return source_of(*GgufFile::open(test_data("scored_bpe.gguf"))); }

std::shared_ptr<const ScoredBpe> make(ScoredBpeSource source) {
  auto bpe = ScoredBpe::create(std::move(source), "test");
  EXPECT_TRUE(bpe.ok()) << bpe.status().to_string();
  return *bpe;
}

StatusCode code_of(ScoredBpeSource source) {
  return ScoredBpe::create(std::move(source), "test").status().code();
}

Ids ids_of(const Tokenizer& tokenizer, std::string_view text, bool special = false) {
  const auto encoding = tokenizer.encode(text, {.add_special_tokens = special});
  EXPECT_TRUE(encoding.ok()) << encoding.status().to_string();
  return encoding.ok() ? encoding->ids : Ids();
}

Ids golden_ids(const JsonValue& value) {
  Ids ids;
  for (const auto element : value.element().get_array())
    ids.push_back(static_cast<std::int32_t>(element.get<std::int64_t>().value()));
  return ids;
}

std::string test_name(const std::string& text) { return "'" + text.substr(0, 200) + "'"; }

// Decoding gives the text back, whatever it is: no byte is lost.
void expect_round_trip(const ScoredBpe& bpe, const std::string& text) {
  if (text.find("\xE2\x96\x81") != text.npos) return;  // U+2581 becomes a space, as in the package
  EXPECT_EQ(*bpe.decode(ids_of(bpe, text), false), text) << test_name(text);
}

void expect_offsets_cover(const ScoredBpe& bpe, const std::string& text) {
  const auto encoding = *bpe.encode(text, {.add_special_tokens = false});
  std::size_t end = 0;
  for (const ByteSpan& span : encoding.offsets) {
    EXPECT_TRUE(span.begin == end || span.begin + 1 <= end) << test_name(text);
    end = std::max(end, span.end);
  }
  EXPECT_EQ(end, text.size()) << test_name(text);
}

TEST(ScoredBpe, GivesTheIdsOfSentencePiece) {
  const auto golden = *JsonDocument::open(test_data("scored_bpe_goldens.json"));
  ScoredBpeSource source = small_source();
  const auto prefixed = make(source);
  source.add_space_prefix = false;
  const auto plain = make(source);
  const auto cases = *golden.root().get("cases")->as_array(1000);
  EXPECT_GT(cases.size(), 100u);
  for (const JsonValue& entry : cases) {
    const std::string text = *entry.get_string("text");
    EXPECT_EQ(ids_of(*plain, text), golden_ids(*entry.get("plain"))) << test_name(text);
    EXPECT_EQ(ids_of(*prefixed, text), golden_ids(*entry.get("prefix"))) << test_name(text);
    expect_round_trip(*plain, text);
    expect_offsets_cover(*plain, text);
  }
  EXPECT_NE(plain->digest(), prefixed->digest());
}

TEST(ScoredBpe, SlowGivesTheIdsOfSentencePieceForGemma3) {
  const char* path = std::getenv("COLLEGIUM_GEMMA3");
  if (path == nullptr) GTEST_SKIP() << "COLLEGIUM_GEMMA3 names no model file";
  const auto bpe = ScoredBpe::from_gguf(*GgufFile::open(path));
  ASSERT_TRUE(bpe.ok()) << bpe.status().to_string();
  EXPECT_EQ((*bpe)->vocab_size(), 262144u);
  const auto golden = *JsonDocument::open(test_data("gemma3_tokenizer_goldens.json"));
  const auto cases = *golden.root().get("cases")->as_array(1000);
  EXPECT_GT(cases.size(), 100u);
  for (const JsonValue& entry : cases) {
    const std::string text = *entry.get_string("text");
    EXPECT_EQ(ids_of(**bpe, text), golden_ids(*entry.get("plain"))) << test_name(text);
    expect_round_trip(**bpe, text);
  }
  EXPECT_EQ(ids_of(**bpe, "", true), Ids{2});  // <bos>
}

TEST(ScoredBpe, ReadsWhatAFileSaysOfSpecialTokensAndSpaces) {
  const auto bpe = ScoredBpe::from_gguf(*GgufFile::open(test_data("scored_bpe.gguf")));
  ASSERT_TRUE(bpe.ok()) << bpe.status().to_string();
  // Where the file does not say: <s> before, nothing after, a space before the text.
  const Ids with = ids_of(**bpe, "Hello", true);
  ASSERT_GT(with.size(), 1u);
  EXPECT_EQ(with.front(), 1);
  EXPECT_EQ(Ids(with.begin() + 1, with.end()), ids_of(**bpe, "Hello"));
  EXPECT_EQ(*(*bpe)->decode(with, true), "Hello");
  EXPECT_TRUE((*bpe)->is_control(1));
  EXPECT_EQ((*bpe)->token_id("<table>"), ids_of(**bpe, "<table>").at(0));
}

TEST(ScoredBpe, TruncationIsFlagged) {
  const auto bpe = make(small_source());
  const auto encoding = *bpe->encode("the router and the gate", {.max_tokens = 3});
  EXPECT_EQ(encoding.ids.size(), 3u);
  EXPECT_TRUE(encoding.truncated);
}

TEST(ScoredBpe, RefusesBadSourcesAndTexts) {
  const ScoredBpeSource good = small_source();
  const auto with = [&](auto change) {
    ScoredBpeSource source = good;
    change(source);
    return code_of(std::move(source));
  };
  EXPECT_EQ(with([](auto&) {}), StatusCode::kOk);
  EXPECT_EQ(with([](auto& s) { s.tokens.clear(); }), StatusCode::kCorruption);
  EXPECT_EQ(with([](auto& s) { s.tokens.back() = s.tokens[300]; }), StatusCode::kCorruption);
  EXPECT_EQ(with([](auto& s) { s.tokens.back() = "\xff"; }), StatusCode::kCorruption);
  EXPECT_EQ(with([](auto& s) { s.tokens.back().clear(); }), StatusCode::kCorruption);
  EXPECT_EQ(with([](auto& s) { s.tokens.back().assign(5000, 'x'); }), StatusCode::kCorruption);
  EXPECT_EQ(with([](auto& s) { s.scores.pop_back(); }), StatusCode::kCorruption);
  EXPECT_EQ(with([](auto& s) { s.types.pop_back(); }), StatusCode::kCorruption);
  EXPECT_EQ(with([](auto& s) { s.types.back() = static_cast<BpeTokenType>(9); }),
            StatusCode::kCorruption);
  EXPECT_EQ(with([](auto& s) { s.scores[400] = std::numeric_limits<float>::quiet_NaN(); }),
            StatusCode::kCorruption);
  EXPECT_EQ(with([](auto& s) { s.bos_id = 560; }), StatusCode::kCorruption);
  EXPECT_EQ(with([](auto& s) {
              for (std::size_t i = 0; i < s.tokens.size(); ++i)
                if (s.tokens[i] == "<0x41>") s.types[i] = BpeTokenType::kNormal;
            }),
            StatusCode::kNotSupported);
  EXPECT_EQ(with([](auto& s) { s.scores.assign(s.scores.size(), 0.0f); }),
            StatusCode::kNotSupported);
  const auto bpe = make(good);
  EXPECT_EQ(bpe->encode("\xff", {}).status().code(), StatusCode::kInvalidArgument);
  const Ids beyond = {560};
  EXPECT_EQ(bpe->decode(beyond, true).status().code(), StatusCode::kInvalidArgument);
}

// n log n: a long run of one character takes no quadratic time.
TEST(ScoredBpe, ALongRunIsEncodedInLittleTime) {
  const auto bpe = make(small_source());
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_GT(ids_of(*bpe, std::string(1 << 20, 'x')).size(), 1000u);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
}

}  // namespace
}  // namespace collegium::core
