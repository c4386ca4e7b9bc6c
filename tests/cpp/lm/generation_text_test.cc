#include "lm/generation_text.h"

#include <gtest/gtest.h>

#include <random>

namespace collegium::core {
namespace {

struct Outcome {
  std::string text;
  std::string stop;  // "" if none came
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

// `text` in pieces of the given sizes (the last one again and again). Checks that what was given
// out is never taken back.
Outcome run(const std::vector<std::string>& stops, std::string_view text,
            const std::vector<std::size_t>& sizes) {
  GenerationText out(stops);
  Outcome outcome;
  for (std::size_t begin = 0, i = 0; begin < text.size(); ++i) {
    const std::string_view piece = text.substr(begin, sizes[std::min(i, sizes.size() - 1)]);
    outcome.text += out.push(piece);
    if (out.stopped()) {
      outcome.stop = *out.stop();
      EXPECT_EQ(out.finish(), "");
      return outcome;
    }
    begin += piece.size();
  }
  outcome.text += out.finish();
  return outcome;
}

// Brute force: the text grows by one byte until a stop string is its end.
Outcome by_bytes(const std::vector<std::string>& stops, std::string_view text) {
  for (std::size_t size = 1; size <= text.size(); ++size) {
    std::string longest;
    for (const std::string& stop : stops)
      if (text.substr(0, size).ends_with(stop) && stop.size() > longest.size()) longest = stop;
    if (!longest.empty()) return {std::string(text.substr(0, size - longest.size())), longest};
  }
  return {std::string(text), ""};
}

TEST(GenerationText, WithoutStopsGivesEverythingAtOnce) {
  GenerationText text;
  EXPECT_EQ(text.push("abc"), "abc");
  EXPECT_EQ(text.push("d"), "d");
  EXPECT_EQ(text.finish(), "");
}

TEST(GenerationText, HoldsBackWhatMayBecomeAStopString) {
  GenerationText text(std::vector<std::string>{"\n\nUser:"});
  EXPECT_EQ(text.push("one\n"), "one");
  EXPECT_EQ(text.push("\nUs"), "");
  EXPECT_EQ(text.push("age\n"), "\n\nUsage");
  EXPECT_EQ(text.push("\nUser"), "");
  EXPECT_FALSE(text.stopped());
  EXPECT_EQ(text.push(": more"), "");
  EXPECT_TRUE(text.stopped());
  EXPECT_EQ(*text.stop(), "\n\nUser:");
}

TEST(GenerationText, GivesBackAtTheEndWhatNeverBecameOne) {
  GenerationText text(std::vector<std::string>{"END"});
  EXPECT_EQ(text.push("the EN"), "the ");
  EXPECT_EQ(text.finish(), "EN");
}

TEST(GenerationText, OfTwoTheOneCompleteFirstEndsItAndOfEqualEndsTheLonger) {
  EXPECT_EQ(run({"xyz", "y"}, "axyz", {9}), (Outcome{"ax", "y"}));
  EXPECT_EQ(run({"y", "xy"}, "axyz", {9}), (Outcome{"a", "xy"}));
  EXPECT_EQ(run({"é"}, "caf\xC3\xA9s", {5}), (Outcome{"caf", "é"}));
}

// Any pieces, any stops over a small alphabet: the same text and stop as byte by byte.
TEST(GenerationText, WherePiecesEndMakesNoDifference) {
  std::mt19937 random(3);
  const auto word = [&](std::size_t most) {
    std::string out(1 + random() % most, ' ');
    for (char& c : out) c = "ab"[random() % 2];
    return out;
  };
  std::size_t stopped = 0;
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> stops;
    for (std::size_t i = random() % 4; i > 0; --i) stops.push_back(word(6));
    const std::string text = word(24);
    std::vector<std::size_t> sizes;
    for (int i = 0; i < 8; ++i) sizes.push_back(1 + random() % 5);
    const Outcome expected = by_bytes(stops, text);
    ASSERT_EQ(run(stops, text, sizes), expected) << text;
    stopped += !expected.stop.empty();
  }
  EXPECT_GT(stopped, 500u);
  EXPECT_LT(stopped, 2900u);
}

}  // namespace
}  // namespace collegium::core
