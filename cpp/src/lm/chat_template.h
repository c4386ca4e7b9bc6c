#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "collegium/core/lm/language_model.h"
#include "collegium/core/status.h"

namespace collegium::core {

// A model's chat template is a program (Jinja). We run none: a template is recognised by the
// digest of its exact text, and each known one is a function here.
enum class ChatTemplate : std::uint8_t {
  kNone,     // the model has none
  kUnknown,  // it has one we do not know
  kChatMl,   // <|im_start|>role ... <|im_end|>
  kSmolLm2,  // the same with a system message of its own where there is none, as the next two
  kQwen15,
  kQwen2,
  kLlama2,  // [INST] <<SYS>>
  kLlama3,
  kGemma,
  kGemmaNoBos,  // Gemma's first edition, without <bos>
  kMistral,     // [INST], without a system message: Mistral 7B Instruct v0.2, Mixtral
  kZephyr,      // TinyLlama's too
  kPhi3Mini,    // leaves system messages out, as the next
  kPhi3Medium,
  kPhi3Small,
  kOlmo2,  // OLMoE's too
  kDeepSeek2,
  // Those that know tools are given none.
  kQwen25,
  kQwen3,       // leaves the thoughts of earlier answers out
  kLlama31,     // 3.3's too; says a date, always the same
  kLlama32,     // says today's
  kPhi35,       // mini
  kGranite33,   // says today's date where there is no system message
  kGemma3,      // puts a system message before what the user says first
  kDeepSeekR1,  // leaves the thoughts of earlier answers out; the next begins them, too
  kDeepSeekR1Think,
};

// What an error message says of them.
inline constexpr std::string_view kKnownChatTemplates =
    "ChatML, SmolLM2, Qwen1.5, Qwen2, Llama 2, Llama 3, Gemma, Mistral 7B v0.2, Zephyr, Phi-3, "
    "OLMo 2, DeepSeek-V2, Qwen2.5, Qwen3, Llama 3.1 to 3.3, Phi-3.5 mini, Granite 3.3, Gemma 3, "
    "DeepSeek-R1";

// What templates look at beside the messages: the model's own tokens; the date, which some say; and
// whether the answer may begin with thoughts.
struct ChatContext {
  std::string bos;
  std::string eos;
  std::chrono::year_month_day today{};
  bool enable_thinking = true;
};

ChatTemplate recognise_chat_template(std::string_view source);
// By XXH3-128 of its text.
ChatTemplate chat_template_of(std::string_view digest);

// The prompt for `messages`, ending where the assistant speaks. invalid_argument for no messages,
// a role that is not system, user or assistant, content that is not UTF-8, or a conversation that
// the template refuses. Pre: a known template.
Result<std::string> apply_chat_template(ChatTemplate known, std::span<const ChatMessage> messages,
                                        const ChatContext& context);

}  // namespace collegium::core
