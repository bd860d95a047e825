#!/usr/bin/env python3
"""Make reference values for the tests: a tiny random model, its activations, and 10 LoRA steps with peft.

    .venv/bin/python scripts/make_reference.py --arch llama --seed 1 --out testdata/reference/llama-s1 \\
        --layers 3 --hidden 96 --heads 6 --kv-heads 2 --head-dim 16 --intermediate 128 --vocab 320 --lengths 18,13,7
    .venv/bin/python scripts/make_reference.py --all [NAME...]     the folders of scripts/reference/folders.py, anew

More of it: --set KEY=JSON (any config key, repeatable), --lora KEY=JSON (any key of LoraConfig, repeatable),
--rslora, --dora, --targets q_proj,v_proj, --weight-decay W, --r R, --alpha A, --steps N, --masked N (labels of
the first N positions are -100).

OUT/model/            config.json (transformers 5 keys), config_v4.json (as 4.55 wrote them), config_early.json
                      (as a family's first release did, where that differs), model.safetensors
OUT/data.safetensors  input_ids, attention_mask, labels, position_ids i64 [rows, longest], padded on the right;
                      hidden.<i> f32 (before layer 0, after each layer, the last one after the final norm);
                      logits, final_logits (trained adapter), merged_logits (after merging it)
OUT/adapter_init/, OUT/adapter_final/, OUT/grads_step0.safetensors (the gradient of every trained tensor before
                      the first update, by its key in adapter_model.safetensors)
OUT/meta.json         losses (each before its update), gradient norms, settings, arguments, checks, versions;
                      raw_names has the tensors whose name in peft's model is not key + ".default"

Weights have a standard deviation of 0.2, norms and biases are disturbed as well, so that a forgotten
one shows. AdamW with lr 1e-3, betas 0.9 and 0.999, eps 1e-8, no clipping, constant. The loss is the mean
over the labels that are not -100 after the shift, all rows together. Values at padded positions mean nothing.

What peft 0.21 trains and how adapter_model.safetensors names it ("M" is base_model.model.model.layers.0):

    setting                      in the model                                       in the file
    LoRA                         M.self_attn.q_proj.lora_A.default.weight           M.self_attn.q_proj.lora_A.weight
    use_dora                     ...q_proj.lora_magnitude_vector.default.weight     ...q_proj.lora_magnitude_vector
    modules_to_save, lm_head     base_model.model.lm_head.modules_to_save.default.weight
                                                                                    base_model.model.lm_head.weight
    the same, embed_tokens       base_model.model.model.embed_tokens.modules_to_save.default.weight
                                                                   base_model.model.model.embed_tokens.weight
    bias lora_only               M.self_attn.q_proj.base_layer.bias                 the same; only targeted modules
    bias all                     the same, and M.self_attn.k_proj.bias,             the same names; every parameter
                                 M.input_layernorm.bias, ... where not targeted     whose name has "bias" in it
    target embed_tokens          ...embed_tokens.lora_embedding_A.default           ...embed_tokens.lora_embedding_A;
                                                     the frozen ...embed_tokens.base_layer.weight stands there too
    target lm_head               ...lm_head.lora_A.default.weight                   ...lm_head.lora_A.weight, and the
                                                     frozen base_model.model.lm_head.base_layer.weight

A tied model with modules_to_save loses the tie: embed_tokens alone trains a copy of the embedding while the
head stays as it was, lm_head alone the reverse, both train two copies apart. merged_logits is then of the
model in memory, whose two matrices differ; saved, it has both and tie_word_embeddings false. bias is never
merged away: the trained biases are the base's own.
"""

import argparse
import json
import os
import shlex
import sys
from pathlib import Path

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import peft
import torch
import transformers
from peft import PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import AutoConfig

from reference.adapter import LR, lora_config, save_adapter, train
from reference.configs import ARCHS, STD
from reference.folders import FOLDERS
from reference.model import alone, largest, logits_of, loss_of, make_batch, make_model, reload, save_model

ROOT = Path(__file__).resolve().parent.parent


def parse(arguments):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--arch", choices=sorted(ARCHS), default="llama")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--out", type=Path)
    for name, value in [("layers", 2), ("hidden", 64), ("heads", 4), ("kv-heads", 2), ("head-dim", None),
                        ("intermediate", 128), ("vocab", 256), ("masked", 8), ("r", 4), ("alpha", 8), ("steps", 10)]:
        p.add_argument(f"--{name}", type=int, default=value)
    p.add_argument("--lengths", type=lambda s: [int(n) for n in s.split(",")], default=[24, 17])
    p.add_argument("--targets", type=lambda s: s if s == "all-linear" else s.split(","), default="all-linear")
    p.add_argument("--weight-decay", type=float, default=0.0)
    p.add_argument("--rslora", action="store_true")
    p.add_argument("--dora", action="store_true")
    p.add_argument("--set", action="append", default=[], metavar="KEY=JSON")
    p.add_argument("--lora", action="append", default=[], metavar="KEY=JSON")
    p.add_argument("--all", nargs="*", metavar="NAME")
    given = p.parse_args(arguments)
    given.line = " ".join(arguments)
    return given


