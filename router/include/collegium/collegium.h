#pragma once

// Everything most programs need, as collegium::Library and friends.
#include "collegium/router/library.h"

namespace collegium {
using core::Encoder;
using core::LanguageModel;
using index::Document;
using router::Answer;
using router::AskOptions;
using router::CreateOptions;
using router::Library;
using router::Pair;
}  // namespace collegium
