#include "engine/reader.h"

#include "engine/library_testing.h"

namespace collegium::router {
namespace {

std::vector<CitedPassage> sample_passages() {
  std::vector<CitedPassage> passages(2);
  passages[0].number = 1;
  passages[0].title = "Chopin";
  passages[0].text = "Frederic Chopin wrote 27 etudes. He did not write an opera.";
  passages[0].similarity = 0.5;
  passages[1].number = 2;
  passages[1].title = "Ports";
  passages[1].text = "The server of PostgreSQL listens on port 5432.\nIt can be changed.";
  passages[1].similarity = 0.4;
  return passages;
}

TEST(Reader, GeneratedSentencesWithoutCitationGetTheBestPassages) {
  const auto passages = sample_passages();
  const auto checked = check_generated("Chopin wrote 27 etudes. The port is 5432.", passages);
  ASSERT_EQ(checked.size(), 2u);
  EXPECT_EQ(checked[0].citation, 1u);
  EXPECT_EQ(checked[1].citation, 2u);
  EXPECT_EQ(checked[0].problem + checked[1].problem, "");
}

TEST(Reader, AGivenCitationIsTheOneThatIsChecked) {
  const auto passages = sample_passages();
  const auto checked = check_generated("The server listens on port 5432 [1].", passages);
  ASSERT_EQ(checked.size(), 1u);
  EXPECT_EQ(checked[0].citation, 1u);
  EXPECT_EQ(checked[0].problem, "number '5432' is not in the passage");
  EXPECT_EQ(check_generated("The server listens on port 5432 [2].", passages)[0].problem, "");
}

TEST(Reader, ACitationOfNoPassageIsAProblem) {
  const auto passages = sample_passages();
  EXPECT_EQ(check_generated("Chopin wrote 27 etudes [9].", passages)[0].problem,
            "it cites [9], which is not a passage");
}

TEST(Reader, ExtractiveSentencesAreVerbatimAndCited) {
  const auto encoder = core::Encoder::load(tiny_encoder());
  ASSERT_OK(encoder);
  std::vector<CitedPassage> passages(2);
  passages[0].number = 1;
  passages[0].text = "The river runs in winter. The market is a law of water.";
  passages[0].similarity = 0.3;
  passages[1].number = 2;
  passages[1].text = "What is the music\nof the engine? The cell is not the river.";
  passages[1].similarity = 0.2;
  const std::string_view question[] = {"The market is a law of water."};
  const auto vector = (*encoder)->encode(question, core::TextKind::kQuery);
  ASSERT_OK(vector);
  const auto reading = read_extractive(**encoder, vector->vectors, passages);
  ASSERT_OK(reading);
  EXPECT_EQ(reading->reader, "extractive");
  EXPECT_THAT(reading->text, testing::HasSubstr("The market is a law of water. [1]"));
  EXPECT_GT(reading->read_flops, 0.0);
  const auto again = read_extractive(**encoder, vector->vectors, passages);
  ASSERT_OK(again);
  EXPECT_EQ(again->text, reading->text);
}

TEST(Reader, NothingToReadIsNoAnswer) {
  const auto encoder = core::Encoder::load(tiny_encoder());
  ASSERT_OK(encoder);
  const std::vector<float> vector((*encoder)->dim(), 0.1f);
  const auto reading = read_extractive(**encoder, vector, {});
  ASSERT_OK(reading);
  EXPECT_EQ(reading->reader, "none");
  std::vector<CitedPassage> blank(1);
  blank[0].number = 1;
  blank[0].text = " \n ";
  const auto nothing = read_extractive(**encoder, vector, blank);
  ASSERT_OK(nothing);
  EXPECT_EQ(nothing->text, "");
}

}  // namespace
}  // namespace collegium::router
