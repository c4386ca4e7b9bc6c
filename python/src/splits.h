#pragma once

#include <optional>
#include <string>

#include "collegium/router/learning.h"
#include "errors.h"

namespace collegium::python {

inline std::string split_name(router::Split split) {
  switch (split) {
    case router::Split::kTrain:
      return "train";
    case router::Split::kDev:
      return "dev";
    case router::Split::kTest:
      return "test";
  }
  return "unknown";
}

inline router::Split parse_split(const std::string& name) {
  if (name == "train") return router::Split::kTrain;
  if (name == "dev") return router::Split::kDev;
  if (name == "test") return router::Split::kTest;
  throw StatusError(
      Status::invalid_argument("split is '" + name + "', expected 'train', 'dev' or 'test'"));
}

}  // namespace collegium::python
