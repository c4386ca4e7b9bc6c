#include "text/normalizer.h"

#include <array>
#include <string>
#include <utility>

#include "text/json_fields.h"
#include "text/normal_forms.h"
#include "text/precompiled_charsmap.h"
#include "text/unicode.h"
#include "text/unicode_forms.h"
#include "text/white_space.h"

namespace collegium::core {
namespace {

constexpr std::size_t kMaxSteps = 100;
constexpr std::size_t kMaxContent = 16;  // bytes that replace one match
constexpr int kMaxDepth = 8;

template <typename Function>
class FunctionStep final : public Normalizer::Step {
 public:
  explicit FunctionStep(Function function) : function_(std::move(function)) {}
  void apply(AlignedText& text) const override { function_(text); }

 private:
  Function function_;
};

template <typename Function>
std::shared_ptr<const Normalizer::Step> make_step(Function function) {
  return std::make_shared<FunctionStep<Function>>(std::move(function));
}

// Puts `content` for each match, from where the match ends. `find` gives the next match behind a
// position, begin == end when there is none.
template <typename Find>
void replace_matches(AlignedText& text, std::string_view content, Find find) {
  ByteSpan match = find(text.text, 0);
  if (match.begin == match.end) return;
  AlignedText made;
  made.text.reserve(text.text.size());
  made.sources.reserve(text.text.size());
  std::size_t done = 0;
  for (; match.begin != match.end; match = find(text.text, done)) {
    made.append(text, done, match.begin);
    made.append(content, text.sources[match.end - 1]);
    done = match.end;
  }
  made.append(text, done, text.text.size());
  text.text.swap(made.text);
  text.sources.swap(made.sources);
}

void strip(AlignedText& text, bool left, bool right) {
  const std::size_t size = text.text.size();
  const std::size_t begin = left ? skip_space(text.text, 0, size) : 0;
  const std::size_t end = right ? trim_end(text.text, begin, size) : size;
  text.cut(begin, end);
}

// Maps characters one to one.
template <typename Map>
void map_characters(AlignedText& text, Map map) {
  std::vector<AlignedText::Change> changes;
  bool changed = false;
  for (std::size_t at = 0; at < text.text.size();) {
    const char32_t c = decode_utf8(text.text, at);
    changes.push_back({map(c), 0});
    changed |= changes.back().c != c;
  }
  if (changed) text.transform(changes, 0);
}

void nmt(AlignedText& text) {
  text.filter([](char32_t c) {
    return !((c >= 0x01 && c <= 0x08) || c == 0x0b || (c >= 0x0e && c <= 0x1f) || c == 0x7f ||
             c == 0x8f || c == 0x9f);
  });
  map_characters(text, [](char32_t c) -> char32_t {
    const bool space = c == 0x09 || c == 0x0a || c == 0x0c || c == 0x0d || c == 0x1680 ||
                       (c >= 0x200b && c <= 0x200f) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                       c == 0xfeff || c == 0xfffd;
    return space ? U' ' : c;
  });
}

struct BertOptions {
  bool clean = true;
  bool split_chinese = true;
  bool strip_accents = true;
  bool lowercase = true;
};

void bert(AlignedText& text, const BertOptions& options) {
  const UnicodeTables& tables = UnicodeTables::get();
  if (options.clean) {
    text.filter([&](char32_t c) { return !(tables.flags(c) & UnicodeTables::kRemoved); });
    map_characters(text,
                   [&](char32_t c) { return tables.flags(c) & UnicodeTables::kSpace ? U' ' : c; });
  }
  if (options.split_chinese) {
    std::vector<AlignedText::Change> changes;
    bool changed = false;
    for (std::size_t at = 0; at < text.text.size();) {
      const char32_t c = decode_utf8(text.text, at);
      if (tables.flags(c) & UnicodeTables::kCjk) {
        changes.insert(changes.end(), {{U' ', 0}, {c, 1}, {U' ', 1}});
        changed = true;
      } else {
        changes.push_back({c, 0});
      }
    }
    if (changed) text.transform(changes, 0);
  }
  if (options.strip_accents) {
    apply_normal_form(NormalForm::kNfd, text);
    text.filter([&](char32_t c) { return !(tables.flags(c) & UnicodeTables::kMark); });
  }
  if (options.lowercase) lower_case(text);
}

Result<std::shared_ptr<const Normalizer::Step>> read_bert(const JsonValue& value) {
  COLLEGIUM_RETURN_IF_ERROR(only_fields(
      value, {"type", "clean_text", "handle_chinese_chars", "strip_accents", "lowercase"}));
  BertOptions options;
  COLLEGIUM_ASSIGN_OR_RETURN(options.clean, required_bool(value, "clean_text"));
  COLLEGIUM_ASSIGN_OR_RETURN(options.split_chinese, required_bool(value, "handle_chinese_chars"));
  COLLEGIUM_ASSIGN_OR_RETURN(options.lowercase, required_bool(value, "lowercase"));
  COLLEGIUM_ASSIGN_OR_RETURN(options.strip_accents,
                             value.bool_or("strip_accents", options.lowercase));
  return make_step([options](AlignedText& text) { bert(text, options); });
}

Status check_content(const JsonValue& value, const std::string& content) {
  if (content.size() <= kMaxContent) return {};
  return Status::not_supported(value.where() + ": puts in " + std::to_string(content.size()) +
                               " bytes, at most " + std::to_string(kMaxContent));
}

Result<std::shared_ptr<const Normalizer::Step>> read_replace(const JsonValue& value) {
  COLLEGIUM_RETURN_IF_ERROR(only_fields(value, {"type", "pattern", "content"}));
  COLLEGIUM_ASSIGN_OR_RETURN(const std::string content, required_string(value, "content"));
  COLLEGIUM_ASSIGN_OR_RETURN(const JsonValue pattern, required(value, "pattern"));
  COLLEGIUM_RETURN_IF_ERROR(only_fields(pattern, {"String", "Regex"}));
  COLLEGIUM_RETURN_IF_ERROR(check_content(value, content));
  if (pattern.has("Regex")) {
    COLLEGIUM_ASSIGN_OR_RETURN(const std::string regex, pattern.get_string("Regex"));
    if (regex != " {2,}") return kind_not_run(pattern, "regular expression", regex);
    return make_step([content](AlignedText& text) {
      replace_matches(text, content, [](std::string_view in, std::size_t from) -> ByteSpan {
        const std::size_t begin = in.find("  ", from);
        if (begin == in.npos) return {};
        return {begin, std::min(in.find_first_not_of(' ', begin), in.size())};
      });
    });
  }
  COLLEGIUM_ASSIGN_OR_RETURN(const std::string wanted, required_string(pattern, "String"));
  if (wanted.empty()) return kind_not_run(pattern, "pattern", wanted);
  return make_step([content, wanted](AlignedText& text) {
    replace_matches(text, content, [&](std::string_view in, std::size_t from) -> ByteSpan {
      const std::size_t begin = in.find(wanted, from);
      if (begin == in.npos) return {};
      return {begin, begin + wanted.size()};
    });
  });
}

Result<std::shared_ptr<const Normalizer::Step>> read_step(const JsonValue& value,
                                                          const std::string& type) {
  for (const auto& [name, form] :
       {std::pair("NFC", NormalForm::kNfc), std::pair("NFD", NormalForm::kNfd),
        std::pair("NFKC", NormalForm::kNfkc), std::pair("NFKD", NormalForm::kNfkd)}) {
    if (type != name) continue;
    COLLEGIUM_RETURN_IF_ERROR(only_fields(value, {"type"}));
    return make_step([form = form](AlignedText& text) { apply_normal_form(form, text); });
  }
  if (type == "Lowercase") {
    COLLEGIUM_RETURN_IF_ERROR(only_fields(value, {"type"}));
    return make_step([](AlignedText& text) { lower_case(text); });
  }
  if (type == "StripAccents") {
    COLLEGIUM_RETURN_IF_ERROR(only_fields(value, {"type"}));
    return make_step([](AlignedText& text) {
      const UnicodeForms& forms = UnicodeForms::get();
      text.filter([&](char32_t c) { return !forms.is_mark(c); });
    });
  }
  if (type == "Nmt") {
    COLLEGIUM_RETURN_IF_ERROR(only_fields(value, {"type"}));
    return make_step([](AlignedText& text) { nmt(text); });
  }
  if (type == "Strip") {
    COLLEGIUM_RETURN_IF_ERROR(only_fields(value, {"type", "strip_left", "strip_right"}));
    COLLEGIUM_ASSIGN_OR_RETURN(const bool left, required_bool(value, "strip_left"));
    COLLEGIUM_ASSIGN_OR_RETURN(const bool right, required_bool(value, "strip_right"));
    return make_step([left, right](AlignedText& text) { strip(text, left, right); });
  }
  if (type == "Prepend") {
    COLLEGIUM_RETURN_IF_ERROR(only_fields(value, {"type", "prepend"}));
    COLLEGIUM_ASSIGN_OR_RETURN(const std::string prefix, required_string(value, "prepend"));
    COLLEGIUM_RETURN_IF_ERROR(check_content(value, prefix));
    return make_step([prefix](AlignedText& text) {
      if (!text.text.empty()) text.prepend(prefix);
    });
  }
  if (type == "Replace") return read_replace(value);
  if (type == "BertNormalizer") return read_bert(value);
  if (type == "Precompiled") {
    COLLEGIUM_RETURN_IF_ERROR(only_fields(value, {"type", "precompiled_charsmap"}));
    COLLEGIUM_ASSIGN_OR_RETURN(const JsonValue map, required(value, "precompiled_charsmap"));
    COLLEGIUM_ASSIGN_OR_RETURN(const std::string base64, map.as_string());
    COLLEGIUM_ASSIGN_OR_RETURN(auto step, PrecompiledCharsmap::create(base64, map.where()));
    return std::shared_ptr<const Normalizer::Step>(std::move(step));
  }
  return kind_not_run(value, "normalizer", type);
}

}  // namespace

Status Normalizer::apply(AlignedText& text) const {
  const std::size_t size = text.text.size();
  for (const auto& step : steps_) {
    step->apply(text);
    if (text.text.size() > kMaxGrowth * size + kMoreBytes)
      return Status::not_supported("normaliser: makes more than " + std::to_string(kMaxGrowth) +
                                   " times the text");
  }
  return {};
}

Status Normalizer::add(const JsonValue& value, int depth) {
  COLLEGIUM_ASSIGN_OR_RETURN(const std::string type, required_string(value, "type"));
  if (type != "Sequence") {
    if (steps_.size() == kMaxSteps)
      return Status::not_supported(value.where() + ": has more than " + std::to_string(kMaxSteps) +
                                   " steps");
    COLLEGIUM_ASSIGN_OR_RETURN(auto step, read_step(value, type));
    steps_.push_back(std::move(step));
    return {};
  }
  if (depth == kMaxDepth)
    return Status::not_supported(value.where() + ": is nested more than " +
                                 std::to_string(kMaxDepth) + " deep");
  COLLEGIUM_RETURN_IF_ERROR(only_fields(value, {"type", "normalizers"}));
  COLLEGIUM_ASSIGN_OR_RETURN(const JsonValue list, required(value, "normalizers"));
  COLLEGIUM_ASSIGN_OR_RETURN(const auto children, list.as_array(kMaxSteps));
  for (const JsonValue& child : children) COLLEGIUM_RETURN_IF_ERROR(add(child, depth + 1));
  return {};
}

Result<Normalizer> Normalizer::read(const JsonValue& value) {
  Normalizer made;
  if (!value.is_null()) COLLEGIUM_RETURN_IF_ERROR(made.add(value, 0));
  return made;
}

}  // namespace collegium::core
