#pragma once

#include "text/aligned_text.h"

namespace collegium::core {

enum class NormalForm { kNfd, kNfkd, kNfc, kNfkc };

// Unicode's normalisation forms, with the tables and the places of the `tokenizers` package.
void apply_normal_form(NormalForm form, AlignedText& text);

void lower_case(AlignedText& text);

}  // namespace collegium::core
