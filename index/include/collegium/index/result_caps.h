#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collegium/core/export.h"
#include "collegium/index/search_options.h"

namespace collegium::index {

// What SearchOptions::max_per_source and duplicate_similarity mean, exactly: hits are offered best
// first, and each is kept unless max_per_source hits of its source are kept already, or one is
// whose vector has an inner product of at least duplicate_similarity with its own. A hit that was
// dropped drops no other. The products are summed in double precision and in order, so they are the
// same on every machine.
class COLLEGIUM_API ResultCaps {
 public:
  explicit ResultCaps(const SearchOptions& options)
      : max_per_source_(options.max_per_source), similarity_(options.duplicate_similarity) {}

  // Whether `options` ask for any.
  static bool wanted(const SearchOptions& options) {
    return options.max_per_source != 0 || options.duplicate_similarity.has_value();
  }

  // Offers the next hit: its source (Hit::source; empty: its own) and its passage's vector (dim,).
  // True: it is kept.
  bool keep(std::string_view source, std::span<const float> vector);

 private:
  std::size_t max_per_source_;
  std::optional<double> similarity_;
  std::map<std::string, std::size_t, std::less<>> per_source_;
  std::vector<float> kept_;  // (hits kept, dim)
};

}  // namespace collegium::index
