#include "text/aligned_text.h"

#include <array>

#include "text/utf8.h"

namespace collegium::core {

AlignedText AlignedText::slice(std::string_view original, std::size_t begin, std::size_t end) {
  AlignedText made;
  made.text.assign(original.substr(begin, end - begin));
  made.sources.resize(made.text.size());
  made.origin = begin;
  for (std::size_t at = begin; at < end;) {
    const std::size_t next = at + utf8_length(original[at]);
    for (std::size_t byte = at; byte < next; ++byte) made.sources[byte - begin] = {at, next};
    at = next;
  }
  return made;
}

void AlignedText::transform(std::span<const Change> changes, std::size_t removed) {
  AlignedText made;
  made.text.reserve(text.size());
  made.sources.reserve(text.size());
  std::size_t old = 0;  // the next byte of the old text
  const auto skip = [&](std::size_t count) {
    for (; count > 0 && old < text.size(); --count) old += utf8_length(text[old]);
  };
  skip(removed);
  for (const Change& change : changes) {
    ByteSpan source{origin, origin};
    if (change.change > 0) {
      if (old > 0) source = sources[old - 1];
    } else if (old < text.size()) {
      source = sources[old];
    } else if (old > 0) {
      source = sources[old - 1];
    }
    if (change.change <= 0) skip(1 + static_cast<std::size_t>(-change.change));
    std::array<char, 4> bytes;
    const std::size_t size = encode_utf8(change.c, bytes.data());
    made.append(std::string_view(bytes.data(), size), source);
  }
  text.swap(made.text);
  sources.swap(made.sources);
}

void AlignedText::prepend(std::string_view prefix) {
  sources.insert(sources.begin(), prefix.size(), sources.front());
  text.insert(0, prefix);
}

void AlignedText::cut(std::size_t begin, std::size_t end) {
  text.resize(end);
  sources.resize(end);
  text.erase(0, begin);
  sources.erase(sources.begin(), sources.begin() + static_cast<std::ptrdiff_t>(begin));
}

}  // namespace collegium::core
