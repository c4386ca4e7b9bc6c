#include "engine/planted_contradictions.h"

#include <algorithm>
#include <cctype>
#include <random>

#include "collegium/router/support_check.h"

namespace collegium::router {
namespace {

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-';
}

const std::vector<std::string> kNumberWords = {"two",    "four",    "seven",  "twelve",
                                               "twenty", "seventy", "ninety", "hundred"};

struct Token {
  std::size_t begin = 0, end = 0;
};

std::vector<Token> tokens_of(const std::string& text) {
  std::vector<Token> tokens;
  for (std::size_t i = 0; i < text.size();) {
    if (!is_word(text[i])) {
      ++i;
      continue;
    }
    std::size_t end = i;
    while (end < text.size() && is_word(text[end])) ++end;
    tokens.push_back({i, end});
    i = end;
  }
  return tokens;
}

std::vector<std::string> sentences_of(const std::string& passage) {
  std::vector<std::string> sentences;
  std::size_t begin = 0;
  for (std::size_t i = 0; i + 1 < passage.size(); ++i) {
    if (passage[i] != '.' || passage[i + 1] != ' ') continue;
    sentences.push_back(passage.substr(begin, i + 1 - begin));
    begin = i + 2;
  }
  if (begin < passage.size()) sentences.push_back(passage.substr(begin));
  return sentences;
}

// The runs of digits of a token without letters: "5-10" has two.
std::vector<Token> digits_of(const std::string& text, const Token& token) {
  std::vector<Token> digits;
  for (std::size_t i = token.begin; i < token.end; ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (std::isalpha(c) != 0 || c == '_') return {};
    if (std::isdigit(c) == 0) continue;
    if (digits.empty() || digits.back().end != i) digits.push_back({i, i});
    digits.back().end = i + 1;
  }
  return digits;
}

// A capitalised word inside a sentence.
bool is_name(const std::string& text, const Token& token) {
  return token.begin > 0 && std::isupper(static_cast<unsigned char>(text[token.begin])) != 0 &&
         token.end - token.begin > 2;
}

std::string replaced(const std::string& text, const Token& token, const std::string& by) {
  return text.substr(0, token.begin) + by + text.substr(token.end);
}

std::string word_of(const std::string& text, const Token& token) {
  return text.substr(token.begin, token.end - token.begin);
}

// Rewordings that keep what is said.
std::vector<std::string> rewordings(const std::string& sentence) {
  std::vector<std::string> result = {sentence};
  std::string lowered = sentence;
  lowered[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(lowered[0])));
  result.push_back("According to the passage, " + lowered);
  if (const auto comma = sentence.find(", "); comma != std::string::npos && comma > 20)
    result.push_back(sentence.substr(0, comma) + ".");
  for (const auto& [from, to] : {std::pair<std::string, std::string>{" is used ", " serves "},
                                 {" can ", " may "},
                                 {" The ", " This "},
                                 {" a ", " one "}}) {
    if (const auto at = sentence.find(from); at != std::string::npos)
      result.push_back(sentence.substr(0, at) + to + sentence.substr(at + from.size()));
  }
  return result;
}

}  // namespace

double PlantedScore::recall(PlantedKind kind) const {
  const auto i = static_cast<std::size_t>(kind);
  return planted[i] == 0 ? 0.0 : static_cast<double>(found[i]) / static_cast<double>(planted[i]);
}

double PlantedScore::recall() const {
  const auto all = planted[0] + planted[1] + planted[2];
  return all == 0 ? 0.0
                  : static_cast<double>(found[0] + found[1] + found[2]) / static_cast<double>(all);
}

double PlantedScore::precision() const {
  const std::size_t right = found[0] + found[1] + found[2];
  return right == 0 ? 0.0 : static_cast<double>(right) / static_cast<double>(right + false_alarms);
}

double PlantedScore::false_alarm_rate() const {
  return faithful == 0 ? 0.0 : static_cast<double>(false_alarms) / static_cast<double>(faithful);
}

