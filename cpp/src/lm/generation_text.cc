#include "lm/generation_text.h"

#include <algorithm>
#include <utility>

namespace collegium::core {

GenerationText::GenerationText(std::span<const std::string> stops)
    : stops_(stops.begin(), stops.end()) {}

std::string GenerationText::push(std::string_view piece) {
  held_ += piece;
  // Of all that came the one that is complete first; that does not depend on where pieces end.
  std::size_t first_end = std::string::npos;
  for (const std::string& stop : stops_) {
    const std::size_t begin = held_.find(stop);
    if (begin == std::string::npos) continue;
    const std::size_t end = begin + stop.size();
    if (end < first_end || (end == first_end && stop.size() > stop_->size())) {
      first_end = end;
      stop_ = &stop;
    }
  }
  if (stop_ != nullptr) {
    std::string certain = held_.substr(0, first_end - stop_->size());
    held_.clear();
    return certain;
  }
  std::size_t kept = 0;  // bytes at the end that may begin a stop string
  for (const std::string& stop : stops_)
    for (std::size_t size = std::min(stop.size() - 1, held_.size()); size > kept; --size)
      if (held_.ends_with(std::string_view(stop).substr(0, size))) {
        kept = size;
        break;
      }
  std::string certain = held_.substr(0, held_.size() - kept);
  held_.erase(0, certain.size());
  return certain;
}

std::string GenerationText::finish() { return std::exchange(held_, {}); }

}  // namespace collegium::core
