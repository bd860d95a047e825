"""Makes testdata/optimizers/: twelve steps of each optimizer, by torch and bitsandbytes themselves.

    python scripts/make_optimizer_reference.py [--check]

Writes `reference.json` (the settings, the parameter groups as transformers and peft form them, the gradients' norms)
and `reference.safetensors` (parameters before the first step, gradients, and for each optimizer the parameters after
steps 1 and 12 and the moments after step 12). With `--check` it makes them anew and compares.

Moments of 8 bits: bitsandbytes 0.50 rounds on the CPU through a table of 65536 even steps, which is coarser than the
map itself, while its GPU kernels and the paper (Dettmers et al., 2022) take the nearest value. Here its own CPU step
runs with its own exact rounding, which the CPU backend has for f64, so that the codes are those of the paper.
"""

import argparse
import json
import pathlib
import warnings

import bitsandbytes as bnb
import bitsandbytes.functional as bnb_functional
import numpy as np
import torch
from bitsandbytes.backends.cpu import ops as bnb_cpu
from safetensors.torch import load_file, save_file

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "testdata" / "optimizers"
STEPS = 12
KEPT = (1, STEPS)
# Two below bitsandbytes' 4096 elements, one whole and one with a last block that is not full.
SHAPES = {"a": (8, 24), "bias": (37,), "b": (64, 72), "c": (17, 301)}
LR, DECAY, BETAS, EPS = 2e-3, 0.05, (0.9, 0.999), 1e-8


def exact_rounding():
    """Lets bitsandbytes' CPU step round as its generic path does."""

    def quantise(values, code, absmax, out, blocksize):
        codes, scales = torch.ops.bitsandbytes.quantize_blockwise(values.double(), code, blocksize)
        out.copy_(codes)
        absmax.copy_(scales)

    bnb_cpu._quant_blockwise_fp32_direct = quantise


def gradients(generator):
    """Gradients whose rows differ by orders of magnitude, some of them zero."""
    result = []
    for step in range(STEPS):
        grads = {}
        for name, shape in SHAPES.items():
            scale = 10.0 ** torch.empty(shape[0], *[1] * (len(shape) - 1)).uniform_(-4, 0, generator=generator)
            grad = torch.randn(shape, generator=generator) * scale * 0.1
            grad[torch.rand(shape, generator=generator) < 0.02] = 0.0
            grads[name] = grad
        result.append(grads)
    return result


OPTIMIZERS = {
    "adamw_torch": lambda groups: torch.optim.AdamW(groups, lr=LR, betas=BETAS, eps=EPS),
    "paged_adamw_32bit": lambda groups: bnb.optim.PagedAdamW32bit(groups, lr=LR, betas=BETAS, eps=EPS),
    "adamw_8bit": lambda groups: bnb.optim.AdamW8bit(groups, lr=LR, betas=BETAS, eps=EPS),
    "sgd": lambda groups: torch.optim.SGD(groups, lr=LR),
    "sgd_momentum": lambda groups: torch.optim.SGD(groups, lr=LR, momentum=0.9, dampening=0.1),
    "sgd_nesterov": lambda groups: torch.optim.SGD(groups, lr=LR, momentum=0.8, nesterov=True),
    "lion_32bit": lambda groups: bnb.optim.Lion32bit(groups, lr=LR, betas=(0.9, 0.99)),
    "lion_8bit": lambda groups: bnb.optim.Lion8bit(groups, lr=LR, betas=(0.9, 0.99)),
}


def run(name, start, grads, tensors):
    """Twelve steps; the learning rate falls, since every optimizer must take a new one at each step."""
    params = {key: torch.nn.Parameter(value.clone()) for key, value in start.items()}
    groups = [
        {"params": [p for key, p in params.items() if key != "bias"], "weight_decay": DECAY},
        {"params": [params["bias"]], "weight_decay": 0.0},
    ]
    optimizer = OPTIMIZERS[name](groups)
    for step in range(1, STEPS + 1):
        for group in optimizer.param_groups:
            group["lr"] = LR * (1 - (step - 1) / STEPS)
        for key, param in params.items():
            param.grad = grads[step - 1][key].clone()
        optimizer.step()
        if step in KEPT:
            for key, param in params.items():
                tensors[f"{name}.step{step}.{key}"] = param.detach().clone()
    for key, param in params.items():
        for kind, value in optimizer.state[param].items():
            if torch.is_tensor(value) and value.numel() > 1 and not kind.startswith("qmap"):
                tensors[f"{name}.state.{key}.{kind}"] = value.clone()


