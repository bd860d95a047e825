#!/usr/bin/env python3
"""Print the demo's result as a table, and the files it wrote. Standard library only.

    scripts/demo_table.py OUT SECONDS
"""

import json
import sys
from pathlib import Path

WRITTEN = [
    ("rows/train.parquet", "examples: messages of role and content"),
    ("rows/test.parquet", "the held-out examples"),
    ("train.parquet", "tokens and labels"),
    ("adapter/adapter_model.safetensors", "the LoRA adapter, as peft reads it"),
    ("adapter/metrics.jsonl", "loss, gradient norm, learning rate of every step"),
    ("merged/model.safetensors", "the fine-tuned model, as transformers reads it"),
    ("answers_before.parquet", "the base model's answers to the held-out questions"),
    ("answers_after.parquet", "the fine-tuned model's answers"),
    ("table.txt", "this table"),
]


def percent(value):
    return f"{100 * value:.1f} %"


def main(out, seconds):
    load = lambda name: json.loads((out / name).read_text())
    rows, fell = [], 0.0
    before, after = load("loss_before.json"), load("loss_after.json")
    fell = 1 - after["loss"] / before["loss"]
    rows.append(("held-out loss, accounting and tax chats", f"{before['loss']:.4f}", f"{after['loss']:.4f}"))
    rows.append(("perplexity", f"{before['perplexity']:.2f}", f"{after['perplexity']:.2f}"))
    before, after = load("generate_before.json"), load("generate_after.json")
    rows.append(("exact answers to held-out questions", percent(before["exact_match"]), percent(after["exact_match"])))
    before, after = load("choice_before.json"), load("choice_after.json")
    accuracy = lambda r: f"{percent(r['accuracy'])} ± {100 * r['accuracy_stderr']:.1f}"
    rows.append(("MMLU professional accounting, 282 questions", accuracy(before), accuracy(after)))

    print(f"{'':45}{'before':>15}{'after':>15}")
    for name, was, now in rows:
        print(f"{name:45}{was:>15}{now:>15}")
    print(f"the held-out loss fell by {percent(fell)}")
    train, state, run = (load(f"adapter/{name}.json") for name in ("train_results", "trainer_state", "run"))
    print(f"training: {train['train_tokens_per_second']:.0f} tokens/s over {state['num_input_tokens_seen']:,} tokens, "
          f"peak memory {run['peak_memory_bytes'] / 1e6:,.0f} MB; all steps took {int(seconds) // 60} min "
          f"{int(seconds) % 60:02d} s, without the build")
    print("\nwritten:")
    for name, what in WRITTEN:
        if (out / name).exists() or name == "table.txt":
            print(f"  {str(out / name):45}{what}")
    if fell < 0.2:
        sys.exit("demo: error: the held-out loss should have fallen by at least 20 %")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
