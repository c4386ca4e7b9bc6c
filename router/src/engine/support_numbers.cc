#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "engine/support_letters.h"
#include "engine/support_words.h"

namespace collegium::router {
namespace {

constexpr std::array<std::string_view, 20> kSmall = {
    "zero",     "one",     "two",     "three",     "four",     "five",    "six",
    "seven",    "eight",   "nine",    "ten",       "eleven",   "twelve",  "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"};
constexpr std::array<std::string_view, 8> kTens = {"twenty", "thirty",  "forty",  "fifty",
                                                   "sixty",  "seventy", "eighty", "ninety"};

// A word of a number: its value, or the zeros it adds to what is before it.
struct Part {
  std::uint64_t value = 0;
  std::size_t zeros = 0;  // 2, 3, 6 or 9; 0: a value
};

std::optional<Part> part_of(std::string_view word) {
  for (std::size_t i = 0; i < kSmall.size(); ++i)
    if (word == kSmall[i]) return Part{i, 0};
  for (std::size_t i = 0; i < kTens.size(); ++i)
    if (word == kTens[i]) return Part{20 + 10 * i, 0};
  if (word == "hundred") return Part{0, 2};
  if (word == "thousand") return Part{0, 3};
  if (word == "million") return Part{0, 6};
  if (word == "billion") return Part{0, 9};
  return std::nullopt;
}

// What is between the hyphens of a word.
std::vector<std::string> hyphenated(std::string_view word) {
  std::vector<std::string> pieces(1);
  for (const char c : word) {
    if (c == '-') {
      pieces.emplace_back();
    } else {
      pieces.back() += c;
    }
  }
  return pieces;
}

// "1,000.50" and "1000.5" are one number, "07" is 7. `digits` has no other characters.
std::string number_of(std::string_view digits) {
  std::string number;
  for (const char c : digits)
    if (c != ',') number += c;
  if (std::count(number.begin(), number.end(), '.') == 1) {
    while (number.back() == '0') number.pop_back();
    if (number.back() == '.') number.pop_back();
  }
  std::size_t zeros = 0;
  while (zeros + 1 < number.size() && number[zeros] == '0' && is_digit(number[zeros + 1])) ++zeros;
  return number.substr(zeros);
}

// "2.5" with 6 more zeros is 2500000.
std::string shifted(const std::string& number, std::size_t zeros) {
  const std::size_t point = std::min(number.find('.'), number.size());
  std::string digits = number.substr(0, point);
  const std::string decimals = point < number.size() ? number.substr(point + 1) : "";
  digits += decimals.substr(0, zeros);
  if (decimals.size() < zeros) digits.append(zeros - decimals.size(), '0');
  if (decimals.size() > zeros) digits += "." + decimals.substr(zeros);
  return number_of(digits);
}

bool has_letter(const Word& word) {
  return std::any_of(word.text.begin(), word.text.end(),
                     [](char c) { return is_letter(c) || c == '_'; });
}

// The numbers that are written in digits, of any word: "5-10" has two, "-5", "2.50" and "10kg" one.
std::vector<Number> digit_numbers(const std::string& word) {
  std::vector<Number> numbers;
  for (std::size_t i = 0; i < word.size();) {
    if (!is_digit(word[i])) {
      ++i;
      continue;
    }
    std::size_t end = std::min(word.find_first_not_of("0123456789.,", i), word.size());
    while (!is_digit(word[end - 1])) --end;
    const std::size_t begin = i == 1 && word[0] == '-' ? 0 : i;
    const std::string digits = number_of(std::string_view(word).substr(i, end - i));
    numbers.push_back({begin < i ? "-" + digits : digits, word.substr(begin, end - begin)});
    i = end;
  }
  return numbers;
}

// Reads one number in words, part by part, as far as it goes: "two hundred and fifty", "five
// thousand three hundred", "twenty five".
class WordedNumber {
 public:
  std::uint64_t value() const { return total_ + group_; }

  // Whether `part` continues the number; it is then taken.
  bool take(const Part& part) {
    if (part.zeros == 2) {
      if (begun_ && (group_ == 0 || group_ >= 100)) return false;
      group_ = std::max<std::uint64_t>(group_, 1) * 100;
      room_ = 100;
    } else if (part.zeros > 2) {
      if (part.zeros >= last_power_ || (begun_ && group_ == 0)) return false;
      group_ = std::max<std::uint64_t>(group_, 1);
      for (std::size_t i = 0; i < part.zeros; ++i) group_ *= 10;
      total_ += group_;
      group_ = 0;
      last_power_ = part.zeros;
      room_ = 1000;
    } else {
      // "twenty" leaves room for "five", "hundred" for "twenty-five", "five" for nothing.
      if (begun_ && (part.value == 0 || part.value >= room_)) return false;
      group_ += part.value;
      room_ = part.value >= 20 ? 10 : 1;
    }
    begun_ = true;
    return true;
  }
  // "and" stands only behind "hundred" or "thousand".
  bool takes_and() const { return room_ >= 100 && begun_; }

