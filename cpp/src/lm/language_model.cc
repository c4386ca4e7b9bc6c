#include "collegium/core/lm/language_model.h"

#include <algorithm>
#include <new>
#include <stdexcept>

#include "collegium/core/file_envelope.h"
#include "collegium/core/gguf.h"
#include "lm/chat_template.h"
#include "lm/llama.h"
#include "lm/sampler.h"
#include "text/byte_level_bpe.h"
#include "text/utf8_repair.h"

namespace collegium::core {
namespace {

// Tokens of a prompt that are read at once. What comes between two such steps, as Ctrl-C does,
// waits no more than about a second; the widened weights are still used many times.
constexpr std::size_t kPromptStep = 64;

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

// The tokens that end an answer: the file's end of sequence and end of turn.
Result<std::vector<std::int32_t>> read_end_ids(const GgufFile& file, std::size_t vocab) {
  std::vector<std::int32_t> ids;
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"}) {
    if (!file.has(key)) continue;
    const auto id = file.get_unsigned(key);
    if (!id.ok()) return Status::corruption(id.status().message());
    if (*id >= vocab)
      return Status::corruption(file.path() + ": " + key + " " + std::to_string(*id) +
                                " is outside the vocabulary of " + std::to_string(vocab));
    ids.push_back(static_cast<std::int32_t>(*id));
  }
  return ids;
}

}  // namespace

struct LanguageModel::Impl {
  GgufFile file;
  LlamaModel model;
  std::shared_ptr<const ByteLevelBpe> tokenizer;
  std::vector<std::int32_t> end_ids;
  ChatTemplate chat_template = ChatTemplate::kNone;
  std::string template_digest;
  std::string digest;

  bool is_end(std::int32_t id) const {
    return std::find(end_ids.begin(), end_ids.end(), id) != end_ids.end();
  }

  Result<Generation> generate(std::string_view prompt, const GenerateOptions& options,
                              const TokenCallback& on_token,
                              const ProgressCallback& progress) const;
};

