#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "collegium/core/gguf.h"
#include "collegium/core/status.h"
#include "text/byte_level_bpe.h"

// What every kind of tokenizer reads of a file's `tokenizer.ggml.*`. A value that is missing, of
// another type or out of range is corruption.
namespace collegium::core {

Result<std::vector<std::string>> read_gguf_tokens(const GgufFile& file);
Result<std::vector<BpeTokenType>> read_gguf_token_types(const GgufFile& file);
// The id under `key`, one of `vocab`.
Result<std::int32_t> read_gguf_token_id(const GgufFile& file, const std::string& key,
                                        std::size_t vocab);

}  // namespace collegium::core
