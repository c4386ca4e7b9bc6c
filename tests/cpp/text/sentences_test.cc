#include <gtest/gtest.h>

#include <random>

#include "collegium/core/text/passages.h"
#include "text/white_space.h"

namespace collegium::core {
namespace {

// The sentences of `text`, joined with "|".
std::string sentences(std::string_view text) {
  std::string out;
  for (const ByteSpan span : split_sentences(text)) {
    if (!out.empty()) out += '|';
    out += text.substr(span.begin, span.end - span.begin);
  }
  return out;
}

TEST(Sentences, EndWhereTheTableSays) {
  // '|' in the right column is where one sentence ends and the next begins.
  const struct {
    const char* text;
    const char* expected;
  } table[] = {
      {"", ""},
      {" \n\t ", ""},
      {"One sentence", "One sentence"},
      {"One. Two! Three? Four.", "One.|Two!|Three?|Four."},
      {"Wait... What?! Really.", "Wait...|What?!|Really."},
      {"It cost 3.14 dollars. Or 1,000.50.", "It cost 3.14 dollars.|Or 1,000.50."},
      {"Dr. Smith met Mrs. Jones. They talked.", "Dr. Smith met Mrs. Jones.|They talked."},
      {"Use a drug, e.g. aspirin, i.e. ASA. Then rest.",
       "Use a drug, e.g. aspirin, i.e. ASA.|Then rest."},
      {"J. R. R. Tolkien wrote it. So did C. S. Lewis.",
       "J. R. R. Tolkien wrote it.|So did C. S. Lewis."},
      {"See Fig. 3 and Eq. 4. No. 5 is next. He said no. Then he left.",
       "See Fig. 3 and Eq. 4.|No. 5 is next.|He said no.|Then he left."},
      {"Pens, pencils, etc. are sold. We sell pens etc. Buy some.",
       "Pens, pencils, etc. are sold.|We sell pens etc.|Buy some."},
      {"The U.S. Government agreed. It is 5 p.m. Now go. At 5 p.m. we left.",
       "The U.S. Government agreed.|It is 5 p.m.|Now go.|At 5 p.m. we left."},
      {"Smith et al. found it. Acme Inc. sells it.", "Smith et al. found it.|Acme Inc. sells it."},
      {"In 1999. The end of v1.2. Run main.c. Done.",
       "In 1999.|The end of v1.2.|Run main.c.|Done."},
      {"He said \"Stop.\" She did. (Twice.) 'Why?' he asked.",
       "He said \"Stop.\"|She did.|(Twice.)|'Why?' he asked."},
      {"“Go!” she said. «Oui.» Bien.", "“Go!” she said.|«Oui.»|Bien."},
      {"Cells divide.[1][23] They grow.[4] Slowly.", "Cells divide.[1][23]|They grow.[4]|Slowly."},
      {"the layer is thin . it follows . end .", "the layer is thin .|it follows .|end ."},
      {"all lower case here. nothing is a capital. done.",
       "all lower case here.|nothing is a capital.|done."},
      {"今日は晴れ。明日は雨！本当？はい。", "今日は晴れ。|明日は雨！|本当？|はい。"},
      {"彼は「行く。」と言った。終わり", "彼は「行く。」|と言った。|終わり"},
      {"यह एक वाक्य है। यह दूसरा है।", "यह एक वाक्य है।|यह दूसरा है।"},
      {"هل هذا سؤال؟ نعم.", "هل هذا سؤال؟|نعم."},
      {"First paragraph\n\nsecond paragraph", "First paragraph|second paragraph"},
      {"a\r\n\r\nb", "a|b"},
      {"Introduction\nThe method is new.", "Introduction|The method is new."},
      {"The cat sat\non the mat.", "The cat sat\non the mat."},
      {"This line of prose was wrapped by an editor at\nSeventy columns. Next.",
       "This line of prose was wrapped by an editor at\nSeventy columns.|Next."},
      {"Things you will certainly want to have with you:\n- pens\n- ink\n1. one\n2. two",
       "Things you will certainly want to have with you:|- pens|- ink|1. one|2. two"},
      {"# A heading that is long enough to look like prose here\ntext",
       "# A heading that is long enough to look like prose here|text"},
      {"www.example.com is a site. Visit a.b.c now.",
       "www.example.com is a site.|Visit a.b.c now."},
      {"x.y", "x.y"},
      {".", "."},
      {"... and so on. \"", "... and so on.|\""},
  };
  for (const auto& [text, expected] : table) EXPECT_EQ(sentences(text), expected) << text;
}

std::string random_text(std::mt19937& random, bool broken) {
  constexpr std::string_view kParts[] = {
      ".", "!",  "?",  " ",  " ",   "\n", "\n\n", "\r\n", "a",      "B",      "Dr",   "e.g",
      "1", "# ", "- ", "\"", "(",   ")",  "[1]",  "。",   "」",     "word",   "Word", "é",
      "É", "漢", "\t", "…",  "```", "|",  "etc",  "No",   "\u2029", "\u00a0", "x.y",  "\u200b"};
  std::string text;
  for (std::size_t left = random() % 60; left > 0; --left) {
    text += kParts[random() % std::size(kParts)];
    if (broken && random() % 8 == 0) text += static_cast<char>(0x80 + random() % 0x80);
  }
  return text;
}

TEST(Sentences, CoverEveryByteThatIsNoSpaceOnceAndInOrder) {
  std::mt19937 random(7);
  for (int i = 0; i < 20000; ++i) {
    const std::string text = random_text(random, false);
    std::size_t covered = 0;
    for (const ByteSpan span : split_sentences(text)) {
      ASSERT_EQ(skip_space(text, covered, span.begin), span.begin) << text;
      ASSERT_LT(span.begin, span.end);
      ASSERT_EQ(skip_space(text, span.begin, span.end), span.begin) << text;
      ASSERT_EQ(trim_end(text, span.begin, span.end), span.end) << text;
      covered = span.end;
    }
    ASSERT_EQ(skip_space(text, covered, text.size()), text.size()) << text;
  }
}

TEST(Sentences, TakeBytesThatAreNotUtf8) {
  std::mt19937 random(8);
  for (int i = 0; i < 5000; ++i) {
    const std::string text = random_text(random, true);
    if (check_utf8(text, "text").ok()) continue;
    std::size_t covered = 0;
    for (const ByteSpan span : split_sentences(text)) {
      for (; covered < span.begin; ++covered)
        ASSERT_LT(static_cast<unsigned char>(text[covered]), 0x80);
      covered = span.end;
    }
  }
  EXPECT_EQ(sentences("a\xff. B\xc3"), "a\xff.|B\xc3");
}

}  // namespace
}  // namespace collegium::core
