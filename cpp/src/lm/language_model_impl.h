#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "collegium/core/gguf.h"
#include "collegium/core/lm/language_model.h"
#include "lm/chat_template.h"
#include "lm/decoder.h"
#include "lm/lm_tokenizer.h"

// What language_model.cc loads, and generation.cc and scoring.cc run.
namespace collegium::core {

// Tokens of a prompt that are read at once, by exact and by fast models. What comes between two
// such steps, as Ctrl-C does, waits no more than about a second; the widened weights are still used
// many times.
inline constexpr std::size_t kPromptStep = 64;
inline constexpr std::size_t kFastPromptStep = 256;
// Rows that go through the layers together, whatever the number of requests or texts.
inline constexpr std::size_t kBatchRows = 256;
// Logits that are there at once; at least those of one row.
inline constexpr std::size_t kLogitBytes = std::size_t{32} << 20;

// Runs `work` and turns what a callback or an allocation throws into a Status.
template <typename Work>
auto guarded(const std::string& where, Work work) -> decltype(work()) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return Status::resource_exhausted(where + ": not enough memory");
  } catch (const std::length_error&) {
    return Status::resource_exhausted(where + ": not enough memory");
  } catch (const std::exception& e) {
    return Status::internal(where + ": " + e.what());
  }
}

struct LanguageModelImpl {
  std::string path;              // of the file or folder
  std::optional<GgufFile> file;  // whose bytes the model borrows
  Decoder model;
  std::shared_ptr<const LmTokenizer> tokenizer;
  ChatTemplate chat_template = ChatTemplate::kNone;
  std::string digest;
  KvCacheType kv_cache = KvCacheType::kFp32;

  KvCache new_cache() const { return KvCache(model.config(), kv_cache); }

  // The decoder's side of a request's LoRA, null for none. invalid_argument if it is not of this
  // model.
  Result<const DecoderLora*> lora_of(const std::shared_ptr<const LmLora>& lora) const;
  std::size_t prompt_step() const noexcept {
    return model.weights().packed_bytes != 0 ? kFastPromptStep : kPromptStep;
  }
  bool is_end(std::int32_t id) const { return tokenizer->is_end(id); }
  // See LanguageModel::generation_bytes().
  std::size_t generation_bytes(std::size_t tokens) const noexcept;
};

}  // namespace collegium::core
