#include "lm/chat_template.h"

#include <span>

#include "collegium/core/file_envelope.h"
#include "io/in_quotes.h"
#include "text/white_space.h"

namespace collegium::core {
namespace {

struct KnownTemplate {
  std::string_view digest;  // XXH3-128 of its text
  ChatTemplate kind;
};

// Two spellings each: with line breaks within strings as they are or as \\n; of those with tools,
// with a line break at the end and without. See tests/oracles/make_chat_templates.py.
constexpr KnownTemplate kKnown[] = {
    {"577a7fce73f72e1ee2be9fd6966bb5eb", ChatTemplate::kChatMl},
    {"f0a6a8278439fdb056191e205a440263", ChatTemplate::kChatMl},
    {"f0323af61a5d6e2383059ddcb62b07a0", ChatTemplate::kSmolLm2},
    {"98f63cc3d421d28f99ab995e9629dacd", ChatTemplate::kSmolLm2},
    {"5e2c14b656a8e5628dc1c6775f9ced80", ChatTemplate::kQwen15},
    {"68c860e7356f7ab320f20c2b5139eaee", ChatTemplate::kQwen15},
    {"7c4c17cbc95b1d56c79034a9d5f0ae58", ChatTemplate::kQwen2},
    {"e580c2da83415028d5d943bd0bd9082f", ChatTemplate::kQwen2},
    {"4adb1f81f5c508ea24f6d97f87d647f5", ChatTemplate::kLlama2},
    {"97aac26c37e4a675cb7c5112dfc4a3b0", ChatTemplate::kLlama2},
    {"11cc8d79e9815d5c866fc8fa50da12fe", ChatTemplate::kLlama3},
    {"09facc0e4aa943189799ad6e2dea0594", ChatTemplate::kLlama3},
    {"0debe51b618cd79280e4830e93c6d9f7", ChatTemplate::kLlama3},
    {"8f20b9eda669ce10b97891b7adc1beb8", ChatTemplate::kLlama3},
    {"3e5cd793cecbf962344edb205734f341", ChatTemplate::kGemma},
    {"8b30bb763d138e692c2e86beabccd2a4", ChatTemplate::kGemma},
    {"0f978e833b228343ed0bf16fe1aa8d94", ChatTemplate::kGemmaNoBos},
    {"cc03b87e7e7a7d10fdd35ed9cae1163e", ChatTemplate::kGemmaNoBos},
    {"f395fc5daa794129a5d004210ebce758", ChatTemplate::kMistral},
    {"5c929235d1675dbfd9fe74edcb57aa82", ChatTemplate::kZephyr},
    {"5ae4edc1a6c08aa61db34e9fc60441d8", ChatTemplate::kZephyr},
    {"8d64dd66eeabc85414d4394ea06f86ed", ChatTemplate::kPhi3Mini},
    {"a2ff678db9487565551cbfd01fcc4680", ChatTemplate::kPhi3Mini},
    {"cd7dfc80fc7f685152edc2ec9a3bb104", ChatTemplate::kPhi3Medium},
    {"0b9480710b6dc326874eeb59684ce46e", ChatTemplate::kPhi3Medium},
    {"599bd93b30c5ca9ad2da170e19db062d", ChatTemplate::kPhi3Small},
    {"20e9cea1a7644d46d9ff60406e86ad00", ChatTemplate::kPhi3Small},
    {"ee29b0ef1d76b441766fbeb7a11b3f45", ChatTemplate::kOlmo2},
    {"2ef1dbbe37b5241f2cf6c80e0c47b498", ChatTemplate::kOlmo2},
    {"f5298f3f76e6c27faccdd56957c43587", ChatTemplate::kDeepSeek2},
    {"87e1980108b40447f64ecff9c8ef587d", ChatTemplate::kDeepSeek2},
    {"e392aa06018503fd2469c9508f79506e", ChatTemplate::kQwen25},
    {"c63bde148c12b98b639547fe4d33fa67", ChatTemplate::kQwen25},
    {"4457e3d12b367a860283f874ff58d644", ChatTemplate::kQwen3},
    {"90cd99f4ba971c30daa4075515d013cf", ChatTemplate::kQwen3},
    {"0fab82ce8f4d5175c9e0155c80737cf2", ChatTemplate::kQwen3},
    {"22065af6ade330c1872102bc6467964e", ChatTemplate::kQwen3},
    {"9ddcd6cd71f96dd76ca7779b7730196a", ChatTemplate::kLlama31},
    {"0c2fe941e01674f5a8344fceb19d98ce", ChatTemplate::kLlama31},
    {"573e1bcc8c56f178c3d57e38f5ff0756", ChatTemplate::kLlama32},
    {"0f755a597d4eb9dd41032903ea170582", ChatTemplate::kLlama32},
    {"ceaa31b1554ec3f5cd8aff863abd4554", ChatTemplate::kPhi35},
    {"e53ef806febdc95c822a978cc2dd5dbd", ChatTemplate::kPhi35},
    {"c8297af664a8a1413ecf25733ce105a3", ChatTemplate::kGranite33},
    {"90dcc3a5a06c0ea60fe15f6ac00ed3cd", ChatTemplate::kGranite33},
    {"6c84c2da794fd4c1d9c620dcaf86f38d", ChatTemplate::kGemma3},
    {"24b726d4a5f4731b6d23022eb1773ed6", ChatTemplate::kGemma3},
    {"ba826724af56e537759e4eeeb1ec9b77", ChatTemplate::kDeepSeekR1},
    {"bf5796e1a04d3a154811a74292f0abec", ChatTemplate::kDeepSeekR1},
    {"b59c4fde1d06da0055b25ceb4910aa64", ChatTemplate::kDeepSeekR1Think},
    {"112cc211a1a8b927fe8f2cdfa37e0e7d", ChatTemplate::kDeepSeekR1Think},
};

// As Python's str.strip() and Jinja's trim.
std::string_view stripped(std::string_view text) {
  const auto is_space = [](char32_t c) { return is_white_space(c) || (c >= 0x1c && c <= 0x1f); };
  std::size_t begin = 0;
  for (std::size_t next = 0; begin < text.size() && is_space(decode_utf8(text, next));)
    begin = next;
  std::size_t end = text.size();
  while (end > begin) {
    const std::size_t last = previous_character(text, end);
    std::size_t next = last;
    if (!is_space(decode_utf8(text, next))) break;
    end = last;
  }
  return text.substr(begin, end - begin);
}

using Messages = std::span<const ChatMessage>;

// What the templates that want turns to alternate say of a conversation that does not.
Status check_alternation(Messages messages, std::size_t first) {
  for (std::size_t i = first; i < messages.size(); ++i)
    if ((messages[i].role == "user") != ((i - first) % 2 == 0))
      return Status::invalid_argument("messages[" + std::to_string(i) +
                                      "].role: " + in_quotes(messages[i].role) +
                                      ", but this model's template wants user and assistant to "
                                      "alternate");
  return {};
}

Status no_system(std::size_t position) {
  return Status::invalid_argument("messages[" + std::to_string(position) +
                                  "].role: 'system', which this model's template does not allow");
}

std::string chatml(Messages messages, std::string_view system) {
  std::string prompt;
  if (!system.empty() && messages[0].role != "system")
    prompt.append("<|im_start|>system\n").append(system).append("<|im_end|>\n");
  for (const auto& [role, content] : messages)
    prompt += "<|im_start|>" + role + "\n" + content + "<|im_end|>\n";
  return prompt + "<|im_start|>assistant\n";
}

Result<std::string> llama2(Messages messages, const ChatContext& context) {
  const std::size_t first = messages[0].role == "system" ? 1 : 0;
  COLLEGIUM_RETURN_IF_ERROR(check_alternation(messages, first));
  std::string prompt;
  for (std::size_t i = first; i < messages.size(); ++i) {
    const auto& [role, content] = messages[i];
    std::string text = content;
    if (i == first && first == 1)
      text = "<<SYS>>\n" + messages[0].content + "\n<</SYS>>\n\n" + content;
    const std::string_view inner = stripped(text);
    if (role == "user")
      prompt.append(context.bos).append("[INST] ").append(inner).append(" [/INST]");
    else if (role == "assistant")
      prompt.append(" ").append(inner).append(" ").append(context.eos);
  }
  return prompt;
}

std::string llama3(Messages messages, const ChatContext& context) {
  std::string prompt(context.bos);
  for (const auto& [role, content] : messages)
    prompt.append("<|start_header_id|>")
        .append(role)
        .append("<|end_header_id|>\n\n")
        .append(stripped(content))
        .append("<|eot_id|>");
  return prompt + "<|start_header_id|>assistant<|end_header_id|>\n\n";
}

// `system_allowed`: a system message at the beginning goes before what is said first.
Result<std::string> gemma(Messages messages, std::string_view bos, bool system_allowed) {
  const std::size_t first = messages[0].role == "system" ? 1 : 0;
  if (first == 1 && !system_allowed) return no_system(0);
  COLLEGIUM_RETURN_IF_ERROR(check_alternation(messages, first));
  std::string before = first == 1 ? messages[0].content + "\n\n" : std::string();
  std::string prompt(bos);
  for (const auto& [role, content] : messages.subspan(first)) {
    prompt.append("<start_of_turn>")
        .append(role == "assistant" ? "model" : role)
        .append("\n")
        .append(before)
        .append(stripped(content))
        .append("<end_of_turn>\n");
    before.clear();
  }
  return prompt + "<start_of_turn>model\n";
}

Result<std::string> mistral(Messages messages, const ChatContext& context) {
  for (std::size_t i = 0; i < messages.size(); ++i)
    if (messages[i].role == "system") return no_system(i);
  COLLEGIUM_RETURN_IF_ERROR(check_alternation(messages, 0));
  std::string prompt(context.bos);
  for (const auto& [role, content] : messages)
    prompt += role == "user" ? "[INST] " + content + " [/INST]" : content + context.eos;
  return prompt;
}

std::string zephyr(Messages messages, const ChatContext& context) {
  std::string prompt;
  for (const auto& [role, content] : messages)
    prompt += "<|" + role + "|>\n" + content + context.eos + "\n";
  return prompt + "<|assistant|>\n";
}

// System messages are left out, as the template does.
std::string phi3(Messages messages, std::string_view bos) {
  std::string prompt(bos);
  for (const auto& [role, content] : messages) {
    if (role == "user") prompt += "<|user|>\n" + content + "<|end|>\n<|assistant|>\n";
    if (role == "assistant") prompt += content + "<|end|>\n";
  }
  return prompt;
}

std::string phi3_small(Messages messages, const ChatContext& context) {
  std::string prompt = context.bos;
  for (const auto& [role, content] : messages)
    prompt += "<|" + role + "|>\n" + content + "<|end|>\n";
  return prompt + "<|assistant|>\n";
}

std::string olmo2(Messages messages, const ChatContext& context) {
  std::string prompt = context.bos;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const auto& [role, content] = messages[i];
    prompt += "<|" + role + "|>\n" + content;
    if (role == "assistant") prompt += context.eos;
    if (role != "assistant" || i + 1 < messages.size()) prompt += "\n";
  }
  return prompt + "<|assistant|>\n";
}

std::string deepseek2(Messages messages, const ChatContext& context) {
  std::string prompt = context.bos;
  for (const auto& [role, content] : messages) {
    if (role == "assistant")
      prompt += "Assistant: " + content + context.eos;
    else
      prompt += (role == "user" ? "User: " : "") + content + "\n\n";
  }
  return prompt + "Assistant:";
}

std::string deepseek_r1(Messages messages, const ChatContext& context, std::string_view end) {
  constexpr std::string_view kThoughtsEnd = "</think>";
  std::string system;
  for (const auto& [role, content] : messages)
    if (role == "system") system = content;
  std::string prompt = context.bos + system;
  for (const auto& [role, content] : messages) {
    if (role == "user") prompt += "<\uff5cUser\uff5c>" + content;
    if (role != "assistant") continue;
    const std::size_t thoughts = content.rfind(kThoughtsEnd);
    prompt.append("<\uff5cAssistant\uff5c>")
        .append(content, thoughts == content.npos ? 0 : thoughts + kThoughtsEnd.size())
        .append("<\uff5cend\u2581of\u2581sentence\uff5c>");
  }
  return prompt.append("<\uff5cAssistant\uff5c>").append(end);
}

// `text` without line breaks at its ends.
std::string_view without_breaks(std::string_view text, bool at_begin, bool at_end) {
  while (at_begin && text.starts_with('\n')) text.remove_prefix(1);
  while (at_end && text.ends_with('\n')) text.remove_suffix(1);
  return text;
}

std::string qwen3(Messages messages, bool enable_thinking) {
  constexpr std::string_view kBegin = "<think>", kEnd = "</think>";
  std::size_t last_query = messages.size() - 1;
  for (std::size_t i = messages.size(); i-- > 0;) {
    const std::string& content = messages[i].content;
    const bool tool =
        content.starts_with("<tool_response>") && content.ends_with("</tool_response>");
    if (messages[i].role != "user" || tool) continue;
    last_query = i;
    break;
  }
  std::string prompt;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const auto& [role, content] = messages[i];
    std::string_view said = content, thoughts;
    prompt += "<|im_start|>" + role + "\n";
    if (role == "assistant") {
      if (const std::size_t end = content.find(kEnd); end != std::string::npos) {
        said = without_breaks(said.substr(content.rfind(kEnd) + kEnd.size()), true, false);
        thoughts = without_breaks(std::string_view(content).substr(0, end), false, true);
        if (const std::size_t begin = thoughts.rfind(kBegin); begin != std::string_view::npos)
          thoughts.remove_prefix(begin + kBegin.size());
        thoughts = without_breaks(thoughts, true, false);
      }
      if (i > last_query && (i + 1 == messages.size() || !thoughts.empty())) {
        prompt.append("<think>\n").append(without_breaks(thoughts, true, true));
        prompt.append("\n</think>\n\n");
        said = without_breaks(said, true, false);
      }
    }
    prompt.append(said).append("<|im_end|>\n");
  }
  return prompt + "<|im_start|>assistant\n" + (enable_thinking ? "" : "<think>\n\n</think>\n\n");
}

