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

 private:
  struct Node {
    std::uint32_t first_child = 0;  // children lie side by side
    std::uint32_t children = 0;
    std::int32_t id = -1;
  };
  std::array<std::uint32_t, 256> roots_{};  // node of each first byte; 0: none
  std::vector<Node> nodes_;                 // [0] is the root
  std::vector<unsigned char> labels_;       // the byte that leads to a node
};

}  // namespace collegium::core
