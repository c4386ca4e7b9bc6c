"""Makes the goldens of LoRA experts with peft and transformers: the reference of
lora_adapter_test.cc.

    pip install torch==2.13.0 transformers==5.23.0 sentence-transformers==6.2.0 peft==0.21.2
    python tests/oracles/make_lora_goldens.py

For some of the models that make_encoder_family_goldens.py wrote it makes random LoRAs in PEFT's
format, under tests/data/encoder/loras/, and the vectors the reference computes under them.
"""

import pathlib
import shutil

import peft
import torch
import transformers
from make_encoder_family_goldens import ALL_TEXTS, FAMILIES, MAX_TOKENS
from make_encoder_goldens import OUT
from safetensors.numpy import save_file
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling

LORAS = OUT / "loras"
# Model, name of the LoRA, fields of its configuration.
CASES = [
    ("bert-silu", "all", {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}),
    (
        "bert-silu",
        "late",
        {"r": 3, "lora_alpha": 7, "target_modules": ["query"], "layers_to_transform": [1]},
    ),
    ("distilbert", "attention", {"r": 8, "lora_alpha": 16, "target_modules": ["q_lin", "v_lin"]}),
    (
        "roberta",
        "stabilised",
        {"r": 16, "lora_alpha": 8, "use_rslora": True, "target_modules": ["query", "value"]},
    ),
    ("mpnet", "feed-forward", {"r": 2, "lora_alpha": 3, "target_modules": ["q", "o", "dense"]}),
    (
        "modernbert",
        "fused",
        {"r": 5, "lora_alpha": 4, "target_modules": ["Wqkv", "Wi", "Wo"]},
    ),
    (
        "nomic",
        "gated",
        {"r": 4, "lora_alpha": 6, "target_modules": ["k_proj", "gate_proj", "up_proj", "o_proj"]},
    ),
]


def modules_of(folder):
    yield Pooling.load(str(folder), subfolder="1_Pooling")
    for path in sorted(p.name for p in folder.glob("[2-9]_*")):
        yield Dense.load(str(folder), subfolder=path)
    # Normalize has no folder.
    if '"sentence_transformers.models.Normalize"' in (folder / "modules.json").read_text():
        yield Normalize()


def main():
    shutil.rmtree(LORAS, ignore_errors=True)
    for seed, (model_name, name, fields) in enumerate(CASES, start=500):
        source = FAMILIES / model_name
        model = transformers.AutoModel.from_pretrained(source).eval()
        config = peft.LoraConfig(**fields)
        adapted = peft.get_peft_model(model, config)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for key, parameter in adapted.named_parameters():
                if "lora_" in key:
                    parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
        folder = LORAS / model_name / name
        adapted.save_pretrained(folder)
        (folder / "README.md").unlink(missing_ok=True)
        config_path = folder / "adapter_config.json"
        config_path.write_text(config_path.read_text().replace(str(source), model_name))
        tokenizer = transformers.BertTokenizer(str(source / "vocab.txt"), do_lower_case=True)
        # nomic normalises before its Dense, the others end with it.
        steps = list(modules_of(source))
        if model_name == "nomic":
            steps = [steps[0], steps[2], steps[1]]
        adapted = adapted.double().eval()
        tensors = {}
        for i, text in enumerate(ALL_TEXTS):
            ids = torch.tensor(
                [tokenizer(text, truncation=True, max_length=MAX_TOKENS)["input_ids"]]
            )
            mask = torch.ones_like(ids)
            with torch.no_grad():
                states = adapted(input_ids=ids, attention_mask=mask).last_hidden_state
                features = {"token_embeddings": states, "attention_mask": mask}
                for step in steps:
                    features = step.double()(features)
            tensors[f"{i}.vector"] = features["sentence_embedding"][0].float().numpy()
        save_file(tensors, pathlib.Path(f"{folder}.golden.safetensors"))
        print(model_name, name, sorted(p.name for p in folder.iterdir()))


if __name__ == "__main__":
    main()
