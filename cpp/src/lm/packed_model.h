#pragma once

#include <string>

#include "collegium/core/status.h"
#include "lm/decoder_weights.h"

namespace collegium::core {

// A model's weights as compute="fast" wants them, in a file to be mapped: nothing is laid out anew
// at the next load, and processes share the memory. The model's own file is still needed for all
// else. File kind "lmpacked", version 1, in the envelope; little-endian:
//   string digest   of the model
//   u32 linears; for each, in the order of DecoderWeights::packed_linears():
//     u32 type (ggml's number), u64 inputs, u64 outputs, u64 begin (bytes from the file's first)
//   their panels (packed_kernels.h, kernels_bf16.h), each at a multiple of 64 bytes from the file's
//   first; zeros between

// Pre: `weights` are packed. The errors of write_file_envelope(). Throws std::bad_alloc: the file
// is made in memory.
Status write_packed_model(const std::string& path, const std::string& digest,
                          const DecoderWeights& weights);

// Maps the file for `weights`, which are those of the model of `digest`. invalid_argument if it was
// made of another one; the errors of read_file_envelope(), corruption where it does not fit.
Status use_packed_model(const std::string& path, const std::string& digest,
                        DecoderWeights& weights);

}  // namespace collegium::core
