"""Makes testdata/pissa/: what peft's PiSSA initialisation makes of some weights.

    python scripts/make_pissa_reference.py

Writes `reference.safetensors`: for each case `NAME.weight` `[out, in]`, `NAME.a`, `NAME.b` and `NAME.residual`, the
frozen weight that peft leaves. The rank, the scaling and the rounds are in `reference.json`.
"""

import json
import pathlib

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "testdata" / "pissa"

# name: shape, rank, alpha, init, how fast the singular values fall
CASES = {
    "wide": ((24, 40), 4, 8, "pissa", 0.9),
    "tall": ((96, 33), 8, 4, "pissa", 0.98),
    "square": ((64, 64), 16, 32, "pissa", 0.95),
    "whole": ((6, 10), 6, 6, "pissa", 0.7),
    "fast_wide": ((24, 40), 4, 8, "pissa_niter_8", 0.5),
    "fast_tall": ((96, 33), 6, 6, "pissa_niter_16", 0.6),
}


class Model(torch.nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        self.layer.weight.data = weight.clone()


def main():
    torch.manual_seed(11)
    tensors, meta = {}, {}
    for name, (shape, rank, alpha, init, falling) in CASES.items():
        u, s, v = torch.linalg.svd(torch.randn(shape), full_matrices=False)
        weight = u @ torch.diag(3.0 * falling ** torch.arange(len(s))) @ v
        config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=["layer"], init_lora_weights=init)
        layer = get_peft_model(Model(weight), config).base_model.model.layer
        tensors[f"{name}.weight"] = weight
        tensors[f"{name}.a"] = layer.lora_A["default"].weight.data
        tensors[f"{name}.b"] = layer.lora_B["default"].weight.data
        tensors[f"{name}.residual"] = layer.base_layer.weight.data
        meta[name] = {"rank": rank, "scaling": alpha / rank, "init": init}
    FOLDER.mkdir(parents=True, exist_ok=True)
    save_file({key: value.contiguous() for key, value in tensors.items()}, FOLDER / "reference.safetensors")
    (FOLDER / "reference.json").write_text(json.dumps(meta, indent=1) + "\n")


if __name__ == "__main__":
    main()
