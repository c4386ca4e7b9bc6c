"""Writes tests/data/lm_tokenizers/*: the text files of small language-model folders, without their
weights, and goldens.json with what transformers' AutoTokenizer makes of them.

    python tests/oracles/make_lm_tokenizers.py

Needs sentencepiece, tokenizers, transformers.
"""

from __future__ import annotations

import json
import random
from importlib.metadata import version
from pathlib import Path
from typing import Any

from make_scored_bpe import TEXTS, WORDS, texts
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.trainers import BpeTrainer
from transformers import AutoTokenizer

DATA = Path(__file__).resolve().parent.parent / "data/lm_tokenizers"
MARK = "\u2581"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] "
    "+ '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def corpus() -> list[str]:
    lines = [" ".join(random.Random(i).choices([*WORDS, "routers"], k=12)) for i in range(300)]
    return lines + TEXTS


def bytewise(pattern: str) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=380,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def marked(special: list[str]) -> Tokenizer:
    """SentencePiece's kind: `special`, the bytes, then what is learned, in one vocabulary."""
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", MARK)
    trained.train_from_iterator(corpus(), BpeTrainer(vocab_size=300, show_progress=False))
    model = json.loads(trained.to_str())["model"]
    learned = sorted(model["vocab"], key=model["vocab"].__getitem__)
    tokens = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *learned]
    return Tokenizer(
        models.BPE(
            vocab={token: i for i, token in enumerate(tokens)},
            merges=[
                tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in model["merges"]
            ],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )


def around(tokenizer: Tokenizer, bos: str) -> Any:
    return processors.TemplateProcessing(
        single=f"{bos} $A",
        pair=f"{bos} $A {bos} $B",
        special_tokens=[(bos, tokenizer.token_to_id(bos))],
    )


def llama2() -> tuple[Tokenizer, dict[str, Any], dict[str, Any]]:
    tokenizer = marked(["<unk>", "<s>", "</s>"])
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend(MARK), normalizers.Replace(" ", MARK)]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace(MARK, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.post_processor = around(tokenizer, "<s>")
    return (
        tokenizer,
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<s>",
            "eos_token": {"__type": "AddedToken", "content": "</s>", "lstrip": False,
                          "normalized": False, "rstrip": False, "single_word": False},
            "add_bos_token": True,
            "add_eos_token": False,
            "chat_template": [
                {"name": "tool_use", "template": "x"},
                {"name": "default", "template": CHATML},
            ],
        },
        {"eos_token_id": 2},
    )  # fmt: skip


def gemma() -> tuple[Tokenizer, dict[str, Any], dict[str, Any]]:
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<end_of_turn>"]
    tokenizer = marked(special)
    tokenizer.normalizer = normalizers.Replace(" ", MARK)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = around(tokenizer, "<bos>")
    return (
        tokenizer,
        {
            "tokenizer_class": "GemmaTokenizer",
            "bos_token": "<bos>",
            "eos_token": "<eos>",
            "unk_token": "<unk>",
            "pad_token": "<pad>",
            "add_bos_token": True,
            "add_eos_token": False,
            "chat_template": CHATML,
        },
        {"eos_token_id": [1, 5]},
    )


def qwen2() -> tuple[Tokenizer, dict[str, Any], dict[str, Any]]:
    tokenizer = bytewise(QWEN2)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    end = tokenizer.token_to_id("<|im_end|>")
    return (
        tokenizer,
        {
            "tokenizer_class": "Qwen2Tokenizer",
            "bos_token": None,
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "add_bos_token": False,
            "chat_template": CHATML,
        },
        {"eos_token_id": [end, tokenizer.token_to_id("<|endoftext|>")]},
    )


def llama3() -> tuple[Tokenizer, dict[str, Any], dict[str, Any]]:
    tokenizer = bytewise(LLAMA3)
    tokenizer.model.ignore_merges = True
    tokenizer.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"])
    tokenizer.post_processor = processors.Sequence(
        [processors.ByteLevel(trim_offsets=False), around(tokenizer, "<|begin_of_text|>")]
    )
    return (
        tokenizer,
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<|begin_of_text|>",
            "eos_token": "<|eot_id|>",
        },
        {},
    )


def main() -> None:
    goldens: dict[str, Any] = {}
    for make in (llama2, gemma, qwen2, llama3):
        folder = DATA / make.__name__
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer, config, generation = make()
        tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")
        (folder / "generation_config.json").write_text(json.dumps(generation, indent=1) + "\n")
        if make is llama3:
            (folder / "chat_template.jinja").write_text(CHATML)
        reference = AutoTokenizer.from_pretrained(str(folder))
        special = [t for t in reference.all_special_tokens if t != "<unk>"]
        cases = [
            {
                "text": text,
                "ids": reference(text)["input_ids"],
                "plain": reference(text, add_special_tokens=False)["input_ids"],
            }
            for text in texts(special)
        ]
        for case in cases:
            case["decoded"] = reference.decode(
                case["plain"], skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
        goldens[make.__name__] = {
            "vocab": len(reference),
            "ends": sorted(
                generation["eos_token_id"]
                if isinstance(generation.get("eos_token_id"), list)
                else [generation.get("eos_token_id", reference.eos_token_id)]
            ),
            "bos": reference.bos_token or "",
            "eos": reference.eos_token,
            "special": [reference.convert_tokens_to_ids(t) for t in special],
            "cases": cases,
        }
        print(make.__name__, len(reference), len(cases))
    head = {
        "made_by": "tests/oracles/make_lm_tokenizers.py",
        "transformers": version("transformers"),
        "tokenizers": version("tokenizers"),
        "chat_template": CHATML,
    }
    lines = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in head.items()]
    for name, golden in goldens.items():
        cases = ",\n".join(map(json.dumps, golden.pop("cases")))
        fields = json.dumps(golden)[:-1]
        lines.append(f'{json.dumps(name)}: {fields}, "cases": [\n{cases}\n]}}')
    (DATA / "goldens.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
