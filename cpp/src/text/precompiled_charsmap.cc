#include "text/precompiled_charsmap.h"

#include <algorithm>

#include "text/unicode_forms.h"
#include "text/utf8.h"

namespace collegium::core {
namespace {

constexpr std::size_t kMaxReplacement = 255;  // bytes; the longest of Unicode's has 33

// False if it is not base64 with its padding.
bool decode_base64(std::string_view text, std::string& out) {
  if (text.size() % 4 != 0) return false;
  out.reserve(text.size() / 4 * 3);
  for (std::size_t i = 0; i < text.size(); i += 4) {
    std::uint32_t bits = 0;
    std::size_t padding = 0;
    for (std::size_t j = 0; j < 4; ++j) {
      const char c = text[i + j];
      std::uint32_t value = 0;
      if (c >= 'A' && c <= 'Z') {
        value = static_cast<std::uint32_t>(c - 'A');
      } else if (c >= 'a' && c <= 'z') {
        value = static_cast<std::uint32_t>(c - 'a' + 26);
      } else if (c >= '0' && c <= '9') {
        value = static_cast<std::uint32_t>(c - '0' + 52);
      } else if (c == '+') {
        value = 62;
      } else if (c == '/') {
        value = 63;
      } else if (c == '=' && j >= 2 && i + 4 == text.size()) {
        ++padding;
      } else {
        return false;
      }
      if (c != '=' && padding > 0) return false;
      bits = bits << 6 | value;
    }
    for (std::size_t j = 0; j < 3 - padding; ++j)
      out.push_back(static_cast<char>(bits >> (16 - 8 * j) & 0xff));
  }
  return true;
}

std::uint32_t little_endian(std::string_view bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = 4; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  return value;
}

// A unit of the double array, as Darts packs it.
bool has_leaf(std::uint32_t unit) { return unit >> 8 & 1; }
std::uint32_t value_of(std::uint32_t unit) { return unit & 0x7fffffff; }
std::uint32_t label_of(std::uint32_t unit) { return unit & 0x800000ff; }
std::uint32_t offset_of(std::uint32_t unit) { return unit >> 10 << ((unit & 1u << 9) >> 6); }

}  // namespace

Result<std::shared_ptr<const PrecompiledCharsmap>> PrecompiledCharsmap::create(
    std::string_view base64, const std::string& where) {
  std::string bytes;
  if (!decode_base64(base64, bytes)) return Status::corruption(where + ": is not base64");
  const std::uint32_t size = bytes.size() < 4 ? 0 : little_endian(bytes, 0);
  if (size == 0 || size % 4 != 0 || size > bytes.size() - 4)
    return Status::corruption(where + ": has a trie of " + std::to_string(size) + " bytes in " +
                              std::to_string(bytes.size()));
  auto made = std::make_shared<PrecompiledCharsmap>();
  made->trie_.reserve(size / 4);
  for (std::size_t at = 4; at < 4 + std::size_t{size}; at += 4)
    made->trie_.push_back(little_endian(bytes, at));
  made->replacements_ = bytes.substr(4 + std::size_t{size});
  if (find_invalid_utf8(made->replacements_) != made->replacements_.size())
    return Status::corruption(where + ": its replacements are not UTF-8");
  for (std::size_t at = 0; at < made->replacements_.size();) {
    const std::size_t end =
        std::min(made->replacements_.find('\0', at), made->replacements_.size());
    if (end - at > kMaxReplacement)
      return Status::not_supported(where + ": has a replacement of " + std::to_string(end - at) +
                                   " bytes, at most " + std::to_string(kMaxReplacement));
    at = end + 1;
  }
  return std::shared_ptr<const PrecompiledCharsmap>(std::move(made));
}

bool PrecompiledCharsmap::look_up(std::string_view text,
                                  std::string_view& replacement) const noexcept {
  std::size_t node = offset_of(trie_[0]);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte == 0) return false;
    node ^= byte;
    if (node >= trie_.size()) return false;
    const std::uint32_t unit = trie_[node];
    if (label_of(unit) != byte) return false;
    node ^= offset_of(unit);
    if (!has_leaf(unit)) continue;
    if (node >= trie_.size()) return false;
    const std::size_t begin = value_of(trie_[node]);
    // A damaged file may point anywhere.
    if (begin > replacements_.size() ||
        (begin < replacements_.size() && is_utf8_continuation(replacements_[begin])))
      return false;
    replacement = std::string_view(replacements_).substr(begin);
    replacement = replacement.substr(0, replacement.find('\0'));
    return true;
  }
  return false;
}

void PrecompiledCharsmap::apply(AlignedText& text) const {
  constexpr std::size_t kLongCluster = 6;
  const UnicodeForms& forms = UnicodeForms::get();
  const std::string_view in = text.text;
  std::vector<AlignedText::Change> changes;
  changes.reserve(in.size());
  bool modified = false;
  const auto replace = [&](std::string_view old, std::string_view fresh) {
    modified = true;
    std::int32_t difference = 0;
    for (std::size_t at = 0; at < old.size(); at += utf8_length(old[at])) --difference;
    for (std::size_t at = 0; at < fresh.size(); ++difference)
      changes.push_back({decode_utf8(fresh, at), 0});
    if (difference > 0) {
      for (std::size_t i = 0; i < static_cast<std::size_t>(difference); ++i)
        changes[changes.size() - 1 - i].change = 1;
    } else if (!changes.empty()) {
      changes.back().change += difference;  // the package's way, even if it is of another cluster
    }
  };
  std::string_view fresh;
  for (std::size_t at = 0; at < in.size();) {
    const std::size_t end = forms.cluster_end(in, at);
    const std::string_view cluster = in.substr(at, end - at);
    if (cluster.size() < kLongCluster && look_up(cluster, fresh)) {
      replace(cluster, fresh);
      at = end;
      continue;
    }
    while (at < end) {
      const std::size_t begin = at;
      const char32_t c = decode_utf8(in, at);
      const std::string_view part = in.substr(begin, at - begin);
      if (look_up(part, fresh)) {
        replace(part, fresh);
      } else {
        changes.push_back({c, 0});
      }
    }
  }
  if (modified) text.transform(changes, 0);
}

}  // namespace collegium::core
