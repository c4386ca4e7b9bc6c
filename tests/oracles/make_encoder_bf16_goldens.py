"""Makes tests/data/encoder/bf16.golden.safetensors with transformers: encoder_bf16_test.cc's oracle.

    python tests/oracles/make_encoder_bf16_goldens.py

What make_encoder_goldens.py's small models compute when every linear layer of the trunk's layers
has its weights and its inputs rounded to bf16 and sums exactly (float64): names are
"MODEL.TEXT.query". The queries' weights are rounded with the scale of the scores in them, as
Collegium has them. "MODEL.TEXT.query.attended" is the same where attention is in bf16 too, as it is
in AMX's tiles: queries (scaled), keys, values and the powers of the scores are rounded to bf16, the
sum that the powers are divided by is of the powers before they are rounded.
"""

import json
import math

import make_encoder_goldens as plain
import torch
import transformers
from safetensors.torch import load_file, save_file


def rounded(x):
    return x.to(torch.bfloat16).double()


class Bf16Linear(torch.nn.Module):
    def __init__(self, linear, scale):
        super().__init__()
        self.weight = rounded(linear.weight.float() * torch.tensor(scale).float()) / scale
        self.bias = linear.bias

    def forward(self, x):
        return torch.nn.functional.linear(rounded(x), self.weight, self.bias)


def attend_in_bf16(module, query, key, value, attention_mask, scaling, **_):
    del module
    if attention_mask is not None and not bool((attention_mask == 0).all()):
        raise ValueError("one text at a time, without padding")
    scores = rounded(query * scaling) @ rounded(key).transpose(2, 3)
    powers = torch.exp(scores - scores.amax(-1, keepdim=True))
    context = rounded(powers) @ rounded(value) / powers.sum(-1, keepdim=True)
    return context.transpose(1, 2), None


transformers.AttentionInterface.register("bf16", attend_in_bf16)


def bf16_model(folder, config, attention):
    model = transformers.BertModel.from_pretrained(
        folder, config=config, add_pooling_layer=False, attn_implementation=attention
    )
    model = model.double().eval()
    scale = 1 / math.sqrt(config.hidden_size // config.num_attention_heads)
    for name, module in list(model.encoder.named_modules()):
        for child, linear in list(module.named_children()):
            if not isinstance(linear, torch.nn.Linear):
                continue
            is_query = f"{name}.{child}".endswith("self.query")
            # The scale as a float, which it is multiplied in as.
            factor = float(torch.tensor(scale).float()) if is_query else 1.0
            setattr(module, child, Bf16Linear(linear, factor))
    return model


def main():
    tensors = {}
    for name, _, fields, around in plain.tiny_models():
        folder = plain.OUT / name
        config = transformers.BertConfig.from_pretrained(folder)
        for suffix, attention in (("query", "eager"), ("query.attended", "bf16")):
            with torch.no_grad():
                model = bf16_model(folder, config, attention)
                tokenizer = transformers.BertTokenizer(
                    str(folder / "vocab.txt"), do_lower_case=True
                )
                limit = around.get("max_seq_length", fields["max_position_embeddings"])
                prompt = around.get("prompts", {}).get("query", "")
                for i, text in enumerate(json.loads((plain.OUT / "texts.json").read_text())):
                    ids = tokenizer(prompt + text, truncation=True, max_length=limit)["input_ids"]
                    states = model(torch.tensor([ids])).last_hidden_state[0]
                    vector = states.mean(0) if around["pooling"] == "mean" else states[0]
                    if around["normalize"]:
                        vector = torch.nn.functional.normalize(vector, dim=0)
                    tensors[f"{name}.{i}.{suffix}"] = vector.float()
        fp32 = load_file(plain.OUT / f"{name}.golden.safetensors")
        worst = max(
            (
                (tensors[f"{name}.{i}.query"] - fp32[f"{i}.query.vector"]).norm()
                / fp32[f"{i}.query.vector"].norm()
            ).item()
            for i in range(len(plain.TEXTS))
        )
        print(f"{name}: at most {worst:.4f} from fp32")
    save_file(tensors, plain.OUT / "bf16.golden.safetensors")


if __name__ == "__main__":
    main()
