#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace collegium::core {

// Finds the longest token a text starts with, in time linear in that token's length. Immutable.
class TokenTrie {
 public:
  TokenTrie() = default;
  // Tokens with their ids, in any order; empty ones are left out, of equal ones one is kept.
  explicit TokenTrie(std::vector<std::pair<std::string_view, std::int32_t>> tokens);

  struct Match {
    std::int32_t id = -1;  // -1: none
    std::size_t size = 0;  // bytes
  };
  Match longest(std::string_view text) const noexcept;
  // Calls `function` with a Match for each token `text` starts with, shorter ones first.
  template <typename Function>
  void for_each_prefix(std::string_view text, Function function) const {
    if (text.empty()) return;
    std::uint32_t at = roots_[static_cast<unsigned char>(text[0])];
    for (std::size_t depth = 1; at != 0; ++depth) {
      if (nodes_[at].id >= 0) function(Match{nodes_[at].id, depth});
      if (depth == text.size()) break;
      at = child(at, text[depth]);
    }
  }

 private:
  struct Node {
    std::uint32_t first_child = 0;  // children lie side by side
    std::uint32_t children = 0;
    std::int32_t id = -1;
  };
  // The node a byte leads to; 0: none.
  std::uint32_t child(std::uint32_t at, char byte) const noexcept;

  std::array<std::uint32_t, 256> roots_{};  // node of each first byte; 0: none
  std::vector<Node> nodes_;                 // [0] is the root
  std::vector<unsigned char> labels_;       // the byte that leads to a node
};

}  // namespace collegium::core
