#pragma once

#include <span>
#include <string>
#include <string_view>

#include "collegium/core/lm/language_model.h"
#include "collegium/core/status.h"

namespace collegium::core {

// A model's `tokenizer.chat_template` is a program (Jinja). We run none: a template is recognised
// by its exact text, and each known one is a function here.
enum class ChatTemplate {
  kNone,     // the file has none
  kUnknown,  // the file has one we do not know
  kSmolLm2,  // ChatML with SmolLM2's default system message
};

ChatTemplate recognise_chat_template(std::string_view source) noexcept;

// The prompt for `messages`, ending where the assistant speaks. invalid_argument for no messages
// or a role that is not system, user or assistant. Pre: a known template.
Result<std::string> apply_chat_template(ChatTemplate known, std::span<const ChatMessage> messages);

}  // namespace collegium::core
