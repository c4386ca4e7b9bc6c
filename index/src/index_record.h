#pragma once

#include <string>
#include <string_view>

#include "collegium/core/status.h"
#include "collegium/index/index_settings.h"

namespace collegium::index {

// Where the store keeps a collection's IndexSettings: a record, that backup, repair and reading
// treat like any other.
std::string index_record_key(std::string_view collection);

// One JSON object (docs/formats.md), and back: corruption for anything else.
std::string write_index_record(const IndexSettings& settings);
Result<IndexSettings> read_index_record(std::string_view text);

}  // namespace collegium::index
