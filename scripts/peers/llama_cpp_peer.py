#!/usr/bin/env python3
"""Does llama.cpp read the GGUF files that ft-merge writes, and answer as ft-eval does? Prints a table; fails when a check
fails.

    .venv/bin/python scripts/peers/llama_cpp_peer.py

Needs target/release/ft-*, .cache/models (scripts/fetch model gemma), and llama-cpp-python with gguf, numpy, pyarrow and
safetensors (scripts/peers/setup.sh). One model at a time; about ten minutes on two cores.
"""

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from gguf import GGUFReader
from safetensors.numpy import load_file

import llama_cpp
from llama_cpp import Llama

ROOT = Path(__file__).resolve().parent.parent.parent
MODELS = Path(os.environ.get("FT_MODELS", ROOT / ".cache" / "models"))
OUT = Path(os.environ.get("FT_PEER_OUT", ROOT / ".cache" / "peers" / "llama_cpp"))
REFERENCE = ROOT / "testdata" / "reference"
CHECKS = []
# Each family's reference model, with how far logits may be apart, over the largest: of the GELU llama.cpp computes the
# approximation, from a table of 16 bits. Not here are models with a window that llama.cpp does not have, and YaRN: of
# that llama.cpp's own converter writes the same bytes (the tests of ft-merge), and llama.cpp turns the tiny model's 12
# pairs otherwise than transformers from either file.
FAMILIES = {"llama3_rope-s5": 1e-4, "llama_linear_rope-s3": 1e-4, "llama_tied_bias-s2": 1e-4, "mistral_full-s10": 1e-4,
            "qwen2_tied-s12": 1e-4, "qwen3-s13": 1e-4, "phi3_longrope-s16": 1e-4, "gemma-s17": 1e-3, "gemma2-s18": 1e-3,
            "gemma3_text-s20": 1e-3, "smollm3-s22": 1e-4, "olmo2-s24": 1e-4, "granite-s26": 1e-4, "gpt2-s28": 1e-3,
            "gpt_neox-s30": 1e-3, "phi-s32": 1e-3, "starcoder2-s54-bias-all": 1e-3, "mixtral-s36": 1e-4,
            "qwen3_moe-s38": 1e-4}
FILE_TYPES = {"q8_0": 7, "q4_0": 2, "q4_1": 3, "q4_k_m": 15, "q5_k_m": 17, "q6_k": 18}


def ft(tool, *arguments):
    command = [str(ROOT / "target" / "release" / tool), "--quiet", *map(str, arguments)]
    done = subprocess.run(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    if done.returncode != 0:
        sys.exit(f"llama_cpp_peer: error: {' '.join(command)}\n{done.stderr.strip()}")


def check(what, value, allowed):
    CHECKS.append((what, value, allowed))
    print(f"{'ok    ' if value <= allowed else 'FAILED'} {what:78} {value:10.3g}  (at most {allowed:g})", flush=True)


def load(path, **more):
    return Llama(str(path), n_ctx=1024, n_threads=2, n_batch=512, verbose=False, logits_all=True,
                 type_k=llama_cpp.GGML_TYPE_F32, type_v=llama_cpp.GGML_TYPE_F32, flash_attn=False, **more)


def logits(model, ids):
    """[len(ids), vocabulary]"""
    model.reset()
    model.eval(list(ids))
    return np.array(model.scores[: len(ids)], dtype=np.float64)


def loss(model, rows):
    """The mean loss over all labelled tokens."""
    total, count = 0.0, 0
    for row in rows:
        scores = logits(model, row["input_ids"])[:-1]
        labels = np.array(row["labels"][1:])
        scores -= scores.max(axis=1, keepdims=True)
        nll = np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(len(labels)), np.maximum(labels, 0)]
        total, count = total + nll[labels >= 0].sum(), count + (labels >= 0).sum()
    return total / count


def greedy(model, ids, most):
    """The answer's ids, up to the end token, that included, and by how much each was better than the second best."""
    model.reset()
    model.eval(list(ids))
    found, leads = [], []
    while len(found) < most:
        scores = model.scores[model.n_tokens - 1]
        second, first = np.partition(scores, -2)[-2:]
        found.append(int(np.argmax(scores)))
        leads.append(float(first - second))
        if llama_cpp.llama_vocab_is_eog(model._model.vocab, found[-1]):
            break
        model.eval(found[-1:])
    return found, leads


