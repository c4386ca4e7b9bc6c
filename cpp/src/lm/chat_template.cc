#include "lm/chat_template.h"

#include "io/in_quotes.h"

namespace collegium::core {
namespace {

// As SmolLM2-135M-Instruct carries it, to the byte.
constexpr std::string_view kSmolLm2Source =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}";
constexpr std::string_view kSmolLm2System =
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n";

}  // namespace

ChatTemplate recognise_chat_template(std::string_view source) noexcept {
  if (source.empty()) return ChatTemplate::kNone;
  if (source == kSmolLm2Source) return ChatTemplate::kSmolLm2;
  return ChatTemplate::kUnknown;
}

Result<std::string> apply_chat_template(ChatTemplate known, std::span<const ChatMessage> messages) {
  if (known != ChatTemplate::kSmolLm2)
    return Status::internal("apply_chat_template: the template is not a known one");
  if (messages.empty()) return Status::invalid_argument("messages: there is none");
  std::string prompt;
  if (messages[0].role != "system") prompt = kSmolLm2System;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const auto& [role, content] = messages[i];
    if (role != "system" && role != "user" && role != "assistant")
      return Status::invalid_argument("messages[" + std::to_string(i) + "].role: " +
                                      in_quotes(role) + ", allowed are system, user and assistant");
    prompt += "<|im_start|>" + role + "\n" + content + "<|im_end|>\n";
  }
  prompt += "<|im_start|>assistant\n";
  return prompt;
}

}  // namespace collegium::core
