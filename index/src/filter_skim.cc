#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "filter_value.h"

namespace collegium::index {
namespace {

// Goes through a JSON text from one value to the next. The text was checked when it was written;
// of any other, nothing is read beyond its end.
class JsonSkimmer {
 public:
  explicit JsonSkimmer(std::string_view text) : text_(text) {}

  // Past `c`, with the space around it; false when something else is there.
  bool take(char c) {
    skip_space();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    skip_space();
    return true;
  }

  // What is between the quotes.
  bool take_string(std::string_view& raw) {
    if (at_ >= text_.size() || text_[at_] != '"') return false;
    const std::size_t begin = at_ + 1;
    for (std::size_t i = begin; i < text_.size(); ++i) {
      if (text_[i] == '\\') {
        ++i;
      } else if (text_[i] == '"') {
        raw = text_.substr(begin, i - begin);
        at_ = i + 1;
        return true;
      }
    }
    return false;
  }

  // A whole value, quotes and brackets included.
  bool take_value(std::string_view& raw) {
    const std::size_t begin = at_;
    std::size_t depth = 0;
    do {
      if (at_ >= text_.size()) return false;
      const char c = text_[at_];
      if (c == '"') {
        std::string_view ignored;
        if (!take_string(ignored)) return false;
        continue;
      }
      if (depth == 0 && c != '{' && c != '[') {  // a number or a word
        at_ = std::min(text_.find_first_of(",]} \t\r\n", at_), text_.size());
        break;
      }
      if (c == '{' || c == '[') ++depth;
      if (c == '}' || c == ']') --depth;
      ++at_;
    } while (depth > 0);
    raw = text_.substr(begin, at_ - begin);
    return !raw.empty();
  }

 private:
  void skip_space() { at_ = std::min(text_.find_first_not_of(" \t\r\n", at_), text_.size()); }

  std::string_view text_;
  std::size_t at_ = 0;
};

bool is_key(std::string_view raw, std::string_view key) {
  if (raw.find('\\') == std::string_view::npos) return raw == key;
  const auto parsed =
      nlohmann::json::parse('"' + std::string(raw) + '"', nullptr, /*allow_exceptions=*/false);
  return parsed.is_string() && parsed.get_ref<const std::string&>() == key;
}

struct Members {
  std::optional<std::string_view> whole, head;  // of a key that comes twice, the last
};

// The values of the members `whole` and `head` of an object.
Members find_members(std::string_view object, std::string_view whole, std::string_view head) {
  Members found;
  JsonSkimmer skimmer(object);
  if (!skimmer.take('{') || skimmer.take('}')) return found;
  do {
    std::string_view key;
    std::string_view value;
    if (!skimmer.take_string(key) || !skimmer.take(':') || !skimmer.take_value(value)) return {};
    if (is_key(key, whole)) found.whole = value;
    if (is_key(key, head)) found.head = value;
  } while (skimmer.take(','));
  return found;
}

nlohmann::json parse(std::string_view text) {
  return nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
}

void add_values(std::string_view text, TextPool& pool, std::vector<FieldValue>& values) {
  if (text.front() == '"' && text.find('\\') == std::string_view::npos) {
    values.push_back(FieldValue::string(pool.keep(text.substr(1, text.size() - 2))));
    return;
  }
  if (text.front() == '{') {
    values.push_back(FieldValue::other());
    return;
  }
  // The field of an object made for it: what a field's value means is said in one place.
  auto object = nlohmann::json::object();
  if (auto& value = object[""] = parse(text); value.is_discarded()) return;
  collect_field(object, "", pool, values);
}

}  // namespace

void collect_stored_field(std::string_view metadata, std::string_view path, TextPool& pool,
                          std::vector<FieldValue>& values) {
  // As deep as `path` has dots.
  for (std::string_view object = metadata;;) {
    const std::size_t dot = path.find('.');
    const Members found = find_members(object, path, path.substr(0, dot));
    if (found.whole.has_value()) return add_values(*found.whole, pool, values);
    if (dot == std::string_view::npos || !found.head.has_value()) return;
    object = *found.head;
    path.remove_prefix(dot + 1);
    if (object.front() == '{') continue;
    if (object.front() != '[') return;
    const nlohmann::json elements = parse(object);
    if (!elements.is_array()) return;
    for (const auto& element : elements)
      if (element.is_object()) collect_field(element, path, pool, values);
    return;
  }
}

}  // namespace collegium::index