PlantedScore measure_planted(std::span<const std::string> passages, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::string> names;
  for (const std::string& passage : passages) {
    for (const std::string& sentence : sentences_of(passage))
      for (const Token& token : tokens_of(sentence))
        if (is_name(sentence, token)) names.push_back(word_of(sentence, token));
  }
  PlantedScore score;
  for (const std::string& passage : passages) {
    const auto plant = [&](PlantedKind kind, const std::string& sentence) {
      ++score.planted[static_cast<std::size_t>(kind)];
      if (!check_support(sentence, passage).supported)
        ++score.found[static_cast<std::size_t>(kind)];
    };
    for (const std::string& sentence : sentences_of(passage)) {
      for (const std::string& faithful : rewordings(sentence)) {
        ++score.faithful;
        if (!check_support(faithful, passage).supported) ++score.false_alarms;
      }
      for (const Token& token : tokens_of(sentence)) {
        const std::string word = word_of(sentence, token);
        const std::vector<Token> digits = digits_of(sentence, token);
        for (const Token& part : digits) {
          if (part.end - part.begin >= 9) continue;
          const long value = std::stol(word_of(sentence, part));
          plant(PlantedKind::kNumber,
                replaced(sentence, part,
                         std::to_string(value + 1 + static_cast<long>(random() % 97))));
        }
        if (const auto at = std::find(kNumberWords.begin(), kNumberWords.end(), word);
            at != kNumberWords.end()) {
          const auto shift = 1 + static_cast<std::ptrdiff_t>(random() % (kNumberWords.size() - 1));
          const auto other = (at - kNumberWords.begin() + shift) %
                             static_cast<std::ptrdiff_t>(kNumberWords.size());
          plant(PlantedKind::kNumber,
                replaced(sentence, token, kNumberWords[static_cast<std::size_t>(other)]));
        } else if (is_name(sentence, token) && names.size() > 1) {
          std::string other = names[random() % names.size()];
          for (int tries = 0; tries < 20 && passage.find(other) != std::string::npos; ++tries)
            other = names[random() % names.size()];
          if (passage.find(other) == std::string::npos)
            plant(PlantedKind::kName, replaced(sentence, token, other));
        } else if (word == "is" || word == "are" || word == "can" || word == "must" ||
                   word == "will" || word == "should" || word == "may") {
          if (sentence.compare(token.end, 5, " not ") == 0) {
            plant(PlantedKind::kNegation,
                  sentence.substr(0, token.end) + sentence.substr(token.end + 4));
          } else {
            plant(PlantedKind::kNegation,
                  sentence.substr(0, token.end) + " not" + sentence.substr(token.end));
          }
        }
      }
    }
  }
  return score;
}

std::vector<std::string> manual_sentences() {
  return {
      "The server listens on port 5432 by default. Connections from remote hosts are refused "
      "unless the file names them. A table can hold at most 1600 columns.",
      "Use the command to dump a database into a script file. The dump made by PostgreSQL is "
      "consistent even if other users are writing. Roles are not included in the dump.",
      "A slur is drawn between two notes of different pitch. In LilyPond a slur is entered with "
      "parentheses. Slurs must not be nested, but phrasing slurs may overlap them.",
      "The default paper size is A4, which measures 210 by 297 millimetres. The margins can be "
      "changed in the paper block. Pages are numbered from 1.",
      "The element C3D20 has 20 nodes and 27 integration points. It is used for structural "
      "analysis in CalculiX. Reduced integration should not be combined with contact.",
      "Young's modulus is given in megapascal when lengths are in millimetres. Steel is modelled "
      "with a modulus of 210000 and a Poisson ratio of 0.3. Temperatures are not converted.",
      "The program reads an infile with the number of species and sites. Joseph Felsenstein wrote "
      "the package in Seattle. Trees are written to the outtree file.",
      "Bootstrapping is done with 100 replicates unless the menu says otherwise. The random seed "
      "must be odd. Distances of identical species are zero.",
      "A panorama is stitched from photographs that overlap by 20 to 30 percent. Control points "
      "are placed in Hugin by hand or by a detector. Moving objects are not removed.",
      "The lens type can be read from the metadata of the picture. Nona is the program that remaps "
      "the images. Exposure is corrected before blending with Enblend.",
      "The function returns a matrix with one row for each observation. Missing values are not "
      "used in the fit. In R the default method is the one by Householder.",
      "A factor is stored as integers with labels. Comparisons of factors with different levels "
      "are errors. The environment is searched from the Global outward.",
      "Every transaction in Ledger must balance to zero. A posting can omit its amount once. "
      "Comments are not shown in the register report.",
      "The film was kept at -18 degrees from 1998-07-09 on. Prints last 30-90 years. The "
      "laboratory answers at 555-1234 within two days.",
      "The beam carries twenty kilonewton over 3.75 metres. Seventy of them were tested, ninety "
      "were not. A run takes 5–10 minutes.",
      "The archive is compressed with level 9, which takes about 4 times as long. Level 0 is not "
      "compressed at all. Checksums by Adler are verified on reading."};
}

}  // namespace collegium::router
