#include <gtest/gtest.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <random>

#include "collegium/core/text/tokenizer.h"
#include "io/json_file.h"
#include "text/sentencepiece_model.h"

namespace collegium::core {
namespace {

constexpr const char* kModels[] = {"unigram", "bpe"};

std::string model_path(std::string_view name) {
  return COLLEGIUM_TEST_DATA "/" + std::string(name) + ".model";
}

std::string model_bytes(std::string_view name) {
  std::ifstream file(model_path(name), std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A model file that is gone afterwards.
class ModelFile {
 public:
  explicit ModelFile(std::string_view bytes = {}) {
    path_ = (std::filesystem::temp_directory_path() / "collegium-XXXXXX").string();
    ::close(::mkstemp(path_.data()));
    write(bytes);
  }
  ~ModelFile() { std::filesystem::remove(path_); }
  ModelFile(const ModelFile&) = delete;
  ModelFile& operator=(const ModelFile&) = delete;
  void write(std::string_view bytes) {
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << bytes;
  }
  Result<std::shared_ptr<const Tokenizer>> load() const { return load_sentencepiece(path_); }

 private:
  std::string path_;
};

Result<SentencePieceModel> parse(std::string_view bytes) {
  return parse_sentencepiece_model(std::as_bytes(std::span(bytes)), "x.model");
}

template <typename T>
std::vector<T> numbers(const JsonValue& object, std::string_view key) {
  std::vector<T> out;
  const std::vector<JsonValue> values = *object.get(key)->as_array(100'000);
  for (const JsonValue& value : values) out.push_back(static_cast<T>(*value.as_unsigned()));
  return out;
}

TEST(SentencePiece, EqualsThePythonPackage) {
  const auto goldens = JsonDocument::open(COLLEGIUM_TEST_DATA "/sentencepiece.json");
  for (const char* name : kModels) {
    const auto loaded = load_sentencepiece(model_path(name));
    ASSERT_TRUE(loaded.ok()) << loaded.status().to_string();
    const Tokenizer& tokenizer = **loaded;
    const JsonValue golden = *goldens->root().get(name);
    EXPECT_EQ(tokenizer.vocab_size(), *golden.get_unsigned("pieces"));
    const auto cases = *golden.get("cases")->as_array(1000);
    ASSERT_GE(cases.size(), 10u);
    for (const JsonValue& expected : cases) {
      const std::string text = *expected.get_string("text");
      const auto encoding = tokenizer.encode(text, {.add_special_tokens = false});
      ASSERT_TRUE(encoding.ok()) << encoding.status().to_string();
      EXPECT_EQ(encoding->ids, numbers<std::int32_t>(expected, "ids")) << text;
      std::vector<std::size_t> offsets;
      for (const ByteSpan& span : encoding->offsets) {
        offsets.push_back(span.begin);
        offsets.push_back(span.end);
      }
      EXPECT_EQ(offsets, numbers<std::size_t>(expected, "offsets")) << text;
      EXPECT_EQ(*tokenizer.decode(encoding->ids, true), *expected.get_string("decoded")) << text;
    }
  }
}

TEST(SentencePiece, PutsItsSpecialTokensAroundAndTruncates) {
  const auto tokenizer = *load_sentencepiece(model_path("unigram"));
  const std::string text = "the river of evidence";
  const std::int32_t bos = tokenizer->token_id("<s>");
  const std::int32_t eos = tokenizer->token_id("</s>");
  const auto bare = *tokenizer->encode(text, {.add_special_tokens = false});
  const auto whole = *tokenizer->encode(text, {});
  ASSERT_EQ(whole.ids.size(), bare.ids.size() + 2);
  EXPECT_EQ(whole.ids.front(), bos);
  EXPECT_EQ(whole.ids.back(), eos);
  EXPECT_EQ(whole.offsets.back(), (ByteSpan{0, 0}));
  EXPECT_FALSE(whole.truncated);
  const auto cut = *tokenizer->encode(text, {.max_tokens = 4});
  EXPECT_EQ(cut.ids, (std::vector<std::int32_t>{bos, bare.ids[0], bare.ids[1], eos}));
  EXPECT_TRUE(cut.truncated);
  EXPECT_EQ(tokenizer->encode(text, {.max_tokens = 1}).status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(*tokenizer->decode(whole.ids, true), text);
  EXPECT_EQ(*tokenizer->decode(whole.ids, false), "<s>" + text + "</s>");
  EXPECT_EQ(tokenizer->decode(std::vector<std::int32_t>{-1}, true).status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(tokenizer->decode(std::vector<std::int32_t>{1 << 20}, true).status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(tokenizer->encode("a\xff", {}).status().code(), StatusCode::kInvalidArgument);
}

TEST(SentencePiece, TakesALongLine) {
  for (const char* name : kModels) {
    const auto tokenizer = *load_sentencepiece(model_path(name));
    std::string text;
    while (text.size() < 250'000) text += "evidence✓ of the river. ";
    const auto encoding = *tokenizer->encode(text, {});
    EXPECT_GT(encoding.ids.size(), 25'000u);
  }
}

double thread_seconds() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// What it does not know becomes bytes under "bpe". Under "unigram" the library takes quadratic time
// for it, so the length of a text is bounded.
TEST(SentencePiece, TimeForUnknownCharactersGrowsWithTheirNumberOrTheirNumberIsBounded) {
  constexpr std::size_t kMegabyte = std::size_t{1} << 20;
  const auto fallback = *load_sentencepiece(model_path("bpe"));
  for (const char* unknown : {"龘", "✓"}) {
    const auto seconds = [&](std::size_t size) {
      std::string text;
      while (text.size() < size) text += unknown;
      double best = 1e9;
      for (int run = 0; run < 2; ++run) {
        const double start = thread_seconds();
        EXPECT_GE(fallback->encode(text, {})->ids.size(), size);
        best = std::min(best, thread_seconds() - start);
      }
      return best;
    };
    EXPECT_LT(seconds(kMegabyte / 2), 30 * seconds(kMegabyte / 16) + 0.01) << unknown;
  }
  const auto bounded = *load_sentencepiece(model_path("unigram"));
  std::string text;
  while (text.size() < kMegabyte) text += "evidence of the river. ";
  text.resize(kMegabyte);
  EXPECT_TRUE(bounded->encode(text, {}).ok());
  const Status status = bounded->encode(text + "x", {}).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("1048577 bytes"), std::string::npos) << status.message();
  EXPECT_NE(status.message().find("at most 1048576"), std::string::npos) << status.message();
}

TEST(SentencePiece, DigestCoversWhatChangesIdsAndNothingElse) {
  auto model = *parse(model_bytes("bpe"));
  const std::string original = (*ModelFile(model_bytes("bpe")).load())->digest();
  EXPECT_EQ((*ModelFile(model.serialize()).load())->digest(), original);
  model.remove_extra_whitespaces = false;
  EXPECT_NE((*ModelFile(model.serialize()).load())->digest(), original);
}

TEST(SentencePiece, RefusesWhatTheLibraryWouldTrustBlindly) {
  using Type = SentencePieceModel::PieceType;
  struct Case {
    const char* part;  // what the message names
    const char* base;
    std::function<void(SentencePieceModel&)> damage;
  };
  const auto set_unit = [](SentencePieceModel& model, std::size_t unit, std::uint32_t value) {
    std::memcpy(model.charsmap.data() + 4 + 4 * unit, &value, 4);
  };
  const Case cases[] = {
      {"comes twice", "unigram", [](auto& m) { m.pieces.push_back(m.pieces.back()); }},
      {"empty", "unigram", [](auto& m) { m.pieces[5].text = ""; }},
      {"NUL", "unigram", [](auto& m) { m.pieces[5].text = std::string("a\0b", 3); }},
      {"text", "unigram", [](auto& m) { m.pieces[5].text = "\xff"; }},
      {"text", "unigram", [](auto& m) { m.pieces[5].text = std::string(100'000, 'x'); }},
      {"finite", "unigram", [](auto& m) { m.pieces[5].score = NAN; }},
      {"finite", "bpe", [](auto& m) { m.pieces[5].score = -INFINITY; }},
      {"unknown", "unigram", [](auto& m) { m.pieces[0].type = Type::kNormal; }},
      {"unknown", "unigram", [](auto& m) { m.pieces[5].type = Type::kUnknown; }},
      {"type", "unigram", [](auto& m) { m.pieces[5].type = Type{7}; }},
      {"type", "unigram", [](auto& m) { m.pieces[5].type = Type{0}; }},
      {"normal", "unigram", [](auto& m) { m.pieces.resize(3); }},
      {"byte", "unigram", [](auto& m) { m.pieces[5].type = Type::kByte; }},
      {"byte", "bpe", [](auto& m) { m.byte_fallback = false; }},
      {"byte", "bpe", [](auto& m) { m.pieces.erase(m.pieces.begin() + 100); }},
      {"begin with", "bpe",
       [](auto& m) {
         for (std::size_t i = 1; i <= 65; ++i)
           m.pieces.push_back({std::string(i, '@'), 0.0f, Type::kUserDefined});
       }},
      {"charsmap", "unigram", [](auto& m) { m.charsmap.resize(3); }},
      {"charsmap", "unigram", [](auto& m) { m.charsmap.resize(m.charsmap.size() / 2); }},
      {"charsmap", "unigram", [](auto& m) { m.charsmap[3] = 0x7f; }},
      {"charsmap", "unigram", [](auto& m) { m.charsmap[0] ^= 2; }},
      {"charsmap", "unigram", [](auto& m) { m.charsmap.back() = 'x'; }},
      {"leads out", "unigram", [&](auto& m) { set_unit(m, 0, 0xffffffffu); }},
      {"circle", "unigram",
       [&](auto& m) {  // the root's child 'A' has the root's children
         std::uint32_t root;
         std::memcpy(&root, m.charsmap.data() + 4, 4);
         const std::size_t base = root >> 10;
         set_unit(m, base ^ 'A', static_cast<std::uint32_t>((base ^ 'A') ^ base) << 10 | 'A');
       }},
      {"charsmap", "unigram",
       [&](auto& m) {  // every value points behind the strings
         for (std::size_t i = 4; i + 4 <= m.charsmap.size(); i += 4) {
           std::uint32_t unit;
           std::memcpy(&unit, m.charsmap.data() + i, 4);
           if (unit >> 31) set_unit(m, (i - 4) / 4, 0xfffffff0u);
         }
       }},
  };
  for (const Case& c : cases) {
    auto model = *parse(model_bytes(c.base));
    c.damage(model);
    const Status status = ModelFile(model.serialize()).load().status();
    EXPECT_EQ(status.code(), StatusCode::kCorruption) << c.part << ": " << status.to_string();
    EXPECT_NE(status.message().find(c.part), std::string::npos) << status.message();
  }
  EXPECT_EQ(load_sentencepiece("/nonexistent.model").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(ModelFile("").load().status().code(), StatusCode::kCorruption);
  EXPECT_EQ(ModelFile("not a model").load().status().code(), StatusCode::kCorruption);
  auto word = *parse(model_bytes("unigram"));
  word.kind = SentencePieceModel::Kind{3};
  EXPECT_EQ(ModelFile(word.serialize()).load().status().code(), StatusCode::kNotSupported);
}

// Whatever passes the checks must then behave.
void exercise(const Result<std::shared_ptr<const Tokenizer>>& loaded, std::size_t& accepted) {
  if (!loaded.ok()) {
    EXPECT_TRUE(loaded.status().code() == StatusCode::kCorruption ||
                loaded.status().code() == StatusCode::kNotSupported)
        << loaded.status().to_string();
    return;
  }
  ++accepted;
  for (const std::string_view text :
       {"The river of evidence ＡＢＣ ﬁnds e\u0301te\u0301 u\u0308ber…",
        "漢字 <sep><user> ✓ \u00ad½", "aaaa   bbbb\u3000c"}) {
    const auto encoding = (*loaded)->encode(text, {});
    if (!encoding.ok()) continue;
    for (const ByteSpan span : encoding->offsets) {
      ASSERT_LE(span.begin, span.end);
      ASSERT_LE(span.end, text.size());
    }
    EXPECT_TRUE((*loaded)->decode(encoding->ids, true).ok());
  }
}

TEST(SentencePiece, SurvivesThousandsOfDamagedFiles) {
  std::mt19937 random(11);
  std::size_t accepted = 0;
  ModelFile file;
  for (const char* name : kModels) {
    const std::string original = model_bytes(name);
    for (int round = 0; round < 1000; ++round) {
      std::string bytes = original;
      switch (random() % 4) {
        case 0:
          bytes.resize(random() % bytes.size());
          break;
        case 1:
          bytes.erase(random() % bytes.size(), 1 + random() % 20);
          break;
        case 2:
          bytes.insert(random() % bytes.size(), std::string(1 + random() % 5, char(random())));
          break;
        default:
          for (std::size_t flips = 1 + random() % 6; flips > 0; --flips)
            bytes[random() % bytes.size()] = static_cast<char>(random());
      }
      file.write(bytes);
      ASSERT_NO_FATAL_FAILURE(exercise(file.load(), accepted)) << name << " round " << round;
    }
  }
  EXPECT_GT(accepted, 50u);  // else the rest would not be tested
}

TEST(SentencePiece, SurvivesThousandsOfDamagedRulesOfNormalisation) {
  std::mt19937 random(12);
  std::size_t accepted = 0;
  ModelFile file;
  const auto original = *parse(model_bytes("unigram"));
  for (int round = 0; round < 2000; ++round) {
    auto model = original;
    for (std::size_t flips = 1 + random() % 3; flips > 0; --flips)
      model.charsmap[random() % model.charsmap.size()] ^= static_cast<char>(1u << random() % 8);
    file.write(model.serialize());
    ASSERT_NO_FATAL_FAILURE(exercise(file.load(), accepted)) << "round " << round;
  }
  EXPECT_GT(accepted, 50u);
}

}  // namespace
}  // namespace collegium::core