constexpr std::string_view kMonths[] = {"January",   "February", "March",    "April",
                                        "May",       "June",     "July",     "August",
                                        "September", "October",  "November", "December"};

std::string_view month_name(std::chrono::year_month_day date) {
  return kMonths[(static_cast<unsigned>(date.month()) + 11) % 12];
}

// Two digits.
std::string day_of(std::chrono::year_month_day date) {
  const std::string day = std::to_string(static_cast<unsigned>(date.day()));
  return day.size() == 1 ? "0" + day : day;
}

// 04 Jul 2026
std::string day_month_year(std::chrono::year_month_day date) {
  return day_of(date) + " " + std::string(month_name(date).substr(0, 3)) + " " +
         std::to_string(static_cast<int>(date.year()));
}

std::string llama31(Messages messages, const ChatContext& context, std::string_view date) {
  std::string prompt(context.bos);
  const bool has_system = messages[0].role == "system";
  prompt.append("<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: ")
      .append("December 2023\nToday Date: ")
      .append(date)
      .append("\n\n")
      .append(has_system ? stripped(messages[0].content) : std::string_view())
      .append("<|eot_id|>");
  return prompt + llama3(messages.subspan(has_system ? 1 : 0), {});
}

std::string phi35(Messages messages) {
  std::string prompt;
  for (const auto& [role, content] : messages)
    if (role != "system" || !content.empty())
      prompt += "<|" + role + "|>\n" + content + "<|end|>\n";
  return prompt + "<|assistant|>\n";
}

