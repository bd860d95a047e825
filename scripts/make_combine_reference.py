#!/usr/bin/env python3
"""Make testdata/combine.safetensors: three adapters of testdata/reference as one, by peft's add_weighted_adapter.

    .venv/bin/python scripts/make_combine_reference.py

The adapters are llama-s0 (times 0.7), llama-s0-qv-wd (times -0.3, on some modules only) and llama-s0-rslora (times 0.5,
with another scale). Under WAY.MODULE stands what the result adds to the module's weight, for layer 1's q_proj and
down_proj: linear; ties of density 0.4 by total and by frequency; svd of rank 3; cat; and dare_linear and dare_ties of
density 1, which drop nothing (what they drop otherwise is torch's random numbers). No test can have those but by their
share.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
import torch
from peft import PeftModel
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "testdata" / "reference"
ADAPTERS = {"llama-s0": 0.7, "llama-s0-qv-wd": -0.3, "llama-s0-rslora": 0.5}
WAYS = {"linear": {"combination_type": "linear"}, "ties": {"combination_type": "ties", "density": 0.4},
        "ties_frequency": {"combination_type": "ties", "density": 0.4, "majority_sign_method": "frequency"},
        "svd": {"combination_type": "svd", "svd_rank": 3}, "cat": {"combination_type": "cat"},
        "dare_linear": {"combination_type": "dare_linear", "density": 1.0},
        "dare_ties": {"combination_type": "dare_ties", "density": 1.0}}
MODULES = ["model.layers.1.self_attn.q_proj", "model.layers.1.mlp.down_proj"]


def main():
    base = AutoModelForCausalLM.from_pretrained(REFERENCE / "llama-s0" / "model", dtype=torch.float32)
    names = list(ADAPTERS)
    model = PeftModel.from_pretrained(base, REFERENCE / names[0] / "adapter_final", adapter_name=names[0])
    for name in names[1:]:
        model.load_adapter(REFERENCE / name / "adapter_final", adapter_name=name)
    tensors = {}
    for way, arguments in WAYS.items():
        model.add_weighted_adapter(names, list(ADAPTERS.values()), way, **arguments)
        for module in MODULES:
            tensors[f"{way}.{module}"] = model.base_model.model.get_submodule(module).get_delta_weight(way).contiguous()
    save_file(tensors, ROOT / "testdata" / "combine.safetensors")
    print(f"make_combine_reference: {len(tensors)} tensors", file=sys.stderr)


if __name__ == "__main__":
    main()
