#!/usr/bin/env python3
"""Do the peers read what ft writes, and ft what the peers write? Prints a table; fails when a check fails.

    .venv/bin/python scripts/peers/read_back.py

Needs target/release/ft-*, the peers' environment and .cache/ (make peers sees to all three).
"""

import json
import subprocess
import sys

import common
from common import ROOT, SMOLLM2_GGUF, SMOLLM2_HF, WORK

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from eval_loss import token_mean

OUT = WORK / "read_back"
ROWS = WORK / "tokens_test.parquet"
CHECKS = []


def ft(tool, *arguments):
    command = [str(ROOT / "target" / "release" / tool), "--quiet", *map(str, arguments)]
    done = subprocess.run(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    if done.returncode != 0:
        sys.exit(f"read_back: error: {' '.join(command)}\n{done.stderr.strip()}")


def check(what, value, allowed):
    CHECKS.append((what, value, allowed))
    print(f"{'ok    ' if value <= allowed else 'FAILED'} {what:72} {value:10.3g}  (at most {allowed:g})", flush=True)


def base_model(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def rows():
    return pq.read_table(ROWS, columns=["input_ids", "labels"]).to_pylist()


@torch.no_grad()
def logits(model, some=8):
    return [model(input_ids=torch.tensor([r["input_ids"]])).logits[0] for r in rows()[:some]]


def largest(left, right):
    return max((a - b).abs().max().item() for a, b in zip(left, right))


def peft_loss(adapter):
    return token_mean(PeftModel.from_pretrained(base_model(SMOLLM2_HF), adapter).eval(), rows(), 8)


def ft_loss(*arguments):
    ft("ft-eval", "loss", "--model", SMOLLM2_GGUF, *arguments, ROWS, "--report", OUT / "loss.json")
    return json.loads((OUT / "loss.json").read_text())["loss"]


def converted_base():
    """ft-merge without an adapter: the folder that transformers loads, against an independent conversion."""
    ft("ft-merge", "--model", SMOLLM2_GGUF, "--dtype", "f32", "-o", OUT / "base")
    ours, theirs = load_file(OUT / "base" / "model.safetensors"), load_file(SMOLLM2_HF / "model.safetensors")
    check("GGUF to folder: names that differ", len(ours.keys() ^ theirs.keys()), 0)
    check("GGUF to folder: largest difference of a weight", largest(
        (ours[k] for k in theirs), (theirs[k] for k in theirs)), 0)
    check("GGUF to folder: logits in transformers", largest(logits(base_model(OUT / "base")),
                                                            logits(base_model(SMOLLM2_HF))), 1e-6)


def tokenizer():
    """The folder's tokenizer and template, and ft-prep | ft-template on the real chats, against transformers."""
    ours, theirs = (AutoTokenizer.from_pretrained(p) for p in (OUT / "base", SMOLLM2_HF))
    chats = [json.loads(line) for line in open(WORK / "chats_test.jsonl", encoding="utf-8")]
    render = lambda t, c: t.apply_chat_template(c["prompt"] + c["completion"], tokenize=False)
    check("tokenizer of the folder: chats whose ids differ", sum(
        ours(render(ours, c))["input_ids"] != theirs(render(theirs, c))["input_ids"] for c in chats), 0)
    ft("ft-prep", WORK / "chats_test.jsonl", "-o", OUT / "rows.parquet")
    ft("ft-template", "--model", SMOLLM2_GGUF, "--labels", "completion", OUT / "rows.parquet", "-o", OUT / "tokens.parquet")
    found = pq.read_table(OUT / "tokens.parquet").to_pylist()
    check("ft-prep, ft-template: rows whose ids differ from transformers'", sum(
        f["input_ids"] != w["input_ids"] for f, w in zip(found, rows(), strict=True)), 0)
    check("ft-prep, ft-template: rows whose labels differ", sum(
        f["labels"] != w["labels"] for f, w in zip(found, rows(), strict=True)), 0)


def adapters():
    ft("ft-train", "--model", SMOLLM2_GGUF, "--train", WORK / "tokens_real.parquet", "--output-dir", OUT / "adapter",
       "--overwrite-output-dir", "--max-steps", 3, "--per-device-train-batch-size", 4, "--learning-rate", 1e-3)
    check("our adapter in peft: loss", abs(peft_loss(OUT / "adapter") - ft_loss("--adapter", OUT / "adapter")), 1e-4)
    check("peft's adapter in ft: loss", abs(peft_loss(WORK / "adapter_noise")
                                           - ft_loss("--adapter", WORK / "adapter_noise")), 1e-4)


def small_rows():
    """Rows for the tiny reference models: a file, and what it holds."""
    table = pq.read_table(ROWS, columns=["input_ids", "labels"]).slice(0, 24)
    # Their vocabulary has 96 tokens; the labels stand at the rows' ends.
    small = [{"input_ids": [i % 96 for i in r["input_ids"][-40 - i:]],
              "labels": [l if l < 0 else l % 96 for l in r["labels"][-40 - i:]]} for i, r in enumerate(table.to_pylist())]
    path = OUT / "small.parquet"
    pq.write_table(pa.Table.from_pylist(small, schema=table.schema.remove_metadata()), path)
    return path, small


def read_alike(what, name, adapter, path, small):
    """Whether an adapter of the reference model changes the loss here by what it changes it by in peft."""
    model = ROOT / "testdata" / "reference" / name / "model"
    ft("ft-eval", "loss", "--model", model, "--adapter", adapter, path, "--report", OUT / "small.json")
    ours = json.loads((OUT / "small.json").read_text())["loss"]
    theirs = token_mean(PeftModel.from_pretrained(base_model(model), adapter).eval(), small, 8)
    bare = token_mean(base_model(model), small, 8)
    check(f"{what} in both: loss, over what it changes", abs(theirs - ours) / abs(bare - theirs), 1e-3)


def mixtures():
    """Adapters on experts, routers and attention: ours, and one from before transformers 5."""
    path, small = small_rows()
    for name in ("mixtral-s36", "qwen3_moe-s38"):
        model, out = ROOT / "testdata" / "reference" / name / "model", OUT / name
        ft("ft-train", "--model", model, "--train", path, "--output-dir", out, "--overwrite-output-dir", "--max-steps", 6,
           "--per-device-train-batch-size", 4, "--learning-rate", 1e-2, "--init-lora-weights", "false")
        read_alike(f"our adapter on {name}'s experts", name, out, path, small)
    single_experts(OUT / "single_experts")
    read_alike("an adapter of single experts, of before transformers 5", "mixtral-s36", OUT / "single_experts", path, small)


def single_experts(folder):
    """An adapter of mixtral-s36 with the modules' names that transformers 4 had."""
    torch.manual_seed(1)
    shapes = {"self_attn.q_proj": (48, 32), "block_sparse_moe.gate": (4, 32)}
    for expert in range(4):
        shapes |= {f"block_sparse_moe.experts.{expert}.{w}": (32, 28) if w == "w2" else (28, 32) for w in ("w1", "w2", "w3")}
    tensors = {}
    for module, (rows, columns) in ((f"base_model.model.model.layers.{i}.{m}", s) for i in (0, 1) for m, s in shapes.items()):
        tensors[f"{module}.lora_A.weight"] = 0.3 * torch.randn(2, columns)
        tensors[f"{module}.lora_B.weight"] = 0.3 * torch.randn(rows, 2)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 6, "lora_dropout": 0.0, "bias": "none",
              "target_modules": ["w1", "w2", "w3", "gate", "q_proj"], "inference_mode": True}
    (folder / "adapter_config.json").write_text(json.dumps(config))


def merged():
    """Our merge against base + adapter, both in transformers. Logits of 43 that two orders of f32 sums reach differ
    by 1.3e-4 whoever merges, so the difference is held against the largest logit and against peft's own merge."""
    for adapter, what in ((OUT / "adapter", "trained adapter"), (WORK / "adapter_noise", "noisy adapter")):
        ft("ft-merge", "--model", SMOLLM2_GGUF, "--adapter", adapter, "--dtype", "f32", "--overwrite", "-o", OUT / "merged")
        model = PeftModel.from_pretrained(base_model(SMOLLM2_HF), adapter).eval()
        apart, ours = logits(model), logits(base_model(OUT / "merged"))
        theirs = logits(model.merge_and_unload())
        found, size = largest(ours, apart), max(l.abs().max().item() for l in apart)
        check(f"{what} merged: logits against base + adapter, over the largest", found / size, 1e-4)
        check(f"{what} merged: the same difference over that of peft's own merge", found / largest(theirs, apart), 1)
        check(f"{what} merged: logits against peft's own merge", largest(ours, theirs), 1e-5)


def events():
    """TensorBoard's own reader on a run that was taken up again: each step once, with the values of metrics.jsonl."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    run = ["--model", SMOLLM2_GGUF, "--train", WORK / "tokens_real.parquet", "--eval", ROWS, "--output-dir", OUT / "events",
           "--per-device-train-batch-size", 1, "--logging-steps", 1, "--eval-steps", 2, "--save-steps", 2, "--max-steps", 4,
           "--lora-r", 4, "--report-to", "tensorboard", "jsonl", "--run-name", "tax"]
    ft("ft-train", *run, "--overwrite-output-dir")
    ft("ft-train", *run, "--resume-from-checkpoint", OUT / "events" / "checkpoint-2")
    board = EventAccumulator(str(OUT / "events" / "runs" / "tax"), size_guidance={"scalars": 0, "tensors": 0}).Reload()
    logged = [json.loads(line) for line in open(OUT / "events" / "metrics.jsonl", encoding="utf-8")]
    for tag, key in (("train/loss", "loss"), ("train/learning_rate", "learning_rate"), ("eval/loss", "eval_loss")):
        found = {e.step: e.value for e in board.Scalars(tag)}
        check(f"events, {tag}: steps that are not there once", len(board.Scalars(tag)) - len(found) + len(
            found.keys() ^ {line["step"] for line in logged if key in line}), 0)
        check(f"events, {tag}: largest relative difference", max(
            abs(found[line["step"]] - line[key]) / max(abs(line[key]), 1e-30) for line in logged if key in line), 1e-7)
    data = board.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    hparams = plugin_data_pb2.HParamsPluginData.FromString(data).session_start_info.hparams
    check("events: hyperparameters that TensorBoard reads otherwise", int(
        hparams["lora_r"].number_value != 4) + int(hparams["lr_scheduler_type"].string_value != "linear"), 0)
    text = board.Tensors("args/text_summary")[0].tensor_proto.string_val[0].decode()
    check("events: text without the learning rate", int("| learning_rate |" not in text), 0)


def main():
    common.use_two_threads()
    OUT.mkdir(parents=True, exist_ok=True)
    subprocess.run(["rm", "-rf", str(OUT / "base"), str(OUT / "merged"), str(OUT / "adapter"), str(OUT / "events")], check=True)
    for part in (converted_base, tokenizer, adapters, mixtures, merged, events):
        part()
    failed = [what for what, value, allowed in CHECKS if not value <= allowed]
    lines = ["| check | found | allowed |", "|---|---:|---:|"]
    lines += [f"| {what} | {value:.3g} | {allowed:g} |" for what, value, allowed in CHECKS]
    (WORK / "read_back.md").write_text("\n".join(lines) + "\n")
    if failed:
        sys.exit(f"read_back: error: {len(failed)} of {len(CHECKS)} checks failed: {'; '.join(failed)}")


if __name__ == "__main__":
    main()
