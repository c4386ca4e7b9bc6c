"""Writes tests/data/chat_templates.json: what transformers' Jinja makes of the templates we know.

For each template its source, XXH3-128 and, over the same conversations, the prompt or that the
template refuses the conversation. The sources are those published with the models named beside
them, in both spellings of a line break within a string (a file may hold either). ChatML, Gemma,
Llama 3, Mistral, Phi-3 mini and small were compared with llama.cpp's tests/test-chat-template.cpp,
character by character, Gemma 2 with its file; the others were written down without their files at
hand. Templates that take tools are long, and are read from the files in llama.cpp's models/templates
instead (as llama-cpp-python 0.3.36 carries them in its source archive); of those digest and prompts
are kept alone. Rendering knows one date.

    python tests/oracles/make_chat_templates.py FOLDER_OF_TEMPLATES

Needs jinja2, tokenizers, transformers, xxhash.
"""

from __future__ import annotations

import datetime
import json
import sys
from importlib.metadata import version
from pathlib import Path

import xxhash
from jinja2.exceptions import TemplateError
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

OUTPUT = Path(__file__).resolve().parent.parent / "data/chat_templates.json"

ALTERNATE = (
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception("
    "'Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
)
CHATML = (
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def chatml_with(system: str) -> str:
    return (
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
        "{{ '<|im_start|>system\\n" + system + "<|im_end|>\\n' }}{% endif %}" + CHATML
    )


LLAMA3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = "
    "'<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | "
    "trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}"
    "{% endif %}{{ content }}{% endfor %}"
)
GEMMA = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for message in messages %}" + ALTERNATE + "{% if (message['role'] == "
    "'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}"
)
PHI3 = (
    "{% for message in messages %}{% if (message['role'] == 'user') %}{{'<|user|>' + '\\n' + "
    "message['content'] + '<|end|>' + '\\n' + '<|assistant|>' + '\\n'}}{% elif (message['role'] "
    "== 'assistant') %}{{message['content'] + '<|end|>' + '\\n'}}{% endif %}{% endfor %}"
)

# Name: (kind, as chat_template.h calls it; source with \n as two characters).
TEMPLATES: dict[str, tuple[str, str]] = {
    "OpenHermes and many others": ("kChatMl", "{% for message in messages %}" + CHATML),
    "SmolLM2": (
        "kSmolLm2",
        chatml_with("You are a helpful AI assistant named SmolLM, trained by Hugging Face"),
    ),
    "Qwen1.5": ("kQwen15", chatml_with("You are a helpful assistant")),
    "Qwen2": ("kQwen2", chatml_with("You are a helpful assistant.")),
    "Llama 2": (
        "kLlama2",
        "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set "
        "system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
        "{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
        + ALTERNATE
        + "{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + "
        "system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = "
        "message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + "
        "'[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
        "{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    ),
    "Llama 3": (
        "kLlama3",
        LLAMA3 + "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>"
        "\\n\\n' }}{% endif %}",
    ),
    "Llama 3, first edition": (
        "kLlama3",
        LLAMA3 + "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}",
    ),
    "Gemma": ("kGemma", "{{ bos_token }}" + GEMMA),
    "Gemma, first edition": ("kGemmaNoBos", GEMMA),
    "Mistral 7B Instruct v0.2, Mixtral": (
        "kMistral",
        "{{ bos_token }}{% for message in messages %}" + ALTERNATE + "{% if message['role'] == "
        "'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == "
        "'assistant' %}{{ message['content'] + eos_token}}{% else %}{{ raise_exception('Only user "
        "and assistant roles are supported!') }}{% endif %}{% endfor %}",
    ),
    "Zephyr, TinyLlama": (
        "kZephyr",
        "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\\n' + "
        "message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n"
        "{{ '<|system|>\\n' + message['content'] + eos_token }}\n{% elif message['role'] == "
        "'assistant' %}\n{{ '<|assistant|>\\n'  + message['content'] + eos_token }}\n{% endif %}\n"
        "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n"
        "{% endfor %}",
    ),
    "Phi-3 mini": ("kPhi3Mini", "{{ bos_token }}" + PHI3),
    "Phi-3 medium": ("kPhi3Medium", PHI3),
    "Phi-3 small": (
        "kPhi3Small",
        "{{ bos_token }}{% for message in messages %}{{'<|' + message['role'] + '|>' + '\\n' + "
        "message['content'] + '<|end|>\\n' }}{% endfor %}{% if add_generation_prompt %}"
        "{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}",
    ),
    "OLMo 2, OLMoE": (
        "kOlmo2",
        "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}"
        "{{ '<|system|>\\n' + message['content'] + '\\n' }}{% elif message['role'] == 'user' %}"
        "{{ '<|user|>\\n' + message['content'] + '\\n' }}{% elif message['role'] == 'assistant' %}"
        "{% if not loop.last %}{{ '<|assistant|>\\n'  + message['content'] + eos_token + '\\n' }}"
        "{% else %}{{ '<|assistant|>\\n'  + message['content'] + eos_token }}{% endif %}"
        "{% endif %}{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\\n' }}"
        "{% endif %}{% endfor %}",
    ),
    "DeepSeek-V2, DeepSeekMoE": (
        "kDeepSeek2",
        "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}"
        "{% endif %}{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
        "{{ 'User: ' + message['content'] + '\\n\\n' }}{% elif message['role'] == 'assistant' %}"
        "{{ 'Assistant: ' + message['content'] + eos_token }}{% elif message['role'] == 'system' "
        "%}{{ message['content'] + '\\n\\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}"
        "{{ 'Assistant:' }}{% endif %}",
    ),
}

# Name: (kind, file).
FILES = {
    "Qwen2.5": ("kQwen25", "Qwen-Qwen2.5-7B-Instruct"),
    "Qwen3": ("kQwen3", "Qwen-Qwen3-0.6B"),
    "Llama 3.1": ("kLlama31", "meta-llama-Llama-3.1-8B-Instruct"),
    "Llama 3.2": ("kLlama32", "meta-llama-Llama-3.2-3B-Instruct"),
    "Llama 3.3": ("kLlama31", "meta-llama-Llama-3.3-70B-Instruct"),
    "Phi-3.5 mini": ("kPhi35", "microsoft-Phi-3.5-mini-instruct"),
    "Granite 3.3": ("kGranite33", "ibm-granite-granite-3.3-2B-Instruct"),
    # Not in that archive: of the models' tokenizer_config.json, as programs quote them.
    "Gemma 3": ("kGemma3", "google-gemma-3-it"),
    "DeepSeek-R1": ("kDeepSeekR1", "deepseek-r1"),
    "DeepSeek-R1, second edition": ("kDeepSeekR1Think", "deepseek-r1-think"),
}
# What the second edition of Qwen3's file has otherwise (written down from a model that was made of
# it), which lets messages have no content.
QWEN3_SECOND = [
    (
        'message.role == "user" and not(',
        'message.role == "user" and message.content is string and not(',
    ),
    (
        "{%- for message in messages %}\n    {%- if (message.role",
        "{%- for message in messages %}\n    {%- if message.content is string %}\n"
        "        {%- set content = message.content %}\n    {%- else %}\n"
        "        {%- set content = '' %}\n    {%- endif %}\n    {%- if (message.role",
    ),
    (
        "message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}",
        "message.role + '\\n' + content + '<|im_end|>' + '\\n' }}",
    ),
    (
        "        {%- set content = message.content %}\n        {%- set reasoning",
        "        {%- set reasoning",
    ),
    (
        "message.reasoning_content is defined and message.reasoning_content is not none",
        "message.reasoning_content is string",
    ),
    (
        "'</think>' in message.content %}\n                {%- set content = "
        "message.content.split('</think>')[-1].lstrip('\\n') %}\n                {%- set "
        "reasoning_content = message.content.split('</think>')[0].rstrip('\\n').split('<think>')[-1]"
        ".lstrip('\\n') %}",
        "'</think>' in content %}\n                {%- set reasoning_content = "
        "content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}\n"
        "                {%- set content = content.split('</think>')[-1].lstrip('\\n') %}",
    ),
    ("{{- message.content }}", "{{- content }}"),
]
TODAY = datetime.datetime(2026, 7, 4)


class Today(datetime.datetime):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
        return TODAY


Message = dict[str, str]


def talk(*turns: str) -> list[Message]:
    """Messages of "role: content"."""
    return [dict(zip(("role", "content"), t.split(": ", 1), strict=True)) for t in turns]


CONVERSATIONS: list[list[Message]] = [
    talk("user: Hello"),
    talk("system: You are brief.", "user: Hello"),
    talk("user: Hello", "assistant: Hi there", "user: Who are you?"),
    talk(
        "system: Be kind.\n",
        "user:   Naïve ✓ 日本語 \n",
        "assistant: \t  ok  ",
        "user: a\n\nb",
        "assistant: <|im_end|> </s>",
        "user: \u00a0\u3000x\u2003\x1f\x85",
    ),
    talk("user: "),
    talk("system: ", "user: Hello"),
    talk("user: Hello", "assistant: Hi"),
    # What some templates refuse.
    talk("assistant: I begin"),
    talk("user: one", "user: two"),
    talk("system: alone"),
    talk("user: Hello", "system: late", "user: two"),
    talk("system: one", "system: two", "user: three"),
    talk("system: one", "assistant: two", "user: three"),
    # Thoughts, which Qwen3's looks at, and what it takes for a tool's answer.
    talk("user: a", "assistant: <think>\n\nhm\n</think>\n\nb", "user: c"),
    talk("user: a", "assistant: <think>\nx</think>y</think>\n\nb"),
    talk("user: a", "assistant: \nno thoughts", "assistant: x</think>\n"),
    talk("user: a", "assistant: b", "user: <tool_response>c</tool_response>", "assistant: d"),
]
BOS, EOS = "<s>", "</s>"


def render(source: str, conversation: list[Message]) -> str | None:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({"x": 0}, unk_token="x")),
        bos_token=BOS,
        eos_token=EOS,
        chat_template=source,
    )
    try:
        text = tokenizer.apply_chat_template(
            conversation, tokenize=False, add_generation_prompt=True
        )
    except TemplateError:
        return None
    assert isinstance(text, str)
    return text


