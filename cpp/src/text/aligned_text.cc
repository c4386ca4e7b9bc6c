#include "text/aligned_text.h"

#include "text/utf8.h"

namespace collegium::core {

AlignedText AlignedText::slice(std::string_view original, std::size_t begin, std::size_t end) {
  AlignedText made;
  made.text.assign(original.substr(begin, end - begin));
  made.sources.resize(made.text.size());
  made.origin = begin;
  for (std::size_t at = begin; at < end;) {
    const std::size_t next = at + utf8_length(original[at]);
    const Source source{static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(next)};
    for (std::size_t byte = at; byte < next; ++byte) made.sources[byte - begin] = source;
    at = next;
  }
  return made;
}

void AlignedText::transform(std::span<const Change> changes, std::size_t removed) {
  std::size_t size = 0;
  for (const Change& change : changes) size += utf8_size(change.c);
  std::string made(size, '\0');
  std::vector<Source> made_sources(size);
  std::size_t at = 0;   // in `made`
  std::size_t old = 0;  // the next byte of the old text
  const auto skip = [&](std::size_t count) {
    for (; count > 0 && old < text.size(); --count) old += utf8_length(text[old]);
  };
  skip(removed);
  for (const Change& change : changes) {
    const auto start = static_cast<std::uint32_t>(origin);
    Source source{start, start};
    if (change.change > 0) {
      if (old > 0) source = sources[old - 1];
    } else if (old < text.size()) {
      source = sources[old];
    } else if (old > 0) {
      source = sources[old - 1];
    }
    if (change.change <= 0) skip(1 + static_cast<std::size_t>(-change.change));
    for (const std::size_t end = at + encode_utf8(change.c, made.data() + at); at < end; ++at)
      made_sources[at] = source;
  }
  text.swap(made);
  sources.swap(made_sources);
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
