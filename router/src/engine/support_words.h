#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

// Words and numbers as check_support() compares them.
namespace collegium::router {

struct Word {
  std::string text;   // as written; "-5" with its sign
  std::string lower;  // and folded
  std::string stem;   // and without the commonest endings
  bool starts_sentence = false;
  bool after_space = false;  // white space alone is between it and the word before
  bool negation = false;
};

// Citations like [2] are left out. Any bytes will do.
std::vector<Word> words_of(std::string_view text);

// Just enough that "constraints" meets "constraint" and "added" meets "add". Not a Porter stemmer:
// a wrong stem only sends an answer back to the extractive reader.
std::string stem_of(const std::string& word);

// A word that means something by itself: no function word, no negation.
bool is_content(const Word& word);
bool is_function_word(std::string_view lower);
// Marks in the text alone: CamelCase, ALLCAPS, snake_case, --option, letters with digits.
bool is_identifier(const Word& word);

struct Number {
  std::string value;  // "1000.5" of "1,000.50", "250" of "two hundred and fifty", "-5" of "minus 5"
  std::string text;   // as written
};

// The numbers of `words` but for those within identifiers: "5-10" and "2021-07-09" have one for
// each part. "hundred", "thousand", "million" and "billion" count with what is before them.
std::vector<Number> numbers_of(std::span<const Word> words);
// Those that a word of the passage bears out beside: "10kg" has 10, and "16.2.1" has 16, 2 and 1.
std::vector<std::string> inner_numbers(const Word& word);
// Whether a word is nothing but a number, or a part of one: "5-10", "twenty-five", "million".
bool is_number(const Word& word);

}  // namespace collegium::router
