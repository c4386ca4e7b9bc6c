#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace collegium::core {

// The text of one generation on its way out: gives out what no stop string can still take away, and
// ends before the first one, wherever it stands across the pieces.
class GenerationText {
 public:
  // `stops` are not empty.
  explicit GenerationText(std::span<const std::string> stops = {});
  GenerationText(GenerationText&&) = default;

  // What is certain after `piece`, which is complete UTF-8. Pre: no stop string has come.
  std::string push(std::string_view piece);
  // The end: what was held back as the possible beginning of a stop string.
  std::string finish();

  bool stopped() const noexcept { return stop_ != nullptr; }
  const std::string* stop() const noexcept { return stop_; }  // the one that came, or null

 private:
  std::vector<std::string> stops_;
  const std::string* stop_ = nullptr;  // within stops_
  std::string held_;                   // begins with the beginning of a stop string, or is empty
};

}  // namespace collegium::core
