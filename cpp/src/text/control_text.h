#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace collegium::core {

// Takes tokens that are matched whole in a text out of texts that others wrote.
class ControlText {
 public:
  // Empty ones are left out.
  explicit ControlText(std::vector<std::string> tokens = {});
  // See LanguageModel::without_control_tokens(). Pre: valid UTF-8.
  std::string without(std::string_view text) const;

 private:
  std::vector<std::string> tokens_;
  std::array<std::vector<std::uint32_t>, 256> by_last_byte_;  // positions in tokens_
  bool spaced_ = false;
};

}  // namespace collegium::core
