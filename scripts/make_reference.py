#!/usr/bin/env python3
"""Make reference values for the tests: a tiny random model, its activations, and 10 LoRA steps with peft.

    .venv/bin/python scripts/make_reference.py --arch llama --seed 1 --out testdata/reference/llama-s1 \\
        --layers 3 --hidden 96 --heads 6 --kv-heads 2 --head-dim 16 --intermediate 128 --vocab 320 --lengths 18,13,7
    .venv/bin/python scripts/make_reference.py --all       every folder of testdata/reference, anew

More of it: --set KEY=JSON (any config key, repeatable), --rslora, --dora, --targets q_proj,v_proj,
--weight-decay W, --r R, --alpha A, --steps N, --masked N (labels of the first N positions are -100).

OUT/model/            config.json (transformers 5 keys), config_v4.json (transformers 4 keys), model.safetensors
OUT/data.safetensors  input_ids, attention_mask, labels, position_ids i64 [rows, longest], padded on the right;
                      hidden.<i> f32 (before layer 0, after each layer, the last one after the final norm);
                      logits, final_logits (trained adapter), merged_logits (after merging it)
OUT/adapter_init/, OUT/adapter_final/, OUT/grads_step0.safetensors (LoRA gradients before the first update)
OUT/meta.json         losses (each before its update), gradient norms, settings, checks, versions

Weights have a standard deviation of 0.2, norms and biases are disturbed as well, so that a forgotten
one shows. AdamW with lr 1e-3, betas 0.9 and 0.999, eps 1e-8, no clipping, constant. The loss is the mean
over the labels that are not -100 after the shift, all rows together. Values at padded positions mean nothing.
"""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import peft
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

ROOT = Path(__file__).resolve().parent.parent
STD, LR = 0.2, 1e-3

# What makes each architecture: its model_type and the config keys that its variants need.
ARCHS = {
    "llama": ("llama", {}),
    "llama_tied_bias": ("llama", {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}),
    "llama_linear_rope": ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}}),
    "llama3_rope": ("llama", {"rope_parameters": {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32, "rope_theta": 1e4}}),
    "mistral": ("mistral", {"sliding_window": 8}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {}),
}

# The folders of testdata/reference: their names and what they were made with.
FOLDERS = {
    "llama-s1": "--arch llama --seed 1 --layers 3 --hidden 96 --heads 6 --kv-heads 2 --head-dim 16 "
                "--intermediate 128 --vocab 320 --lengths 18,13,7",
    "llama_tied_bias-s2": "--arch llama_tied_bias --seed 2 --layers 2 --hidden 48 --heads 3 --kv-heads 3 --head-dim 24 "
                          "--intermediate 80 --vocab 200 --lengths 11,16 --masked 3 --rslora --r 6 --alpha 9",
}


def parse(arguments):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--arch", choices=sorted(ARCHS), default="llama")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--out", type=Path)
    for name, value in [("layers", 2), ("hidden", 64), ("heads", 4), ("kv-heads", 2), ("head-dim", 16),
                        ("intermediate", 128), ("vocab", 256), ("masked", 8), ("r", 4), ("alpha", 8), ("steps", 10)]:
        p.add_argument(f"--{name}", type=int, default=value)
    p.add_argument("--lengths", type=lambda s: [int(n) for n in s.split(",")], default=[24, 17])
    p.add_argument("--targets", type=lambda s: s if s == "all-linear" else s.split(","), default="all-linear")
    p.add_argument("--weight-decay", type=float, default=0.0)
    p.add_argument("--rslora", action="store_true")
    p.add_argument("--dora", action="store_true")
    p.add_argument("--set", action="append", default=[], metavar="KEY=JSON")
    p.add_argument("--all", action="store_true")
    return p.parse_args(arguments)


def make_config(given):
    model_type, keys = ARCHS[given.arch]
    keys = {
        "hidden_size": given.hidden, "intermediate_size": given.intermediate, "num_hidden_layers": given.layers,
        "num_attention_heads": given.heads, "num_key_value_heads": given.kv_heads, "head_dim": given.head_dim,
        "vocab_size": given.vocab, "max_position_embeddings": 128, "initializer_range": STD, "use_cache": False,
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": False,
        "attn_implementation": "eager", "rms_norm_eps": 1e-5, **keys}
    keys |= {k: json.loads(v) for k, v in (pair.split("=", 1) for pair in given.set)}
    return AutoConfig.for_model(model_type, **keys)


def v4_config(v5):
    """The same config in the keys of transformers 4: rope_theta, rope_scaling, torch_dtype."""
    v4 = dict(v5)
    rope = dict(v4.pop("rope_parameters", None) or {})
    v4["torch_dtype"] = v4.pop("dtype")
    v4["transformers_version"] = "4.55.0"
    if rope:
        v4["rope_theta"] = rope.pop("rope_theta")
        v4["rope_scaling"] = None if rope.get("rope_type") == "default" else rope
    return v4


def make_model(given):
    torch.manual_seed(given.seed)
    model = AutoModelForCausalLM.from_config(make_config(given), dtype=torch.float32).eval()
    model.set_attn_implementation("eager")
    noise = torch.Generator().manual_seed(given.seed + 1000)
    with torch.no_grad():
        for name, value in model.named_parameters():
            drawn = torch.randn(value.shape, generator=noise)
            if value.ndim == 1:  # norms stay near their neutral value, biases near 0
                value.add_(drawn * 0.1) if "norm" in name else value.copy_(drawn * STD)
            else:
                value.copy_(drawn * STD)
    return model