std::string granite33(Messages messages, const ChatContext& context) {
  const auto turn = [](std::string_view role, std::string_view content) {
    std::string text = "<|start_of_role|>";
    text.append(role).append("<|end_of_role|>").append(content).append("<|end_of_text|>\n");
    return text;
  };
  std::string prompt;
  if (messages[0].role != "system")
    prompt =
        turn("system", "Knowledge Cutoff Date: April 2024. Today's Date: " +
                           std::string(month_name(context.today)) + " " + day_of(context.today) +
                           ", " + std::to_string(static_cast<int>(context.today.year())) +
                           ". You are Granite, developed by IBM. You are a helpful AI "
                           "assistant.");
  for (const auto& [role, content] : messages) prompt += turn(role, content);
  // The template asks for an answer behind a turn, and a system message is none.
  if (messages.size() == 1 && messages[0].role == "system") return prompt;
  return prompt + "<|start_of_role|>assistant<|end_of_role|>";
}

}  // namespace

ChatTemplate recognise_chat_template(std::string_view source) {
  if (source.empty()) return ChatTemplate::kNone;
  return chat_template_of(digest_hex(std::as_bytes(std::span(source))));
}

ChatTemplate chat_template_of(std::string_view digest) {
  for (const KnownTemplate& known : kKnown)
    if (known.digest == digest) return known.kind;
  return ChatTemplate::kUnknown;
}

