#include <utility>

#include "lm/decoder_lora.h"
#include "lm/language_model_impl.h"

namespace collegium::core {

LmLora::LmLora(std::shared_ptr<const DecoderLora> lora, std::string base_digest)
    : lora_(std::move(lora)), base_digest_(std::move(base_digest)) {}
LmLora::~LmLora() = default;

std::size_t LmLora::rank() const noexcept { return lora_->rank; }
const std::vector<std::string>& LmLora::modules() const noexcept { return lora_->modules; }

Result<const DecoderLora*> LanguageModelImpl::lora_of(
    const std::shared_ptr<const LmLora>& lora) const {
  if (lora == nullptr) return nullptr;
  if (lora->base_digest_ != digest)
    return Status::invalid_argument("lora: was loaded for the model " + lora->base_digest_ +
                                    ", this is " + digest);
  return lora->lora_.get();
}

Result<std::shared_ptr<const LmLora>> LanguageModel::load_lora(const std::string& folder) const {
  using Loaded = Result<std::shared_ptr<const LmLora>>;
  return guarded(folder, [&]() -> Loaded {
    COLLEGIUM_ASSIGN_OR_RETURN(auto lora, read_decoder_lora(folder, impl_->model));
    return std::shared_ptr<const LmLora>(new LmLora(std::move(lora), impl_->digest));
  });
}

}  // namespace collegium::core