def main() -> None:
    folder = Path(sys.argv[1])
    chat_template_utils.datetime = Today
    entries = []
    for name, (kind, source) in TEMPLATES.items():
        spellings = [source, source.replace("\\n", "\n")]
        prompts = [render(source, conversation) for conversation in CONVERSATIONS]
        assert prompts == [render(spellings[1], conversation) for conversation in CONVERSATIONS]
        entries += [
            {
                "name": name,
                "kind": kind,
                "source": spelling,
                "digest": xxhash.xxh3_128_hexdigest(spelling.encode()),
                "prompts": prompts,
            }
            for spelling in spellings
        ]
        for spelling in spellings:
            print(
                f'    {{"{xxhash.xxh3_128_hexdigest(spelling.encode())}", ChatTemplate::{kind}}},'
            )
    files = {
        name: (kind, (folder / f"{file}.jinja").read_text(encoding="utf-8"))
        for name, (kind, file) in FILES.items()
    }
    second = files["Qwen3"][1]
    for first_edition, second_edition in QWEN3_SECOND:
        assert second.count(first_edition) == 1, first_edition
        second = second.replace(first_edition, second_edition)
    files["Qwen3, second edition"] = ("kQwen3", second)
    for name, (kind, source) in files.items():
        prompts = [render(source, conversation) for conversation in CONVERSATIONS]
        # With the line break at its end and without, whichever a file kept.
        for spelling in (source.rstrip("\n"), source.rstrip("\n") + "\n"):
            assert prompts == [render(spelling, conversation) for conversation in CONVERSATIONS]
            digest = xxhash.xxh3_128_hexdigest(spelling.encode())
            entries.append({"name": name, "kind": kind, "digest": digest, "prompts": prompts})
            print(f'    {{"{digest}", ChatTemplate::{kind}}},')
    head = {
        "made_by": "tests/oracles/make_chat_templates.py",
        "transformers": version("transformers"),
        "jinja2": version("jinja2"),
        "bos": BOS,
        "eos": EOS,
        "today": [TODAY.year, TODAY.month, TODAY.day],
    }
    lines = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in head.items()]
    for key, values in (("conversations", CONVERSATIONS), ("templates", entries)):
        lines.append(json.dumps(key) + ": [\n" + ",\n".join(map(json.dumps, values)) + "\n]")
    OUTPUT.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