def check_base(folder, batch, whole):
    """The model read back: with each style of config, with fused attention, and each row by itself."""
    again = reload(folder)
    checks = {"reload_max_abs": largest(logits_of(again, batch), whole, batch),
              "pad_invariance_max_abs": alone(again, batch, whole)}
    for style in ("v4", "early"):
        path = folder / f"config_{style}.json"
        if path.exists():
            config = AutoConfig.from_pretrained(path)
            checks[f"{style}_config_max_abs"] = largest(logits_of(reload(folder, config), batch), whole, batch)
    if again._supports_sdpa:  # Gemma-2's caps exist in eager attention only
        again.set_attn_implementation("sdpa")
        checks["sdpa_vs_eager_valid_max_abs"] = largest(logits_of(again, batch), whole, batch)
    return checks


def refuse(name, checks):
    """A folder whose own checks fail is no reference."""
    for check, moved in checks.items():
        if moved > 1e-4:
            raise SystemExit(f"make_reference: error: {name}: {check} is {moved}, expected at most 1e-4")


def make(given):
    out = given.out
    out.mkdir(parents=True, exist_ok=True)
    model, batch = make_model(given), make_batch(given)
    save_model(model, out / "model")
    with torch.no_grad():
        whole = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], output_hidden_states=True)
    data = batch | {"logits": whole.logits} | {f"hidden.{i}": h for i, h in enumerate(whole.hidden_states)}
    first_loss = loss_of(model, batch).item()
    checks = check_base(out / "model", batch, whole.logits)

    torch.manual_seed(given.seed + 3000)
    model = get_peft_model(model, lora_config(given))
    model.eval()
    save_adapter(model, out / "adapter_init")
    losses, norms, gradients, raw = train(model, batch, given, loss_of)
    save_adapter(model, out / "adapter_final")
    save_file({k: v.contiguous() for k, v in gradients.items()}, out / "grads_step0.safetensors")
    final = logits_of(model, batch)
    final_loss = loss_of(model, batch).item()
    again = PeftModel.from_pretrained(reload(out / "model"), out / "adapter_final")
    checks["adapter_reload_max_abs"] = largest(logits_of(again, batch), final, batch)
    data |= {"final_logits": final, "merged_logits": logits_of(again.merge_and_unload(), batch)}
    checks["merged_vs_unmerged_max_abs"] = largest(data["merged_logits"], final, batch)
    refuse(out.name, checks)
    save_file({k: v.contiguous() for k, v in data.items()}, out / "data.safetensors")

    lora = [name for name in gradients if ".lora_" in name]
    meta = {
        "arch": given.arch, "model_type": ARCHS[given.arch][0], "seed": given.seed, "loss": first_loss,
        "losses": losses, "final_loss": final_loss, "grad_norms": norms,
        "trainable": sum(g.numel() for g in gradients.values()), "n_lora_tensors": len(lora),
        "n_other_tensors": len(gradients) - len(lora), "logit_std": whole.logits.std().item(),
        "targets": sorted({name.split(".lora_")[0].rsplit(".", 1)[1] for name in lora}),
        "settings": {"r": given.r, "alpha": given.alpha, "lr": LR, "betas": [0.9, 0.999], "eps": 1e-8,
                     "weight_decay": given.weight_decay, "clip": None, "schedule": "constant", "steps": given.steps,
                     "rslora": given.rslora, "dora": given.dora, "targets": given.targets,
                     "bias": lora_config(given).bias, "std": STD},
        "arguments": given.line, "raw_names": raw,
        "loss_def": "mean over labels!=-100 after shift, all rows pooled; losses[i] is before update i",
        "checks": checks,
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__},
    }
    (out / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")
    size = sum(f.stat().st_size for f in out.rglob("*") if f.is_file()) / 1e6
    worst = max(checks, key=lambda c: checks[c])
    print(f"make_reference: {out.name}: {size:.2f} MB, loss {losses[0]:.4f} to {final_loss:.4f}, "
          f"{worst} {checks[worst]:.1e}", file=sys.stderr)


def main(arguments):
    torch.set_num_threads(1)  # one order of summation
    transformers.utils.logging.disable_progress_bar()
    given = parse(arguments)
    if given.all is not None:
        for name in given.all or FOLDERS:
            folder = parse(shlex.split(FOLDERS[name].replace('"', '\\"')))
            folder.line = FOLDERS[name]
            folder.out = ROOT / "testdata" / "reference" / name
            make(folder)
    elif given.out is None:
        sys.exit("make_reference: error: --out FOLDER (or --all) is missing")
    else:
        make(given)


if __name__ == "__main__":
    main(sys.argv[1:])