LanguageModel::LanguageModel(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
LanguageModel::~LanguageModel() = default;

Result<std::shared_ptr<const LanguageModel>> LanguageModel::load(const std::string& gguf_path,
                                                                 Isa isa) {
  using Loaded = Result<std::shared_ptr<const LanguageModel>>;
  return guarded(gguf_path, [&]() -> Loaded {
    COLLEGIUM_ASSIGN_OR_RETURN(auto file, GgufFile::open(gguf_path));
    COLLEGIUM_ASSIGN_OR_RETURN(auto model, LlamaModel::read(file, std::min(isa, machine_isa())));
    COLLEGIUM_ASSIGN_OR_RETURN(auto tokenizer, ByteLevelBpe::from_gguf(file));
    const std::size_t vocab = model.config().vocab;
    if (tokenizer->vocab_size() != vocab)
      return Status::corruption(gguf_path + ": the tokenizer has " +
                                std::to_string(tokenizer->vocab_size()) + " tokens, the model " +
                                std::to_string(vocab));
    COLLEGIUM_ASSIGN_OR_RETURN(auto end_ids, read_end_ids(file, vocab));
    std::string_view source;
    if (file.has("tokenizer.chat_template")) {
      const auto text = file.get_string("tokenizer.chat_template");
      if (!text.ok()) return Status::corruption(text.status().message());
      source = *text;
    }
    const ChatTemplate chat_template = recognise_chat_template(source);
    std::string template_digest = digest_hex(std::as_bytes(std::span(source)));
    std::string digest = digest_hex(file.bytes());
    auto impl = std::make_unique<Impl>(Impl{std::move(file), std::move(model), std::move(tokenizer),
                                            std::move(end_ids), chat_template,
                                            std::move(template_digest), std::move(digest)});
    return std::shared_ptr<const LanguageModel>(new LanguageModel(std::move(impl)));
  });
}

const Tokenizer& LanguageModel::tokenizer() const noexcept { return *impl_->tokenizer; }
std::size_t LanguageModel::context_length() const noexcept { return impl_->model.config().context; }
const std::string& LanguageModel::digest() const noexcept { return impl_->digest; }

std::string LanguageModel::without_control_tokens(std::string_view text) const {
  return impl_->tokenizer->without_control_tokens(text);
}

Result<std::string> LanguageModel::apply_chat_template(
    std::span<const ChatMessage> messages) const {
  switch (impl_->chat_template) {
    case ChatTemplate::kNone:
      return Status::failed_precondition(impl_->file.path() +
                                         ": has no chat template; give generate() a whole prompt");
    case ChatTemplate::kUnknown:
      return Status::not_supported(impl_->file.path() + ": its chat template (XXH3-128 " +
                                   impl_->template_digest +
                                   ") is not one of those known here (SmolLM2); give generate() a "
                                   "whole prompt");
    case ChatTemplate::kSmolLm2:
      break;
  }
  return guarded("apply_chat_template", [&]() -> Result<std::string> {
    return core::apply_chat_template(impl_->chat_template, messages);
  });
}

Result<Generation> LanguageModel::Impl::generate(std::string_view prompt,
                                                 const GenerateOptions& options,
                                                 const TokenCallback& on_token,
                                                 const ProgressCallback& progress) const {
  COLLEGIUM_RETURN_IF_ERROR(options.validate());
  COLLEGIUM_ASSIGN_OR_RETURN(const auto encoding, tokenizer->encode(prompt, {}));
  const std::size_t prompt_tokens = encoding.ids.size();
  const std::size_t context = model.config().context;
  if (prompt_tokens == 0) return Status::invalid_argument("prompt: has no token");
  if (prompt_tokens >= context)
    return Status::invalid_argument("prompt: " + std::to_string(prompt_tokens) +
                                    " tokens do not fit the context of " + std::to_string(context) +
                                    " with one to spare");

  Generation generation;
  generation.prompt_tokens = prompt_tokens;
  const std::size_t width = model.config().width;
  KvCache cache(model.config());
  std::vector<float> hidden(std::min(prompt_tokens, kPromptStep) * width);
  std::vector<float> logits(model.config().vocab);
  Sampler sampler(options);
  Utf8Repair repair;
  std::vector<std::int32_t> next = encoding.ids;
  for (std::size_t step = 0; step < options.max_new_tokens; ++step) {
    if (cache.length() + next.size() > context) break;  // the context is full
    generation.flops += model.forward_flops(cache.length(), next.size()) + model.logits_flops(1);
    std::size_t rows = 0;  // of `hidden`, the last of which is the last token's
    for (std::size_t begin = 0; begin < next.size(); begin += rows) {
      if (step == 0 && !report(progress, "prompt", begin, prompt_tokens))
        return Status::cancelled("generation stopped after " + std::to_string(begin) + " of the " +
                                 std::to_string(prompt_tokens) + " tokens of its prompt");
      if (step > 0 && !report(progress, "generate", step, options.max_new_tokens))
        return Status::cancelled("generation stopped after " + std::to_string(step) + " tokens");
      rows = std::min(kPromptStep, next.size() - begin);
      model.forward(std::span(next).subspan(begin, rows), cache, hidden.data());
    }
    model.logits(hidden.data() + (rows - 1) * width, 1, logits.data());
    COLLEGIUM_ASSIGN_OR_RETURN(const std::int32_t id, sampler.choose(logits, step));
    if (is_end(id)) {
      generation.stopped = true;
      break;
    }
    generation.ids.push_back(id);
    next.assign(1, id);
    const std::string piece =
        tokenizer->is_control(id) ? std::string() : repair.push(tokenizer->token_bytes(id));
    generation.text += piece;
    if (on_token && !piece.empty() && !on_token(piece)) return generation;
  }
  const std::string rest = repair.finish();
  generation.text += rest;
  if (on_token && !rest.empty()) static_cast<void>(on_token(rest));
  return generation;
}

Result<Generation> LanguageModel::generate(std::string_view prompt, const GenerateOptions& options,
                                           const TokenCallback& on_token,
                                           const ProgressCallback& progress) const {
  return guarded("generate", [&] { return impl_->generate(prompt, options, on_token, progress); });
}

Result<Generation> LanguageModel::chat(std::span<const ChatMessage> messages,
                                       const GenerateOptions& options,
                                       const TokenCallback& on_token,
                                       const ProgressCallback& progress) const {
  COLLEGIUM_ASSIGN_OR_RETURN(const std::string prompt, apply_chat_template(messages));
  return generate(prompt, options, on_token, progress);
}

Result<std::vector<float>> LanguageModel::logits(std::span<const std::int32_t> ids,
                                                 const ProgressCallback& progress) const {
  const LlamaConfig& config = impl_->model.config();
  if (ids.empty()) return Status::invalid_argument("ids: there is none");
  if (ids.size() > config.context)
    return Status::invalid_argument("ids: " + std::to_string(ids.size()) +
                                    " tokens do not fit the context of " +
                                    std::to_string(config.context));
  for (std::size_t i = 0; i < ids.size(); ++i)
    if (ids[i] < 0 || static_cast<std::size_t>(ids[i]) >= config.vocab)
      return Status::invalid_argument("ids[" + std::to_string(i) + "]: " + std::to_string(ids[i]) +
                                      " is outside the vocabulary of " +
                                      std::to_string(config.vocab));
  return guarded("logits", [&]() -> Result<std::vector<float>> {
    KvCache cache(config);
    std::vector<float> hidden(std::min(ids.size(), kPromptStep) * config.width);
    std::vector<float> logits(ids.size() * config.vocab);
    for (std::size_t begin = 0, rows = 0; begin < ids.size(); begin += rows) {
      if (!report(progress, "prompt", begin, ids.size()))
        return Status::cancelled("reading stopped after " + std::to_string(begin) + " of " +
                                 std::to_string(ids.size()) + " tokens");
      rows = std::min(kPromptStep, ids.size() - begin);
      impl_->model.forward(ids.subspan(begin, rows), cache, hidden.data());
      impl_->model.logits(hidden.data(), rows, logits.data() + begin * config.vocab);
    }
    return logits;
  });
}

}  // namespace collegium::core
