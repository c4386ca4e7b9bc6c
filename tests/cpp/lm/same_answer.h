#pragma once

#include <gtest/gtest.h>

#include "collegium/core/lm/generation.h"

namespace collegium::core {

// All but what it took to get there.
inline void expect_same_answer(const Generation& a, const Generation& b) {
  EXPECT_EQ(a.ids, b.ids);
  EXPECT_EQ(a.text, b.text);
  EXPECT_EQ(a.finish_reason, b.finish_reason);
  EXPECT_EQ(a.stop, b.stop);
  EXPECT_EQ(a.prompt_tokens, b.prompt_tokens);
  EXPECT_EQ(a.log_probabilities, b.log_probabilities);
  EXPECT_EQ(a.alternatives, b.alternatives);
}

}  // namespace collegium::core
