#pragma once

#include <string_view>

#include "collegium/core/export.h"

namespace collegium::core {

// The library's version, "1.2.3": that of the project in CMakeLists.txt.
COLLEGIUM_API std::string_view version() noexcept;

}  // namespace collegium::core
