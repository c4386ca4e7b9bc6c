#pragma once

#include <string>
#include <vector>

#include "collegium/core/experts/lora_adapter.h"
#include "experts/trunk_lora.h"

namespace collegium::core {

struct LoraAdapter::Impl {
  TrunkLora lora;
  std::size_t rank = 0;
  std::vector<std::string> modules;
  std::string encoder_digest;
  std::string digest;
};

}  // namespace collegium::core
