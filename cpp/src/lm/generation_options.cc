#include <cmath>
#include <string>

#include "collegium/core/lm/generation.h"
#include "collegium/core/text/tokenizer.h"

namespace collegium::core {
namespace {

Status out_of_range(const char* field, double value, const char* range) {
  return Status::invalid_argument(std::string(field) + ": " + std::to_string(value) + ", must be " +
                                  range);
}

}  // namespace

Status GenerateOptions::validate() const {
  if (max_new_tokens == 0) return Status::invalid_argument("max_new_tokens: 0, must be at least 1");
  if (!(temperature >= 0.0f) || !std::isfinite(temperature))
    return out_of_range("temperature", temperature, "finite and not negative");
  if (!(top_p > 0.0f && top_p <= 1.0f)) return out_of_range("top_p", top_p, "in (0, 1]");
  if (!(min_p >= 0.0f && min_p <= 1.0f)) return out_of_range("min_p", min_p, "in [0, 1]");
  if (!(typical_p > 0.0f && typical_p <= 1.0f))
    return out_of_range("typical_p", typical_p, "in (0, 1]");
  if (!(repetition_penalty > 0.0f) || !std::isfinite(repetition_penalty))
    return out_of_range("repetition_penalty", repetition_penalty, "finite and above 0");
  if (!std::isfinite(presence_penalty))
    return out_of_range("presence_penalty", presence_penalty, "finite");
  if (!std::isfinite(frequency_penalty))
    return out_of_range("frequency_penalty", frequency_penalty, "finite");
  if (stop.size() > kMaxStops)
    return Status::invalid_argument("stop: " + std::to_string(stop.size()) +
                                    " strings, must be at most " + std::to_string(kMaxStops));
  for (std::size_t i = 0; i < stop.size(); ++i) {
    const std::string where = "stop[" + std::to_string(i) + "]";
    if (stop[i].empty()) return Status::invalid_argument(where + ": is empty");
    COLLEGIUM_RETURN_IF_ERROR(check_utf8(stop[i], where));
  }
  if (prompt_lookup > kMaxLookup)
    return Status::invalid_argument("prompt_lookup: " + std::to_string(prompt_lookup) +
                                    ", must be at most " + std::to_string(kMaxLookup));
  if (draft_tokens == 0 || draft_tokens > kMaxLookup)
    return Status::invalid_argument("draft_tokens: " + std::to_string(draft_tokens) +
                                    ", must be in [1, " + std::to_string(kMaxLookup) + "]");
  if (alternatives > kMaxAlternatives)
    return Status::invalid_argument("alternatives: " + std::to_string(alternatives) +
                                    ", must be at most " + std::to_string(kMaxAlternatives));
  return {};
}

std::string_view finish_reason_name(FinishReason reason) noexcept {
  switch (reason) {
    case FinishReason::kEnd:
      return "end";
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kContext:
      return "context";
    case FinishReason::kCancelled:
      return "cancelled";
  }
  return "unknown";
}

}  // namespace collegium::core
