#include "collegium/router/support_check.h"

#include <gtest/gtest.h>

#include "engine/planted_contradictions.h"

namespace collegium::router {
namespace {

constexpr char kPassage[] =
    "Not-Null Constraints\nA not-null constraint simply specifies that a column must not assume "
    "the null value. The option --clean drops 1,000 rows in PostgreSQL, which takes 2.50 seconds "
    "and uses the function pg_dump_all. Frederic Chopin wrote twelve etudes. Do not use locks.";

bool supported(std::string_view sentence) { return check_support(sentence, kPassage).supported; }

TEST(SupportCheck, AVerbatimSentenceIsSupported) {
  EXPECT_TRUE(
      supported("A not-null constraint simply specifies that a column must not assume the "
                "null value."));
  EXPECT_TRUE(supported("Frederic Chopin wrote twelve etudes."));
}

TEST(SupportCheck, ANumberThatIsNotInThePassageIsFound) {
  const auto verdict = check_support("It drops 2,000 rows.", kPassage);
  EXPECT_FALSE(verdict.supported);
  EXPECT_EQ(verdict.reason(), "number '2,000' is not in the passage");
}

TEST(SupportCheck, NumbersAreComparedByValue) {
  EXPECT_TRUE(supported("It drops 1000 rows in 2.5 seconds."));
  EXPECT_TRUE(supported("Chopin wrote 12 etudes."));
  EXPECT_FALSE(supported("Chopin wrote 13 etudes."));
  EXPECT_FALSE(supported("Chopin wrote eleven etudes."));
}

TEST(SupportCheck, ANameThatIsNotInThePassageIsFound) {
  EXPECT_FALSE(supported("The option drops rows in MySQL."));
  EXPECT_FALSE(supported("Liszt wrote twelve etudes."));
  EXPECT_FALSE(supported("It uses the function pg_restore."));
  EXPECT_FALSE(supported("The option --create drops rows."));
  EXPECT_TRUE(supported("In PostgreSQL the option --clean uses pg_dump_all."));
}

TEST(SupportCheck, AnInsertedNegationIsFound) {
  EXPECT_FALSE(supported("The option --clean does not drop rows."));
  EXPECT_FALSE(supported("Frederic Chopin never wrote twelve etudes."));
  EXPECT_FALSE(supported("It doesn't use the function pg_dump_all."));
}

TEST(SupportCheck, ALostNegationIsFound) {
  EXPECT_FALSE(
      supported("A not-null constraint simply specifies that a column must assume the "
                "null value."));
  EXPECT_TRUE(supported("A column must not assume the null value."));
}

TEST(SupportCheck, CitationsAreNotNumbers) {
  EXPECT_TRUE(supported("Frederic Chopin wrote twelve etudes [7]."));
  EXPECT_TRUE(supported("Frederic Chopin wrote twelve etudes [3, 4]."));
}

TEST(SupportCheck, TypographicMarksAreNoPartOfAWord) {
  EXPECT_TRUE(supported("“Chopin” wrote ‘twelve’ etudes…"));
  EXPECT_FALSE(supported("It doesn’t use the function pg_dump_all."));
}

TEST(SupportCheck, AnyBytesAreSafe) {
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes += static_cast<char>(i);
  (void)check_support(bytes, bytes);
  (void)check_support("", "");
  (void)check_support("[", "--");
  (void)check_support(std::string(100000, '['), std::string(100000, '-'));
}

// Contradictions planted by rule in sentences of the kind manuals have. The figures of the evidence
// come from benchmarks/support_check.py, over the manuals of the demo.
TEST(SupportCheck, FindsMostPlantedContradictionsWithFewFalseAlarms) {
  const auto score = measure_planted(manual_sentences(), /*seed=*/11);
  EXPECT_GE(score.recall(PlantedKind::kNumber), 0.95);
  EXPECT_GE(score.recall(PlantedKind::kName), 0.95);
  EXPECT_GE(score.recall(PlantedKind::kNegation), 0.90);
  EXPECT_GE(score.precision(), 0.90);
  EXPECT_LE(score.false_alarm_rate(), 0.10);
}

}  // namespace
}  // namespace collegium::router
