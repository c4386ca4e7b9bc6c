#include "collegium/core/experts/lora_adapter.h"

#include <new>
#include <utility>

#include "experts/digest.h"
#include "experts/encoder_impl.h"
#include "experts/lora_adapter_impl.h"
#include "experts/peft_folder.h"

namespace collegium::core {
LoraAdapter::LoraAdapter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
LoraAdapter::~LoraAdapter() = default;

Result<std::shared_ptr<const LoraAdapter>> LoraAdapter::load(const std::string& folder,
                                                             const Encoder& encoder) {
  try {
    const Trunk& trunk = *encoder.impl_->trunk;
    COLLEGIUM_ASSIGN_OR_RETURN(const PeftLora read, read_peft_lora(folder, trunk.prefix()));
    auto impl = std::make_unique<Impl>();
    COLLEGIUM_ASSIGN_OR_RETURN(impl->lora, trunk.bind_lora(read.modules, read.path));
    impl->rank = read.rank;
    impl->encoder_digest = encoder.digest();
    ModelDigest digest;
    digest.add("collegium lora 1");
    digest.add(encoder.digest());
    digest.add(std::span<const float>(&read.scale, 1));
    for (const auto& [module, m] : read.modules) {
      impl->modules.push_back(module);
      digest.add(module);
      digest.add(std::span<const float>(m.a));
      digest.add(std::span<const float>(m.b));
    }
    impl->digest = digest.hex();
    return std::shared_ptr<const LoraAdapter>(new LoraAdapter(std::move(impl)));
  } catch (const std::bad_alloc&) {
    return Status::resource_exhausted("loading the LoRA " + folder + ": out of memory");
  }
}

std::size_t LoraAdapter::rank() const noexcept { return impl_->rank; }
const std::vector<std::string>& LoraAdapter::modules() const noexcept { return impl_->modules; }
std::size_t LoraAdapter::first_layer() const noexcept { return impl_->lora.first_layer; }
const std::string& LoraAdapter::encoder_digest() const noexcept { return impl_->encoder_digest; }
const std::string& LoraAdapter::digest() const noexcept { return impl_->digest; }

}  // namespace collegium::core
