#include "text/normal_forms.h"

#include <algorithm>
#include <array>
#include <vector>

#include "text/unicode.h"
#include "text/unicode_forms.h"
#include "text/utf8.h"

namespace collegium::core {
namespace {

using Change = AlignedText::Change;

bool is_ascii(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

bool keeps_nfc(std::string_view text) {
  const UnicodeForms& forms = UnicodeForms::get();
  for (std::size_t at = 0; at < text.size();)
    if (!forms.keeps_nfc(decode_utf8(text, at))) return false;
  return true;
}

// Characters that combine are put in the order of their classes, each with its change.
void sort_marks(std::vector<Change>& changes, std::size_t begin) {
  const UnicodeTables& tables = UnicodeTables::get();
  const auto before = [&](const Change& a, const Change& b) {
    return tables.combining_class(a.c) < tables.combining_class(b.c);
  };
  const auto first = changes.begin() + static_cast<std::ptrdiff_t>(begin);
  if (!std::is_sorted(first, changes.end(), before)) std::stable_sort(first, changes.end(), before);
}

std::vector<Change> decompose(std::string_view text, bool compatible) {
  const UnicodeTables& tables = UnicodeTables::get();
  const UnicodeForms& forms = UnicodeForms::get();
  std::vector<Change> changes;
  changes.reserve(text.size());
  std::size_t marks = 0;  // where the marks at the end begin
  std::array<char32_t, UnicodeForms::kMaxParts> parts;
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = decode_utf8(text, at);
    const std::size_t count = compatible ? forms.decompose_compatible(c, parts)
                                         : tables.decompose(c, std::span(parts).first<4>());
    for (std::size_t i = 0; i < count; ++i) {
      const bool mark = tables.combining_class(parts[i]) != 0;
      if (!mark) sort_marks(changes, marks);
      changes.push_back({parts[i], i == 0 ? 0 : 1});
      if (!mark) marks = changes.size();
    }
  }
  sort_marks(changes, marks);
  return changes;
}

// Unicode, section 3.11. A mark that is taken up leaves its change to what takes it.
std::vector<Change> compose(const std::vector<Change>& changes) {
  constexpr std::size_t kNone = static_cast<std::size_t>(-1);
  const UnicodeTables& tables = UnicodeTables::get();
  const UnicodeForms& forms = UnicodeForms::get();
  std::vector<Change> out;
  out.reserve(changes.size());
  std::size_t starter = kNone;  // in `out`: what later characters may be taken up by
  int last_class = -1;          // of the characters kept since; -1: none
  for (const Change& change : changes) {
    const int combining = tables.combining_class(change.c);
    if (starter != kNone && last_class < combining) {
      if (const char32_t whole = forms.compose(out[starter].c, change.c); whole != 0) {
        out[starter] = {whole, out[starter].change + change.change - 1};
        continue;
      }
    }
    if (combining == 0) {
      starter = out.size();
      last_class = -1;
    } else {
      last_class = combining;
    }
    out.push_back(change);
  }
  return out;
}

}  // namespace

void apply_normal_form(NormalForm form, AlignedText& text) {
  if (is_ascii(text.text) || (form == NormalForm::kNfc && keeps_nfc(text.text))) return;
  const bool compatible = form == NormalForm::kNfkd || form == NormalForm::kNfkc;
  std::vector<Change> changes = decompose(text.text, compatible);
  if (form == NormalForm::kNfc || form == NormalForm::kNfkc) changes = compose(changes);
  text.transform(changes, 0);
}

void lower_case(AlignedText& text) {
  const UnicodeTables& tables = UnicodeTables::get();
  if (is_ascii(text.text)) {
    for (char& c : text.text)
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
    return;
  }
  std::vector<Change> changes;
  changes.reserve(text.text.size());
  std::array<char32_t, 2> lowered;
  for (std::size_t at = 0; at < text.text.size();) {
    const std::size_t count = tables.lower(decode_utf8(text.text, at), lowered);
    for (std::size_t i = 0; i < count; ++i) changes.push_back({lowered[i], i == 0 ? 0 : 1});
  }
  text.transform(changes, 0);
}

}  // namespace collegium::core
