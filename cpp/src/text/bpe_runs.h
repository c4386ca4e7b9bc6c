#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/bpe_pretokenizer.h"

// The patterns that match runs of one kind of characters, and what a sequence of them leaves for
// the last: DeepSeek's. What no pattern matches is a piece, too.
namespace collegium::core {

// Some files have line ends as such: those as \r and \n.
std::string with_spelled_line_ends(std::string_view regex);

// The pattern that `regex` spells, line ends as \r and \n; none if it is none of these.
std::optional<BpePattern> bpe_run_of_regex(std::string_view regex);

// append_bpe_pieces() of such a pattern.
void append_bpe_runs(std::string_view text, std::size_t begin, std::size_t end, BpePattern pattern,
                     std::vector<ByteSpan>& pieces);

}  // namespace collegium::core
