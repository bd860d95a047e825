#!/usr/bin/env python3
"""The memory guide's table: what LoRA on models of public sizes takes, from their shapes alone.

    scripts/memory_guide.py            needs target/release/ft-bench (make build), or FT_BIN; prints Markdown

One process, r 16 on all linear layers, moments in f32, one sequence of 2048 tokens in a micro-batch, activations as
--activation-memory cuts them: 2 GB, and none (--gradient-checkpointing). `ft-bench plan` counts; nothing is loaded or run.
"""

import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BENCH = Path(os.environ.get("FT_BIN", ROOT / "target/release")) / "ft-bench"
MODELS = [
    "SmolLM2-135M", "Qwen3-0.6B", "Llama-3.2-1B", "Llama-3.2-3B", "Qwen3-4B", "Llama-3.1-8B", "Qwen3-8B", "Qwen3-14B",
    "Qwen3-32B", "Llama-3.1-70B",
]  # fmt: skip
TYPES = ["f32", "bf16", "8bit", "4bit"]


def plan(more):
    models = [str(ROOT / "testdata/shapes" / name) for name in MODELS]
    words = ["--world", "1", "--sharding", "none", "--load-in", ",".join(TYPES), "--lora-r", "16"]
    words += ["--per-device-train-batch-size", "1", "--max-seq-length", "2048", "--quiet", "--json", "-"]
    done = subprocess.run([BENCH, "plan", "--model", *models, *words, *more], capture_output=True, check=True)
    figures = json.loads(done.stdout)
    found = figures.get("models") or figures["figures"]["models"]
    return {(case["model"], case["load_in"]): case["plans"][0]["largest_total_bytes"] for case in found}


def main():
    kept, none = plan(["--activation-memory", "2GB"]), plan(["--gradient-checkpointing"])
    print("| model | " + " | ".join(f"`{name}`" for name in TYPES) + " |")
    print("|---|" + "---:|" * len(TYPES))
    for model in MODELS:
        cells = [f"{kept[model, kind] / 1e9:.1f} ({none[model, kind] / 1e9:.1f})" for kind in TYPES]
        print(f"| {model} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
