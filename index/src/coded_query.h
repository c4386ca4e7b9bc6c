#pragma once

#include <cstdint>
#include <span>

#include "graph_kernels.h"
#include "scan.h"

namespace collegium::index {

// A query as codes, as a row of codes is scored with.
struct CodedQuery {
  explicit CodedQuery(std::span<const float> query)
      : coded(make_codes(query, query.size(), ScanKind::kInt8)) {}
  const std::int8_t* codes() const { return coded.bytes.data(); }
  float scale() const { return coded.scale[0]; }

  ScanCodes coded;  // of one row
};

inline CodeRows code_rows(const ScanCodes& codes) {
  return {codes.bytes.data(), codes.scale.data(), codes.sum.data(), codes.stride};
}

}  // namespace collegium::index
