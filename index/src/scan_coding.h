#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "scan.h"

namespace collegium::index {

// Sets bit d of `words` for every positive x[d].
void set_signs(const float* x, std::size_t dim, std::uint64_t* words);

// Queries as a scan of codes needs them, one by one or in panels, and how far scores are off.
//   A row's score against a query's codes, times scale, is off the fp32 score by no more than
//     error[row] * length + coarse_slack, or in panels error[row] * reach * scale + coarse_slack;
//   one against the query's floats by no more than error[row] * length + slack.
struct CodedQueries {
  std::size_t stride;
  std::size_t num_panels = 0;
  core::AlignedBuffer<float> floats;        // (n, stride), zeros after the last
  core::AlignedBuffer<std::uint8_t> bytes;  // kInt8: codes (n, stride); panels of any kind
  std::vector<float> scale, length, slack, coarse_slack;  // (n,)
  std::vector<float> reach;                               // (n,), in panels with zeros after them
  std::vector<bool> usable;  // else too long or short for the bounds to be of use

  CodedQueries(std::span<const float> queries, std::size_t dim, const ScanCodes& codes,
               bool in_panels);
};

}  // namespace collegium::index