def parts_ways(ours, theirs, near):
    """Whether an answer differs from llama.cpp's at a token that was better there than the second best by more than
    `near`."""
    found, leads = theirs
    at = next((i for i, (a, b) in enumerate(zip(ours, found)) if a != b), None)
    if at is None:
        return len(ours) != len(found)
    return leads[at] > near


def families():
    """Each family's small reference model, from its folder, against transformers' logits."""
    for name, allowed in FAMILIES.items():
        file = OUT / "family.gguf"
        ft("ft-merge", "--model", REFERENCE / name / "model", "--to", "gguf", "--quantize", "f32", "--overwrite", "-o", file)
        data = load_file(REFERENCE / name / "data.safetensors")
        model = load(file)
        apart, largest = 0.0, np.abs(data["logits"]).max()
        for ids, mask, expected in zip(data["input_ids"], data["attention_mask"], data["logits"]):
            keep = mask.astype(bool)
            apart = max(apart, np.abs(logits(model, ids[keep]) - expected[keep]).max())
        check(f"{name} in llama.cpp: logits against transformers', over the largest", apart / largest, allowed)
        del model


def adapters_apart():
    """Adapters as files of their own, against the same ones merged, both in llama.cpp."""
    for name in ("llama-s0", "llama-s0-rslora", "llama-s44-patterns", "gemma2-s18", "gpt2-s28", "gpt_neox-s30", "phi3_longrope-s16",
                 "qwen3-s13", "mixtral-s36", "qwen3_moe-s38", "llama-s58-target-head"):
        case, base, lora, merged = REFERENCE / name, OUT / "base.gguf", OUT / "lora.gguf", OUT / "merged.gguf"
        to = ["--overwrite", "--to"]
        ft("ft-merge", "--model", case / "model", *to, "gguf", "--quantize", "f32", "-o", base)
        ft("ft-merge", "--model", case / "model", "--adapter", case / "adapter_final", *to, "gguf-lora", "-o", lora)
        ft("ft-merge", "--model", case / "model", "--adapter", case / "adapter_final", *to, "gguf", "--quantize", "f32", "-o", merged)
        ids = load_file(case / "data.safetensors")["input_ids"][0]
        bare, apart, whole = (logits(load(path, **more), ids) for path, more in (
            (base, {}), (base, {"lora_path": str(lora)}), (merged, {})))
        check(f"{name}: adapter apart against merged, over what it changes",
              np.abs(apart - whole).max() / np.abs(whole - bare).max(), 1e-3)


def ft_rows(base, how):
    """Prompts and labelled rows: the tax questions, through the model's own template or as plain text."""
    prompts, rows = OUT / "prompts.parquet", OUT / "rows.parquet"
    ft("ft-prep", ROOT / "testdata" / "samples" / "taxes.jsonl", "-o", OUT / "examples.parquet")
    ft("ft-template", "--model", base, *how, "--mode", "test", OUT / "examples.parquet", "-o", prompts)
    ft("ft-template", "--model", base, *how, "--labels", "all", OUT / "examples.parquet", "-o", rows)
    return pq.read_table(prompts).to_pylist(), pq.read_table(rows).to_pylist()


def ft_loss(model, *more):
    ft("ft-eval", "loss", "--model", model, *more, OUT / "rows.parquet", "--limit", 8, "--report", OUT / "loss.json")
    return json.loads((OUT / "loss.json").read_text())["loss"]


def ft_answers(model, *more):
    ft("ft-eval", "generate", "--model", model, *more, OUT / "prompts.parquet", "--limit", 4, "--max-new-tokens", 32,
       "-o", OUT / "answers.parquet")
    return [row["output_ids"] for row in pq.read_table(OUT / "answers.parquet").to_pylist()]


def tensors(path):
    return {t.name: (t.tensor_type, t.shape.tolist(), np.asarray(t.data)) for t in GGUFReader(path).tensors}