Result<std::string> apply_chat_template(ChatTemplate known, Messages messages,
                                        const ChatContext& context) {
  if (messages.empty()) return Status::invalid_argument("messages: there is none");
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const auto& [role, content] = messages[i];
    const std::string where = "messages[" + std::to_string(i) + "]";
    if (role != "system" && role != "user" && role != "assistant")
      return Status::invalid_argument(where + ".role: " + in_quotes(role) +
                                      ", allowed are system, user and assistant");
    COLLEGIUM_RETURN_IF_ERROR(check_utf8(content, where + ".content"));
  }
  switch (known) {
    case ChatTemplate::kNone:
    case ChatTemplate::kUnknown:
      break;
    case ChatTemplate::kChatMl:
      return chatml(messages, "");
    case ChatTemplate::kSmolLm2:
      return chatml(messages,
                    "You are a helpful AI assistant named SmolLM, trained by Hugging Face");
    case ChatTemplate::kQwen15:
      return chatml(messages, "You are a helpful assistant");
    case ChatTemplate::kQwen2:
      return chatml(messages, "You are a helpful assistant.");
    case ChatTemplate::kLlama2:
      return llama2(messages, context);
    case ChatTemplate::kLlama3:
      return llama3(messages, context);
    case ChatTemplate::kGemma:
      return gemma(messages, context.bos, false);
    case ChatTemplate::kGemmaNoBos:
      return gemma(messages, "", false);
    case ChatTemplate::kMistral:
      return mistral(messages, context);
    case ChatTemplate::kZephyr:
      return zephyr(messages, context);
    case ChatTemplate::kPhi3Mini:
      return phi3(messages, context.bos);
    case ChatTemplate::kPhi3Medium:
      return phi3(messages, "");
    case ChatTemplate::kPhi3Small:
      return phi3_small(messages, context);
    case ChatTemplate::kOlmo2:
      return olmo2(messages, context);
    case ChatTemplate::kDeepSeek2:
      return deepseek2(messages, context);
    case ChatTemplate::kQwen25:
      return chatml(messages,
                    "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.");
    case ChatTemplate::kQwen3:
      return qwen3(messages, context.enable_thinking);
    case ChatTemplate::kLlama31:
      return llama31(messages, context, "26 Jul 2024");
    case ChatTemplate::kLlama32:
      return llama31(messages, context, day_month_year(context.today));
    case ChatTemplate::kPhi35:
      return phi35(messages);
    case ChatTemplate::kGranite33:
      return granite33(messages, context);
    case ChatTemplate::kGemma3:
      return gemma(messages, context.bos, true);
    case ChatTemplate::kDeepSeekR1:
      return deepseek_r1(messages, context, "");
    case ChatTemplate::kDeepSeekR1Think:
      return deepseek_r1(messages, context, "<think>\n");
  }
  return Status::internal("apply_chat_template: the template is not a known one");
}

}  // namespace collegium::core