def make_batch(given):
    draw = torch.Generator().manual_seed(given.seed + 2000)
    shape = (len(given.lengths), max(given.lengths))
    lengths = torch.tensor(given.lengths)[:, None]
    positions = torch.arange(shape[1]).expand(shape).contiguous()
    inside = positions < lengths
    ids = torch.where(inside, torch.randint(3, given.vocab, shape, generator=draw), 0)
    labels = torch.where(inside & (positions >= given.masked), ids, -100)
    return {"input_ids": ids, "attention_mask": inside.long(), "labels": labels, "position_ids": positions}


def logits_of(model, batch):
    with torch.no_grad():
        return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits


def loss_of(model, batch):
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    return torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten(), ignore_index=-100)


def train(model, batch, given):
    """LoRA steps with torch's AdamW; gives what meta.json says of them and the first gradients."""
    trainable = {n: p for n, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(trainable.values(), lr=LR, betas=(0.9, 0.999), eps=1e-8,
                                  weight_decay=given.weight_decay)
    losses, norms, first = [], [], None
    for _ in range(given.steps):
        loss = loss_of(model, batch)
        optimizer.zero_grad()
        loss.backward()
        if first is None:
            first = {n.replace(".default", ""): p.grad.clone() for n, p in trainable.items()}
        norms.append(torch.sqrt(sum(p.grad.double().pow(2).sum() for p in trainable.values())).item())
        losses.append(loss.item())
        optimizer.step()
    return losses, norms, first, sum(p.numel() for p in trainable.values())


def largest(a, b, batch):
    return (a - b).abs()[batch["attention_mask"].bool()].max().item()


def save_model(model, folder):
    model.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config_v4.json").write_text(json.dumps(v4_config(config), indent=2))


def make(given):
    out = given.out
    out.mkdir(parents=True, exist_ok=True)
    model, batch, checks = make_model(given), make_batch(given), {}
    save_model(model, out / "model")
    with torch.no_grad():
        whole = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], output_hidden_states=True)
    data = batch | {"logits": whole.logits} | {f"hidden.{i}": h for i, h in enumerate(whole.hidden_states)}
    first_loss = loss_of(model, batch).item()
    again = AutoModelForCausalLM.from_pretrained(out / "model", dtype=torch.float32, attn_implementation="eager")
    checks["reload_max_abs"] = largest(logits_of(again, batch), whole.logits, batch)
    again.set_attn_implementation("sdpa")
    checks["sdpa_vs_eager_valid_max_abs"] = largest(logits_of(again, batch), whole.logits, batch)
    again.set_attn_implementation("eager")

    torch.manual_seed(given.seed + 3000)
    model = get_peft_model(model, LoraConfig(
        r=given.r, lora_alpha=given.alpha, lora_dropout=0.0, target_modules=given.targets, task_type="CAUSAL_LM",
        use_rslora=given.rslora, use_dora=given.dora))
    model.eval()
    model.save_pretrained(out / "adapter_init")
    losses, norms, gradients, count = train(model, batch, given)
    model.save_pretrained(out / "adapter_final")
    save_file({k: v.contiguous() for k, v in gradients.items()}, out / "grads_step0.safetensors")
    final = logits_of(model, batch)
    final_loss = loss_of(model, batch).item()
    again = PeftModel.from_pretrained(again, out / "adapter_final")
    checks["adapter_reload_max_abs"] = largest(logits_of(again, batch), final, batch)
    data |= {"final_logits": final, "merged_logits": logits_of(model.merge_and_unload(), batch)}
    checks["merged_vs_unmerged_max_abs"] = largest(data["merged_logits"], final, batch)
    save_file({k: v.contiguous() for k, v in data.items()}, out / "data.safetensors")
    for readme in out.glob("*/README.md"):
        readme.unlink()  # peft's model card says nothing here

    targets = sorted({name.split(".lora_")[0].rsplit(".", 1)[1] for name in gradients})
    meta = {
        "arch": given.arch, "model_type": ARCHS[given.arch][0], "seed": given.seed, "loss": first_loss,
        "losses": losses, "final_loss": final_loss, "grad_norms": norms, "trainable": count,
        "n_lora_tensors": len(gradients), "logit_std": whole.logits.std().item(), "targets": targets,
        "settings": {"r": given.r, "alpha": given.alpha, "lr": LR, "betas": [0.9, 0.999], "eps": 1e-8,
                     "weight_decay": given.weight_decay, "clip": None, "schedule": "constant", "steps": given.steps,
                     "rslora": given.rslora, "dora": given.dora, "targets": given.targets, "bias": "none", "std": STD},
        "loss_def": "mean over labels!=-100 after shift, all rows pooled; losses[i] is before update i",
        "checks": checks,
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__},
    }
    (out / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")
    size = sum(f.stat().st_size for f in out.rglob("*") if f.is_file()) / 1e6
    print(f"make_reference: {out.name}: {size:.2f} MB, loss {losses[0]:.4f} to {final_loss:.4f}, checks {checks}",
          file=sys.stderr)


def main(arguments):
    torch.set_num_threads(1)  # one order of summation
    given = parse(arguments)
    if given.all:
        for name, line in FOLDERS.items():
            make(parse([*line.split(), "--out", str(ROOT / "testdata" / "reference" / name)]))
    elif given.out is None:
        sys.exit("make_reference: error: --out FOLDER (or --all) is missing")
    else:
        make(given)


if __name__ == "__main__":
    main(sys.argv[1:])
