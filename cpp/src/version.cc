#include "collegium/core/version.h"

namespace collegium::core {

// COLLEGIUM_VERSION is defined for this file alone, so that a new version recompiles one file.
std::string_view version() noexcept { return COLLEGIUM_VERSION; }

}  // namespace collegium::core
