#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/export.h"

namespace collegium::router {

// What of a sentence the passage does not bear out.
struct SupportFinding {
  enum class Kind { kNumber, kName, kNegation };
  Kind kind = Kind::kNumber;
  std::string text;  // "42", "Chopin", "not required"
};

struct COLLEGIUM_API SupportVerdict {
  bool supported = true;
  std::vector<SupportFinding> findings;
  std::string reason() const;  // "number '42' is not in the passage"; empty if supported
};

// Whether `passage` (title and text) bears out the facts a language model most often gets wrong in
// `sentence`: every number in it (by value and sign; each part of a range or date; in words too),
// every name or identifier (capitalised words, CamelCase, snake_case, --options), and every
// negation near the same words, must occur in the passage; a negation of the passage must not be
// lost where the sentence repeats its words. A rule, not a model: deterministic, English, linear in
// the lengths. It says nothing of other contradictions, nor of what a number of the passage counts.
// Citations like [2] are ignored. Thread-safe.
COLLEGIUM_API SupportVerdict check_support(std::string_view sentence, std::string_view passage);

}  // namespace collegium::router
