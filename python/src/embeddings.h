#pragma once

#include <pybind11/pybind11.h>

#include <string>
#include <vector>

#include "collegium/core/experts/encoder.h"

namespace collegium::python {

// "query" or "document", else invalid_argument.
core::TextKind parse_kind(const std::string& kind);

// (vectors of `shape`, num_tokens (n,), truncated (n,)); the vectors are not copied.
pybind11::tuple to_tuple(core::Encoder::Embeddings embeddings,
                         std::vector<pybind11::ssize_t> shape);

}  // namespace collegium::python