def norms(grads):
    """What `clip_grad_norm_` returns, and what it leaves of the first gradient's first element."""
    result = []
    for step in grads:
        params = [torch.nn.Parameter(torch.zeros_like(grad)) for grad in step.values()]
        for param, grad in zip(params, step.values()):
            param.grad = grad.clone()
        norm = torch.nn.utils.clip_grad_norm_(params, 1.0)
        result.append({"norm": norm.item(), "clipped": params[0].grad.flatten()[0].item()})
    return result


def groups():
    """The groups that transformers' Trainer and peft's LoRA+ form for an adapter with everything in it."""
    from peft import LoraConfig, get_peft_model
    from peft.optimizers import create_loraplus_optimizer
    from peft.utils.save_and_load import get_peft_model_state_dict
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=32,
        attention_bias=True, tie_word_embeddings=False,
    )
    lora = LoraConfig(
        r=2, target_modules=["q_proj", "embed_tokens"], modules_to_save=["lm_head", "norm"], bias="all", use_dora=True,
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(LlamaForCausalLM(config), lora)
    saved = {value.data_ptr(): key for key, value in get_peft_model_state_dict(model).items()}
    names = {id(p): saved[p.data_ptr()] for p in model.parameters() if p.requires_grad}

    def table(optimizer):
        rows = [
            (names[id(p)], {"lr": group["lr"], "weight_decay": group["weight_decay"]})
            for group in optimizer.param_groups
            for p in group["params"]
        ]
        return dict(sorted(rows))

    arguments = TrainingArguments(output_dir="unused", learning_rate=LR, weight_decay=DECAY, report_to=[], use_cpu=True)
    plus = create_loraplus_optimizer(
        model, torch.optim.AdamW, lr=LR, loraplus_lr_ratio=16.0, loraplus_weight_decay=DECAY, loraplus_lr_embedding=3e-5
    )
    return {"trainer": table(Trainer(model, arguments).create_optimizer()), "loraplus": table(plus)}


def make():
    generator = torch.Generator().manual_seed(20)
    start = {name: torch.randn(shape, generator=generator) * 0.3 for name, shape in SHAPES.items()}
    grads = gradients(generator)
    tensors = {f"start.{key}": value for key, value in start.items()}
    for step, values in enumerate(grads, 1):
        tensors.update({f"grad{step}.{key}": value for key, value in values.items()})
    for signed, name in ((True, "signed"), (False, "unsigned")):
        tensors[f"map.{name}"] = bnb_functional.create_dynamic_map(signed)
    exact_rounding()
    for name in OPTIMIZERS:
        run(name, start, grads, tensors)
    meta = {
        "versions": {"torch": torch.__version__, "bitsandbytes": bnb.__version__},
        "lr": LR, "weight_decay": DECAY, "steps": STEPS, "loraplus_lr_ratio": 16.0, "loraplus_lr_embedding": 3e-5,
        "norms": norms(grads), "groups": groups(),
    }
    return tensors, meta


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    tensors, meta = make()
    if args.check:
        old = load_file(FOLDER / "reference.safetensors")
        assert old.keys() == tensors.keys()
        for key, value in tensors.items():
            np.testing.assert_allclose(value.numpy(), old[key].numpy(), rtol=1e-6, err_msg=key)
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    save_file({key: value.contiguous() for key, value in tensors.items()}, FOLDER / "reference.safetensors")
    (FOLDER / "reference.json").write_text(json.dumps(meta, indent=1) + "\n")
    print(f"{len(tensors)} tensors, {sum(t.nbytes for t in tensors.values())} bytes")


if __name__ == "__main__":
    main()
