"""Makes the goldens of the encoder's architectures and modules with transformers and
sentence-transformers: the reference of encoder_families_test.cc.

    pip install torch==2.13.0 transformers==5.23.0 sentence-transformers==6.2.0
    python tests/oracles/make_encoder_family_goldens.py

Writes small random models of every architecture, with options crossed, under
tests/data/encoder/families/, and what the reference computes there on texts made of their
vocabulary, long ones among them. The trunks run in float64, so that what is compared is our error
alone; pooling, Dense and Normalize are sentence-transformers' own modules.
"""

import json
import shutil
import tempfile
from pathlib import Path

import torch
import transformers
from make_encoder_goldens import OUT, TEXTS, VOCABULARY, randomise, write_json
from safetensors.numpy import save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling

FAMILIES = OUT / "families"
LONG_TEXTS = [
    " ".join(VOCABULARY[5 + (7 * i + i // 5) % 40].replace("##", "") for i in range(150)),
    "the river runs in winter, and what is not the law of the market is music. " * 9,
]
ALL_TEXTS = TEXTS + LONG_TEXTS
MAX_TOKENS = 170
# Texts whose token vectors are kept too: every kind once, in little space.
WITH_TOKENS = (0, 3, 8, 10, 11)

SMALL = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": MAX_TOKENS + 2,
}
DISTIL = {
    "vocab_size": len(VOCABULARY),
    "dim": 32,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 48,
    "max_position_embeddings": MAX_TOKENS,
}
MODERN = dict(SMALL, num_hidden_layers=5, num_attention_heads=2, pad_token_id=0)


def families():
    """Name, model class, configuration, pooling modes, modules behind."""
    t = transformers
    tanh = torch.nn.Tanh()
    return [
        ("bert-relu", t.BertModel, t.BertConfig(**SMALL, hidden_act="relu"), ["max"], []),
        (
            "bert-gelu-new",
            t.BertModel,
            t.BertConfig(**SMALL, hidden_act="gelu_new"),
            ["mean_sqrt_len_tokens"],
            [],
        ),
        (
            "bert-silu",
            t.BertForMaskedLM,
            t.BertConfig(**SMALL, hidden_act="silu"),
            ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"],
            [Dense(192, 20, bias=False, activation_function=torch.nn.Identity()), Normalize()],
        ),
        ("distilbert", t.DistilBertModel, t.DistilBertConfig(**DISTIL), ["mean"], [Normalize()]),
        (
            "distilbert-prefixed",
            t.DistilBertForMaskedLM,
            t.DistilBertConfig(**DISTIL, activation="relu", sinusoidal_pos_embds=True),
            ["cls"],
            [],
        ),
        (
            "roberta",
            t.RobertaModel,
            t.RobertaConfig(**SMALL, pad_token_id=1, type_vocab_size=1, layer_norm_eps=1e-5),
            ["mean"],
            [Normalize()],
        ),
        (
            "xlm-roberta",
            t.XLMRobertaForMaskedLM,
            t.XLMRobertaConfig(**SMALL, pad_token_id=1, type_vocab_size=2),
            ["weightedmean"],
            [Dense(32, 40, activation_function=tanh), Dense(40, 24, activation_function=tanh)],
        ),
        ("mpnet", t.MPNetModel, t.MPNetConfig(**SMALL), ["mean"], [Normalize()]),
        ("mpnet-prefixed", t.MPNetForMaskedLM, t.MPNetConfig(**SMALL), ["lasttoken"], []),
        (
            "modernbert",
            t.ModernBertModel,
            t.ModernBertConfig(**MODERN, local_attention=8),
            ["cls"],
            [Normalize()],
        ),
        (
            # Every bias there is, other bases, other layers global.
            "modernbert-biased",
            t.ModernBertForMaskedLM,
            t.ModernBertConfig(
                **MODERN,
                local_attention=34,
                attention_bias=True,
                mlp_bias=True,
                norm_bias=True,
                norm_eps=1e-4,
                hidden_activation="silu",
                layer_types=["sliding_attention", "full_attention"] * 2 + ["sliding_attention"],
                rope_parameters={
                    "full_attention": {"rope_type": "default", "rope_theta": 5000.0},
                    "sliding_attention": {"rope_type": "default", "rope_theta": 700.0},
                },
            ),
            ["mean"],
            [],
        ),
        (
            "nomic",
            t.NomicBertModel,
            t.NomicBertConfig(**SMALL),
            ["mean"],
            [Normalize(), Dense(32, 16, activation_function=torch.nn.ReLU())],
        ),
    ]


def write_modules(folder, pooling, modules):
    entries = [("Transformer", ""), ("Pooling", "1_Pooling")]
    write_json(folder / "1_Pooling" / "config.json", pooling.get_config_dict())
    for place, module in enumerate(modules, start=2):
        kind = type(module).__name__
        entries.append((kind, f"{place}_{kind}"))
        if isinstance(module, Dense):
            path = folder / entries[-1][1]
            path.mkdir()
            module.save(str(path))
    write_json(
        folder / "modules.json",
        [
            {
                "idx": i,
                "name": str(i),
                "path": path,
                "type": f"sentence_transformers.models.{kind}",
            }
            for i, (kind, path) in enumerate(entries)
        ],
    )


def trunk_of(model):
    return model.base_model if hasattr(model, "base_model") else model


def write_golden(name, model, tokenizer, pooling, modules, limit):
    model = trunk_of(model).double()
    tensors = {}
    for i, text in enumerate(ALL_TEXTS):
        ids = torch.tensor([tokenizer(text, truncation=True, max_length=limit)["input_ids"]])
        mask = torch.ones_like(ids)
        with torch.no_grad():
            states = model(input_ids=ids, attention_mask=mask).last_hidden_state
            features = {"token_embeddings": states, "attention_mask": mask}
            for module in [pooling, *modules]:
                features = module.double()(features)
        if i in WITH_TOKENS:
            tensors[f"{i}.tokens"] = states[0].float().numpy()
        tensors[f"{i}.vector"] = features["sentence_embedding"][0].float().numpy()
    save_file(tensors, FAMILIES / f"{name}.golden.safetensors")


def copy_of(name, of):
    """A folder that says the same in other words: the same vectors."""
    folder = FAMILIES / name
    shutil.copytree(FAMILIES / of, folder)
    shutil.copy(FAMILIES / f"{of}.golden.safetensors", FAMILIES / f"{name}.golden.safetensors")
    return folder, json.loads((folder / "config.json").read_text())


def write_published_nomic():
    """The model `nomic` with the fields its makers publish."""
    folder, config = copy_of("nomic-published", "nomic")
    write_json(
        folder / "config.json",
        {
            "activation_function": "swiglu",
            "architectures": ["NomicBertModel"],
            "attn_pdrop": 0.0,
            "causal": False,
            "layer_norm_epsilon": config["layer_norm_eps"],
            "max_trained_positions": 2048,
            "mlp_fc1_bias": False,
            "mlp_fc2_bias": False,
            "model_type": "nomic_bert",
            "n_embd": config["hidden_size"],
            "n_head": config["num_attention_heads"],
            "n_inner": config["intermediate_size"],
            "n_layer": config["num_hidden_layers"],
            "n_positions": config["max_position_embeddings"],
            "parallel_block": False,
            "prenorm": False,
            "qkv_proj_bias": False,
            "rotary_emb_base": 1000,
            "rotary_emb_fraction": 1.0,
            "rotary_emb_interleaved": False,
            "rotary_emb_scale_base": None,
            "rotary_scaling_factor": None,
            "scale_attn_weights": True,
            "type_vocab_size": config["type_vocab_size"],
            "use_rms_norm": False,
            "vocab_size": config["vocab_size"],
        },
    )


def write_native_nomic(state):
    """The model `nomic` with the tensors named as transformers' module names them."""
    folder, _ = copy_of("nomic-native", "nomic")
    save_file(
        {f"nomic_bert.{name}": value.float().numpy() for name, value in state.items()},
        folder / "model.safetensors",
    )


def write_older_modernbert():
    """The model `modernbert` with the fields of transformers 4."""
    folder, config = copy_of("modernbert-older", "modernbert")
    del config["layer_types"], config["rope_parameters"]
    config.update(
        global_attn_every_n_layers=3,
        global_rope_theta=160000.0,
        local_rope_theta=10000.0,
        layer_norm_eps=1e-05,
        position_embedding_type="absolute",
        reference_compile=False,
        repad_logits_with_grad=False,
    )
    write_json(folder / "config.json", config)


def write_sharded_mpnet(model):
    """The model `mpnet` as transformers writes one that is too large for one file."""
    folder = FAMILIES / "mpnet-sharded"
    shutil.copytree(FAMILIES / "mpnet", folder)
    (folder / "model.safetensors").unlink()
    model.float().save_pretrained(folder, max_shard_size="30KB")
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 2


PROMPTS = {"query": "what is the law of: ", "document": "unaffable water, "}
SHORT = 6  # tokens: less than the query's prompt


def write_prompt_left_out():
    """The model `bert-silu`, which pools in every way, with prompts that are not pooled.

    Kept are the files that differ and what sentence-transformers itself encodes, in float64.
    """
    overlay = FAMILIES / "prompt-left-out"
    pooling = json.loads((FAMILIES / "bert-silu" / "1_Pooling" / "config.json").read_text())
    write_json(overlay / "1_Pooling" / "config.json", {**pooling, "include_prompt": False})
    write_json(
        overlay / "config_sentence_transformers.json",
        {"prompts": PROMPTS, "default_prompt_name": None, "similarity_fn_name": "cosine"},
    )
    tensors = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        shutil.copytree(FAMILIES / "bert-silu", folder)
        shutil.copytree(overlay, folder, dirs_exist_ok=True)
        model = SentenceTransformer(str(folder), device="cpu").double()
        short = SentenceTransformer(str(folder), device="cpu").double()
        short.max_seq_length = SHORT
        for i, text in enumerate(ALL_TEXTS):
            for name, encode in (
                ("query", model.encode_query),
                ("document", model.encode_document),
                ("short", short.encode_query),
            ):
                tensors[f"{i}.{name}"] = encode([text])[0].astype("float32")
    save_file(tensors, FAMILIES / "prompt-left-out.golden.safetensors")


def main():
    shutil.rmtree(FAMILIES, ignore_errors=True)
    FAMILIES.mkdir(parents=True)
    write_json(FAMILIES / "texts.json", ALL_TEXTS)
    for seed, (name, model_class, config, modes, modules) in enumerate(families(), start=100):
        folder = FAMILIES / name
        folder.mkdir()
        torch.manual_seed(seed)
        model = model_class(config).eval()
        randomise(model, seed)
        model.save_pretrained(folder)
        (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
        pooling = Pooling(32, pooling_mode=modes)
        for module in modules:
            randomise(module, seed)
        write_modules(folder, pooling, modules)
        write_json(folder / "sentence_bert_config.json", {"max_seq_length": MAX_TOKENS})
        tokenizer = transformers.BertTokenizer(str(folder / "vocab.txt"), do_lower_case=True)
        write_golden(name, model, tokenizer, pooling, modules, MAX_TOKENS)
        if name == "nomic":
            write_native_nomic(model.state_dict())
            write_published_nomic()
        if name == "modernbert":
            write_older_modernbert()
        if name == "mpnet":
            write_sharded_mpnet(model)
    write_prompt_left_out()


if __name__ == "__main__":
    main()
