"""Makes the encoder's goldens with transformers and torch: the reference of encoder_test.cc.

    python tests/oracles/make_encoder_goldens.py tiny
    python tests/oracles/make_encoder_goldens.py minilm MODEL_FOLDER DATA_FOLDER

`tiny` writes small random models with options crossed, and what the reference computes on texts
made of their vocabularies, under tests/data/encoder/. `minilm` writes minilm.json there:
for 1,000 texts of the shared data, found by rule, a hash and eight random projections of the
reference's vector. It holds numbers only, no text. The reference runs in float64, so that what is
compared is our error alone.
"""

import argparse
import gzip
import hashlib
import json
import pathlib
import shutil

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file

OUT = pathlib.Path(__file__).resolve().parents[1] / "data" / "encoder"

WORDS = [
    "the",
    "a",
    "of",
    "and",
    "to",
    "river",
    "runs",
    "in",
    "winter",
    "un",
    "##aff",
    "##able",
    "##ly",
    "market",
    "law",
    "cell",
    "music",
    "engine",
    "water",
    "is",
    "not",
    "what",
    "how",
    "##s",
    "##ing",
    "##ed",
    "1",
    "2",
    "3",
    "##4",
    "##5",
    ".",
    ",",
    "?",
    "!",
    "-",
    "'",
    "(",
    ")",
    ":",
    "b",
    "c",
    "d",
    "e",
    "##e",
    "##t",
    "##r",
    "##o",
]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]

TEXTS = [
    "",
    "river",
    "The river runs in winter.",
    "unaffable unaffably, and not a market!",
    "what is the law of the cell? (music: engine)",
    "zzz unknown words qqq and Water's 1 2345",
    "how " * 15,
    "the river runs in winter and the market is not the law of the cell " * 3,
    "Résumé naïve 水 the engine",
    "a",
]


def tiny_models():
    """Name, transformers class, configuration, and what lies around it in the folder."""
    common = {"vocab_size": len(VOCABULARY) + 3, "max_position_embeddings": 40}
    return [
        (
            "plain",
            transformers.BertModel,
            dict(
                common,
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=4,
                intermediate_size=64,
            ),
            {"pooling": "mean", "normalize": True, "max_seq_length": 32},
        ),
        (
            # Prefix "bert.", pre-training heads in the file, one segment, no Normalize, cls.
            "prefixed",
            transformers.BertForPreTraining,
            dict(
                common,
                hidden_size=32,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=40,
                type_vocab_size=1,
                layer_norm_eps=1e-5,
            ),
            {"pooling": "cls", "normalize": False},
        ),
        (
            # Odd sizes: a head of 24 dimensions, outputs that fill no panel, prompts.
            "odd",
            transformers.BertModel,
            dict(
                common,
                hidden_size=24,
                num_hidden_layers=3,
                num_attention_heads=1,
                intermediate_size=35,
                type_vocab_size=5,
            ),
            {
                "pooling": "mean",
                "normalize": True,
                "prompts": {"query": "what is ", "passage": "the law: "},
            },
        ),
    ]


