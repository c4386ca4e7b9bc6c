#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/text/tokenizer.h"
#include "text/utf8.h"

namespace collegium::core {

// Text that came out of other text, and for each of its bytes where in that it is from. The places
// move as in the `tokenizers` package, whatever one thinks of them.
struct AlignedText {
  // Places take 32 bits: there is one a byte, and filling memory is most of what long text costs.
  // PipelineTokenizer takes no text that is longer.
  struct Source {
    std::uint32_t begin;
    std::uint32_t end;
  };

  std::string text;
  std::vector<Source> sources;  // one a byte, into the original
  // Where in the original the part begins that this is made of.
  std::size_t origin = 0;

  // original[begin, end) as it is. Pre: valid UTF-8, both on characters.
  static AlignedText slice(std::string_view original, std::size_t begin, std::size_t end);

  // A character of new text. `change` says which of the old it stands for: 0 the next one, -n the
  // next one and n more that are gone, above 0 none: it is new, and from where the one before is.
  struct Change {
    char32_t c;
    std::int32_t change;
  };
  // Replaces the text; the first `removed` characters are gone without a trace.
  void transform(std::span<const Change> changes, std::size_t removed);
  // Puts `prefix` before the text, as if it came from the text's first character. Pre: not empty.
  void prepend(std::string_view prefix);
  // Keeps the characters for which `keep` says so.
  template <typename Keep>
  void filter(Keep keep);
  // Keeps the bytes [begin, end).
  void cut(std::size_t begin, std::size_t end);

  void append(std::string_view more, Source source) {
    text += more;
    sources.insert(sources.end(), more.size(), source);
  }
  void append(const AlignedText& other, std::size_t begin, std::size_t end) {
    text.append(other.text, begin, end - begin);
    sources.insert(sources.end(), other.sources.begin() + static_cast<std::ptrdiff_t>(begin),
                   other.sources.begin() + static_cast<std::ptrdiff_t>(end));
  }
  // Where in the original the bytes [begin, end) are from. Pre: begin < end.
  ByteSpan source(std::size_t begin, std::size_t end) const {
    return {sources[begin].begin, sources[end - 1].end};
  }
};

template <typename Keep>
void AlignedText::filter(Keep keep) {
  std::size_t kept = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    if (!keep(decode_utf8(text, at))) continue;
    for (std::size_t byte = begin; byte < at; ++byte, ++kept) {
      text[kept] = text[byte];
      sources[kept] = sources[byte];
    }
  }
  text.resize(kept);
  sources.resize(kept);
}

}  // namespace collegium::core
