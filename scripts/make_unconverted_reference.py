"""Makes testdata/unconverted/: adapters that peft saved as they are, though they began with a part of the base.

    python scripts/make_unconverted_reference.py

For each case it trains an adapter with `init_lora_weights` pissa or olora for some steps on a model of
testdata/reference/, saves it without conversion, and reads it again onto the untouched base, as a user would: peft then
takes the same part off the base's weights once more. `reference.json` holds, for each case, the model and the mean loss
of three rows of 12 tokens: of the base, of the adapter as it was trained, of the adapter read again, and of the pairs on
the untouched base, which is what a reader finds that does not look at `init_lora_weights`.
"""

import json
import pathlib
import shutil

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

ROOT = pathlib.Path(__file__).resolve().parent.parent / "testdata"
FOLDER = ROOT / "unconverted"

# name: the model, and what the configuration says
CASES = {
    "pissa": ("llama-s0", dict(init_lora_weights="pissa", r=4, lora_alpha=8, target_modules="all-linear")),
    "olora": ("llama-s0", dict(init_lora_weights="olora", r=4, lora_alpha=6, target_modules="all-linear")),
    "pissa_fused": ("phi3-s15", dict(init_lora_weights="pissa", r=3, lora_alpha=3, target_modules=["qkv_proj", "down_proj"])),
    "pissa_turned": ("gpt2-s28", dict(init_lora_weights="pissa", r=3, lora_alpha=6, target_modules=["c_attn", "c_fc"], fan_in_fan_out=True)),
    "pissa_dora": ("qwen2-s11", dict(init_lora_weights="pissa", r=4, lora_alpha=4, target_modules=["q_proj", "up_proj"], use_dora=True)),
    "olora_rslora": ("qwen2-s11", dict(init_lora_weights="OLoRA", r=5, lora_alpha=3, target_modules=["v_proj", "o_proj", "gate_proj"], use_rslora=True, rank_pattern={"v_proj": 2}, alpha_pattern={"gate_proj": 7})),
}
ROWS = torch.tensor([[(first + 5 * t) % 90 for t in range(12)] for first in (1, 40, 77)])
STEPS = 6


def base(name):
    return AutoModelForCausalLM.from_pretrained(ROOT / "reference" / name / "model", dtype=torch.float32).eval()


def loss(model):
    with torch.no_grad():
        return model(input_ids=ROWS, labels=ROWS).loss.item()


def pairs_alone(name, folder):
    """The saved pairs on the base as it is."""
    config = json.loads((folder / "adapter_config.json").read_text())
    other = FOLDER / "alone"
    shutil.copytree(folder, other)
    config["init_lora_weights"] = True
    (other / "adapter_config.json").write_text(json.dumps(config))
    found = loss(PeftModel.from_pretrained(base(name), other))
    shutil.rmtree(other)
    return found


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    found = {}
    for name, (model, settings) in CASES.items():
        torch.manual_seed(5)
        adapted = get_peft_model(base(model), LoraConfig(task_type="CAUSAL_LM", **settings))
        optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=5e-3)
        for step in range(STEPS):
            rows = torch.randint(0, 90, (4, 12), generator=torch.Generator().manual_seed(step))
            adapted(input_ids=rows, labels=rows).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        folder = FOLDER / name
        adapted.save_pretrained(folder)
        (folder / "README.md").unlink()
        config = json.loads((folder / "adapter_config.json").read_text())
        config["base_model_name_or_path"] = model
        (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
        save_file(load_file(folder / "adapter_model.safetensors"), folder / "adapter_model.safetensors")
        found[name] = {
            "model": model,
            "base": loss(base(model)),
            "trained": loss(adapted.eval()),
            "read_again": loss(PeftModel.from_pretrained(base(model), folder)),
            "pairs_alone": pairs_alone(model, folder),
        }
        print(name, found[name])
    (FOLDER / "reference.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