def randomise(model, seed):
    """Weights large enough that attention is far from uniform and every bias counts."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "LayerNorm.weight" in name:
                parameter.copy_(1 + 0.2 * noise)
            else:
                parameter.copy_(0.3 * noise)


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n")


def write_tiny():
    for seed, (name, model_class, fields, around) in enumerate(tiny_models()):
        folder = OUT / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        model = model_class(transformers.BertConfig(**fields)).eval()
        randomise(model, seed)
        model.save_pretrained(folder)
        (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
        write_json(
            folder / "tokenizer_config.json",
            {
                "do_lower_case": True,
                "model_max_length": 1000000000000000019884624838656,
            },
        )
        modules = [("Transformer", ""), ("Pooling", "1_Pooling")]
        if around["normalize"]:
            modules.append(("Normalize", "2_Normalize"))
        write_json(
            folder / "modules.json",
            [
                {
                    "idx": i,
                    "name": str(i),
                    "path": path,
                    "type": f"sentence_transformers.models.{kind}",
                }
                for i, (kind, path) in enumerate(modules)
            ],
        )
        write_json(
            folder / "1_Pooling" / "config.json",
            {
                "word_embedding_dimension": fields["hidden_size"],
                "pooling_mode_cls_token": around["pooling"] == "cls",
                "pooling_mode_mean_tokens": around["pooling"] == "mean",
                "pooling_mode_max_tokens": False,
                "pooling_mode_mean_sqrt_len_tokens": False,
            },
        )
        if "max_seq_length" in around:
            write_json(
                folder / "sentence_bert_config.json",
                {"max_seq_length": around["max_seq_length"], "do_lower_case": False},
            )
        if "prompts" in around:
            write_json(
                folder / "config_sentence_transformers.json",
                {"prompts": around["prompts"], "default_prompt_name": None},
            )
        write_tiny_golden(name, model, fields, around)


def write_tiny_golden(name, model, fields, around):
    tokenizer = transformers.BertTokenizer(str(OUT / name / "vocab.txt"), do_lower_case=True)
    model = getattr(model, "bert", model).double()
    limit = around.get("max_seq_length", fields["max_position_embeddings"])
    prompts = around.get("prompts", {})
    tensors, texts = {}, []
    for i, text in enumerate(TEXTS):
        texts.append(text)
        for kind, prompt in [
            ("query", prompts.get("query", "")),
            ("document", prompts.get("passage", "")),
        ]:
            ids = tokenizer(prompt + text, truncation=True, max_length=limit)["input_ids"]
            with torch.no_grad():
                states = model(torch.tensor([ids])).last_hidden_state[0]
            vector = states.mean(0) if around["pooling"] == "mean" else states[0]
            if around["normalize"]:
                vector = torch.nn.functional.normalize(vector, dim=0)
            tensors[f"{i}.{kind}.tokens"] = states.float().numpy()
            tensors[f"{i}.{kind}.vector"] = vector.float().numpy()
    save_file(tensors, OUT / f"{name}.golden.safetensors")
    write_json(OUT / "texts.json", texts)


def shared_texts(data):
    """1,000 texts by rule: of every retrieval set, in order of name, texts at even steps.

    Half are queries, half are documents; what is left over is filled from the first set.
    """
    folders = sorted(p.parent for p in pathlib.Path(data).glob("*/corpus.jsonl.gz"))
    share = 500 // len(folders)
    for folder in folders:
        for file in ("queries", "corpus"):
            with gzip.open(folder / f"{file}.jsonl.gz", "rt", encoding="utf-8") as lines:
                rows = list(lines)
            count = share if folder != folders[0] else 500 - share * (len(folders) - 1)
            for i in range(count):
                line = i * len(rows) // count
                yield folder.name, file, line, json.loads(rows[line])["text"]


def write_minilm(model_folder, data):
    # The tokenizer of the folder may be set to pad or cut: vocab.txt alone says what it is.
    tokenizer = transformers.BertTokenizer(f"{model_folder}/vocab.txt", do_lower_case=True)
    limit = json.loads(pathlib.Path(model_folder, "sentence_bert_config.json").read_text())[
        "max_seq_length"
    ]
    model = transformers.BertModel.from_pretrained(model_folder).double().eval()
    rng = np.random.default_rng(20240901)
    dim = model.config.hidden_size
    projections = rng.standard_normal((8, dim)).astype(np.float32)
    rows = []
    for name, file, line, text in shared_texts(data):
        ids = tokenizer(text, truncation=True, max_length=limit)["input_ids"]
        with torch.no_grad():
            states = model(torch.tensor([ids])).last_hidden_state[0]
        vector = torch.nn.functional.normalize(states.mean(0), dim=0).numpy()
        rows.append(
            {
                "set": name,
                "file": file,
                "line": line,
                "sha256": hashlib.sha256(text.encode()).hexdigest()[:16],
                "tokens": len(ids),
                "projections": [
                    round(float(x), 7) for x in projections.astype(np.float64) @ vector
                ],
            }
        )
    golden = {
        "model": "sentence-transformers/all-MiniLM-L6-v2",
        "projections": [[float(f"{x:.9g}") for x in row] for row in projections],
        "texts": rows,
    }
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "minilm.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("tiny")
    minilm = commands.add_parser("minilm")
    minilm.add_argument("model_folder")
    minilm.add_argument("data")
    arguments = parser.parse_args()
    if arguments.command == "tiny":
        write_tiny()
    else:
        write_minilm(arguments.model_folder, arguments.data)


if __name__ == "__main__":
    main()
