#include "collegium/index/result_caps.h"

#include <cmath>

#include "collegium/index/filter.h"

namespace collegium::index {

Status SearchOptions::validate() const {
  if (max_per_source != 0 && source_field.empty())
    return Status::invalid_argument("max_per_source is " + std::to_string(max_per_source) +
                                    " without a source_field");
  if (source_field.size() > Filter::kMaxFieldBytes)
    return Status::invalid_argument("source_field has " + std::to_string(source_field.size()) +
                                    " bytes, allowed are 0 to " +
                                    std::to_string(Filter::kMaxFieldBytes));
  if (duplicate_similarity.has_value() && std::isnan(*duplicate_similarity))
    return Status::invalid_argument("duplicate_similarity is not a number");
  return {};
}

bool ResultCaps::keep(std::string_view source, std::span<const float> vector) {
  auto counted = per_source_.end();
  if (max_per_source_ != 0 && !source.empty()) {
    counted = per_source_.emplace(source, 0).first;
    if (counted->second == max_per_source_) return false;
  }
  if (similarity_.has_value()) {
    const std::size_t dim = vector.size();
    for (std::size_t begin = 0; begin < kept_.size(); begin += dim) {
      double product = 0.0;
      for (std::size_t i = 0; i < dim; ++i) product += double{kept_[begin + i]} * double{vector[i]};
      if (product >= *similarity_) return false;
    }
    kept_.insert(kept_.end(), vector.begin(), vector.end());
  }
  if (counted != per_source_.end()) ++counted->second;
  return true;
}

}  // namespace collegium::index
