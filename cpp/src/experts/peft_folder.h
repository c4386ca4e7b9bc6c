#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "collegium/core/status.h"
#include "experts/trunk_lora.h"

namespace collegium::core {

// A LoRA as the PEFT library saves it: adapter_config.json and adapter_model.safetensors.
struct PeftLora {
  std::string path;  // of the tensors
  std::size_t rank = 0;
  float scale = 1.0f;
  LoraModules modules;  // by name, `prefix` taken away
};

// not_found, corruption; not_supported for a field or tensor that is not run, by name.
Result<PeftLora> read_peft_lora(const std::string& folder, std::string_view prefix);

}  // namespace collegium::core
