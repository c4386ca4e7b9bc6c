#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "collegium/core/safetensors.h"
#include "collegium/core/status.h"
#include "io/in_quotes.h"

namespace collegium::core {

// A model file without one of its tensors, or with one of another shape, is damaged.
inline Status as_damage(const Status& status) {
  const bool ours =
      status.code() == StatusCode::kNotFound || status.code() == StatusCode::kInvalidArgument;
  return ours ? Status::corruption(status.message()) : status;
}

// A model's tensor: missing, of another shape or not finite throughout, it is corruption by name.
inline Result<std::vector<float>> read_finite(const SafeTensors& file, const std::string& path,
                                              const std::string& name,
                                              const std::vector<std::size_t>& shape) {
  auto values = file.read_float(name, shape);
  if (!values.ok()) return as_damage(values.status());
  for (float value : *values) {
    if (std::isfinite(value)) continue;
    return Status::corruption(path + ": tensor " + in_quotes(name) +
                              " holds a value that is not finite");
  }
  return values;
}

}  // namespace collegium::core
