#!/usr/bin/env python3
"""Reference values of models that are wider than one tile of any kernel: testdata/wide/NAME.json.

    .venv/bin/python scripts/make_wide_reference.py [NAME...]      all of MODELS, or these

Their weights are in no file: element i of a tensor is a hash of i and of the tensor's name, which the test
(shared/ft-model/tests/wide.rs) computes as well. See `fill`. What torch, transformers and peft make of them is sampled:
logits, the first step's gradients and the adapter after STEPS steps of AdamW, every SAMPLE-th element of each in its
order, and with them the norms of the whole; and the losses. The rows are `ids` of `fill`'s numbers, every token has a
label.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import numpy as np
import peft
import torch
import transformers
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

ROOT = Path(__file__).resolve().parent.parent
STEPS = 3
LR = 1e-3
# Elements of a tensor that stand for all of it, at most.
SAMPLES = 64

COMMON = {"num_hidden_layers": 2, "max_position_embeddings": 1024, "tie_word_embeddings": False,
          "bos_token_id": 1, "eos_token_id": 2}
MODELS = {
    # hidden over 384, grouped heads, a head of three chunks, 700 tokens in a row beside a short one.
    "llama": {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 448,
              "intermediate_size": 1100, "num_attention_heads": 7, "num_key_value_heads": 1, "head_dim": 64,
              "vocab_size": 9001, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, **COMMON},
    # a window of 100 in 700 tokens, biases, a tied head.
    "qwen2": {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "hidden_size": 528,
              "intermediate_size": 900, "num_attention_heads": 8, "num_key_value_heads": 2, "vocab_size": 5003,
              "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "use_sliding_window": True, "sliding_window": 100,
              "max_window_layers": 1, **COMMON, "tie_word_embeddings": True},
}
LENGTHS = [700, 45]


def hashed(count, name):
    """`count` numbers of 32 bits: the finaliser of MurmurHash3 over the index plus the FNV-1a hash of the name."""
    seed = 0x811C9DC5
    for byte in name.encode():
        seed = (seed ^ byte) * 0x01000193 & 0xFFFFFFFF
    with np.errstate(over="ignore"):
        x = np.arange(count, dtype=np.uint32) + np.uint32(seed)
        x ^= x >> np.uint32(16)
        x *= np.uint32(0x85EBCA6B)
        x ^= x >> np.uint32(13)
        x *= np.uint32(0xC2B2AE35)
        x ^= x >> np.uint32(16)
    return x


def fill(shape, name):
    """Numbers of 16 bits from -1/2 to 1/2, times a power of two: 1/8 of matrices, and norms' weights are 1 beside it."""
    unit = (hashed(int(np.prod(shape)), name) >> np.uint32(16)).astype(np.float32) / np.float32(65536) - np.float32(0.5)
    values = unit / np.float32(8)
    if len(shape) == 1 and name.endswith("norm.weight"):
        values = values + np.float32(1)
    return torch.from_numpy(values.reshape(shape).copy())


def sample(tensor):
    flat = tensor.detach().reshape(-1)
    step = max(1, flat.numel() // SAMPLES)
    return {"norm": flat.double().norm().item(), "every": step, "values": [float(x) for x in flat[::step]]}


def make(name):
    config = MODELS[name]
    built = AutoConfig.for_model(**{k: v for k, v in config.items() if k != "architectures"})
    model = AutoModelForCausalLM.from_config(built, dtype=torch.float32).eval()
    model.set_attn_implementation("eager")
    with torch.no_grad():
        for of, value in model.named_parameters():
            value.copy_(fill(tuple(value.shape), of))
    rows = [(hashed(length, f"row {i}") % np.uint32(config["vocab_size"])).astype(np.int64) for i, length in enumerate(LENGTHS)]
    ids = torch.zeros((len(rows), max(LENGTHS)), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, :len(row)] = torch.from_numpy(row)
        mask[i, :len(row)] = 1
    labels = torch.where(mask.bool(), ids, -100)

    def logits():
        return model(input_ids=ids, attention_mask=mask).logits

    with torch.no_grad():
        whole = logits()
    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"))
    model.eval()
    trained = {of.replace(".default", ""): value for of, value in model.named_parameters() if value.requires_grad}
    with torch.no_grad():
        for of, value in trained.items():
            value.copy_(fill(tuple(value.shape), of))
    optimizer = torch.optim.AdamW(trained.values(), lr=LR, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    losses, gradients = [], {}
    for step in range(STEPS):
        loss = torch.nn.functional.cross_entropy(logits()[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            gradients = {of: sample(value.grad) for of, value in trained.items()}
        losses.append(loss.item())
        optimizer.step()
    found = {
        "config": config, "lengths": LENGTHS, "r": 8, "alpha": 16, "lr": LR, "losses": losses,
        "logits": [sample(whole[i, :length]) for i, length in enumerate(LENGTHS)],
        "gradients": gradients, "adapter": {of: sample(value) for of, value in trained.items()},
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__},
    }
    (ROOT / "testdata" / "wide" / f"{name}.json").write_text(json.dumps(found) + "\n")
    print(f"make_wide_reference: {name}: losses {losses}", file=sys.stderr)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[1:] or MODELS:
        make(name)