 private:
  std::uint64_t total_ = 0;  // of the powers of 1,000 read
  std::uint64_t group_ = 0;  // below them
  std::uint64_t room_ = 1000;
  std::size_t last_power_ = 100;
  bool begun_ = false;
};

// The parts of a word that is nothing but a number in words: "twenty-five" has two.
std::vector<Part> worded_parts(const Word& word) {
  std::vector<Part> parts;
  for (const std::string& piece : hyphenated(word.lower)) {
    const auto part = part_of(piece);
    if (!part) return {};
    parts.push_back(*part);
  }
  return parts;
}

bool take_all(WordedNumber& number, const std::vector<Part>& parts) {
  WordedNumber trial = number;
  for (const Part& part : parts)
    if (!trial.take(part)) return false;
  number = trial;
  return !parts.empty();
}

// Reads the number in words that starts at words[first]; returns how many words it has.
std::size_t read_worded(std::span<const Word> words, std::size_t first, WordedNumber& number) {
  std::size_t end = first;
  const auto follows = [&](std::size_t i) {
    return i < words.size() && words[i].after_space && !words[i].starts_sentence;
  };
  while (end < words.size() && (end == first || follows(end))) {
    if (take_all(number, worded_parts(words[end]))) {
      ++end;
      continue;
    }
    if (words[end].lower != "and" || !number.takes_and() || !follows(end + 1)) break;
    // In "one thousand and two thousand" the "and" begins another number.
    WordedNumber joined = number;
    if (!take_all(joined, worded_parts(words[end + 1]))) break;
    if (follows(end + 2)) {
      const auto next = worded_parts(words[end + 2]);
      WordedNumber trial = joined;
      if (!next.empty() && next.front().zeros > 0 && !take_all(trial, next)) break;
    }
    number = joined;
    end += 2;
  }
  return end - first;
}

}  // namespace

bool is_number(const Word& word) { return !has_letter(word) || !worded_parts(word).empty(); }

std::vector<std::string> inner_numbers(const Word& word) {
  std::vector<std::string> inner;
  for (const Number& number : digit_numbers(word.text)) {
    if (has_letter(word)) inner.push_back(number.value);
    if (std::count(number.value.begin(), number.value.end(), '.') < 2) continue;
    std::string part;
    for (const char c : number.value + ".") {
      if (is_digit(c)) {
        part += c;
      } else if (!part.empty()) {
        inner.push_back(number_of(part));
        part.clear();
      }
    }
  }
  return inner;
}

std::vector<Number> numbers_of(std::span<const Word> words) {
  std::vector<Number> numbers;
  std::size_t after_number = 0;  // where the last one ended
  for (std::size_t i = 0; i < words.size();) {
    const bool minus = i > 0 && words[i - 1].lower == "minus" && words[i].after_space &&
                       (i < 2 || after_number != i - 1);
    std::vector<Number> found;
    std::size_t count = 1;
    if (!has_letter(words[i])) {
      found = digit_numbers(words[i].text);
      // "2.5 million", "3 hundred thousand"
      while (found.size() == 1 && count < 3 && i + count < words.size() &&
             words[i + count].after_space && !words[i + count].starts_sentence) {
        const auto part = part_of(words[i + count].lower);
        if (!part || part->zeros == 0) break;
        found[0].value = shifted(found[0].value, part->zeros);
        found[0].text += " " + words[i + count].text;
        ++count;
      }
    } else if (WordedNumber number; (count = read_worded(words, i, number)) > 0) {
      found.push_back({std::to_string(number.value()), words[i].text});
      for (std::size_t w = i + 1; w < i + count; ++w) found[0].text += " " + words[w].text;
    } else {
      // "three-year", "one-third"
      count = 1;
      for (const std::string& piece : hyphenated(words[i].lower)) {
        WordedNumber part;
        if (const auto read = part_of(piece); read && part.take(*read))
          found.push_back({std::to_string(part.value()), piece});
      }
    }
    if (minus && !found.empty() && !found[0].value.starts_with('-')) {
      found[0].value = "-" + found[0].value;
      found[0].text = words[i - 1].text + " " + found[0].text;
    }
    i += count;
    if (!found.empty()) after_number = i;
    numbers.insert(numbers.end(), found.begin(), found.end());
  }
  return numbers;
}

}  // namespace collegium::router
