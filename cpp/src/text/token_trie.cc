#include "text/token_trie.h"

#include <algorithm>
#include <cstring>
#include <deque>

namespace collegium::core {

TokenTrie::TokenTrie(std::vector<std::pair<std::string_view, std::int32_t>> tokens) {
  std::sort(tokens.begin(), tokens.end());
  // Breadth first: a node is the tokens [begin, end) that agree on their first `depth` bytes.
  struct Range {
    std::size_t begin;
    std::size_t end;
    std::size_t depth;
  };
  std::deque<Range> ranges = {{0, tokens.size(), 0}};  // of nodes to come
  nodes_.push_back({});
  labels_.push_back(0);
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    auto [begin, end, depth] = ranges.front();
    ranges.pop_front();
    while (begin < end && tokens[begin].first.size() == depth) {
      if (depth > 0) nodes_[i].id = tokens[begin].second;
      ++begin;
    }
    nodes_[i].first_child = static_cast<std::uint32_t>(nodes_.size());
    while (begin < end) {
      const char label = tokens[begin].first[depth];
      std::size_t next = begin;
      while (next < end && tokens[next].first[depth] == label) ++next;
      ranges.push_back({begin, next, depth + 1});
      nodes_.push_back({});
      labels_.push_back(static_cast<unsigned char>(label));
      ++nodes_[i].children;
      begin = next;
    }
  }
  for (std::uint32_t child = 0; child < nodes_[0].children; ++child) {
    roots_[labels_[nodes_[0].first_child + child]] = nodes_[0].first_child + child;
  }
}

TokenTrie::Match TokenTrie::longest(std::string_view text) const noexcept {
  Match match;
  if (text.empty()) return match;
  std::uint32_t at = roots_[static_cast<unsigned char>(text[0])];
  for (std::size_t depth = 1; at != 0; ++depth) {
    const Node& node = nodes_[at];
    if (node.id >= 0) match = {node.id, depth};
    if (depth == text.size()) break;
    at = child(at, text[depth]);
  }
  return match;
}

std::uint32_t TokenTrie::child(std::uint32_t at, char byte) const noexcept {
  const Node& node = nodes_[at];
  if (node.children == 0) return 0;
  const unsigned char* first = labels_.data() + node.first_child;
  const void* found = std::memchr(first, static_cast<unsigned char>(byte), node.children);
  if (found == nullptr) return 0;
  return node.first_child +
         static_cast<std::uint32_t>(static_cast<const unsigned char*>(found) - first);
}

}  // namespace collegium::core