def unlike(ours, theirs):
    """How many tensors differ in their name, type, shape or a byte."""
    differ = [n for n in ours.keys() | theirs.keys() if n not in ours or n not in theirs or ours[n][:2] != theirs[n][:2]
              or not np.array_equal(ours[n][2].view(np.uint8), theirs[n][2].view(np.uint8))]
    if differ:
        print("       ", differ[:6], flush=True)
    return len(differ)


def quantised_by_llama_cpp(source, to, number):
    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype, settings.nthread = number, 2
    status = llama_cpp.llama_model_quantize(str(source).encode(), str(to).encode(), ctypes.byref(settings))
    assert status == 0, f"llama_model_quantize: {status}"


def real(name, base, how, kinds):
    """A real model in every type: read by gguf, the same bytes as llama.cpp's quantiser, its loss and answers."""
    prompts, rows = ft_rows(base, how)
    full = OUT / f"{name}.f32.gguf"
    ft("ft-merge", "--model", base, "--to", "gguf", "--quantize", "f32", "--overwrite", "-o", full)
    for kind in kinds:
        file = full if kind == "f32" else OUT / f"{name}.{kind}.gguf"
        ft("ft-merge", "--model", base, "--to", "gguf", "--quantize", kind, "--overwrite", "-o", file)
        reader = GGUFReader(file)
        check(f"{name} {kind}: fields that gguf's reader lacks", sum(
            key not in reader.fields for key in ("general.architecture", "tokenizer.ggml.tokens", "general.file_type")), 0)
        if kind in FILE_TYPES:
            theirs = OUT / f"{name}.{kind}.theirs.gguf"
            quantised_by_llama_cpp(full, theirs, FILE_TYPES[kind])
            check(f"{name} {kind}: tensors unlike those of llama.cpp's own quantiser", unlike(tensors(file), tensors(theirs)), 0)
            theirs.unlink()
        model = load(file)
        text = "Income tax, 1234 and 3.5 %: naïve? I've\n\n  two\tlines 🚀"
        with_ids = model.tokenize(text.encode(), add_bos=False, special=True)
        check(f"{name} {kind}: a text comes back otherwise from llama.cpp's tokenizer", int(
            model.detokenize(with_ids).decode().strip() != text), 0)
        here, there = ft_loss(file), loss(model, rows[:8])
        check(f"{name} {kind}: loss here and in llama.cpp, relative", abs(here - there) / here,
              1e-3 if kind in ("f32", "f16", "bf16") else 2e-2)
        if kind in ("f32", "f16", "q8_0"):
            # llama.cpp rounds activations to eight bits before products with blocks: where its two best tokens are closer
            # than that moves them, either may come.
            near = 0.0 if kind == "f32" else 0.05 if kind == "f16" else 0.5
            answers = ft_answers(file)
            found = [greedy(model, row["input_ids"], 32) for row in prompts[:4]]
            check(f"{name} {kind}: answers that differ but at a near tie of {near}", sum(
                parts_ways(a, b, near) for a, b in zip(answers, found, strict=True)), 0)
        del model
        if kind != "f32":
            file.unlink()


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    kinds = ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q4_k_m", "q5_k_m", "q6_k"]
    only = sys.argv[1:] or ["families", "smollm2", "gemma"]
    if "families" in only:
        families()
        adapters_apart()
    if "smollm2" in only:
        real("smollm2", MODELS / "SmolLM2-135M-Instruct.Q4_1.gguf", [], kinds)
    if "gemma" in only:
        plain = ["--chat-template", ROOT / "scripts" / "plain_chat.jinja"]
        real("gemma-3-270m", MODELS / "gemma-3-270m.Q4_K_M.gguf", plain, ["f16", "q8_0", "q4_k_m"])
    lines = ["| check | found | allowed |", "|---|---:|---:|"]
    lines += [f"| {what} | {value:.3g} | {allowed:g} |" for what, value, allowed in CHECKS]
    (OUT / "llama_cpp.md").write_text("\n".join(lines) + "\n")
    failed = [what for what, value, allowed in CHECKS if not value <= allowed]
    if failed:
        sys.exit(f"llama_cpp_peer: error: {len(failed)} of {len(CHECKS)} checks failed: {'; '.join(failed)}")


if __name__ == "__main__":
    main()
