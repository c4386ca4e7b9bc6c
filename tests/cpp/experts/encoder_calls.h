#pragma once

#include <memory>
#include <string>
#include <vector>

#include "collegium/core/experts/encoder.h"

namespace collegium::core {

// A failure of the test and null if the folder does not load.
std::shared_ptr<const Encoder> load(const std::string& folder, const EncoderOptions& options);

// (texts, dim); a failure of the test and nothing if they cannot be encoded.
std::vector<float> encode(const Encoder& encoder, const std::vector<std::string>& texts,
                          TextKind kind = TextKind::kDocument);

// 60 batches of random company and order on 1, 2 and 4 threads: each row is that of its text alone
// on one thread, to the bit. Texts and batches are drawn with the seeds.
void expect_same_bits_in_any_company(const Encoder& encoder, unsigned text_seed,
                                     unsigned batch_seed);

}  // namespace collegium::core
