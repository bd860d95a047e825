#!/usr/bin/env python3
"""Writes testdata/sampling/reference.json: what transformers' logits processors leave of logits, and greedy answers under a
repetition penalty.

    python3 -m venv V && V/bin/pip install torch transformers && V/bin/python scripts/make_sampling_reference.py
"""

import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, GenerationConfig

TESTDATA = Path(__file__).parent.parent / "testdata"

OPTIONS = [
    {"temperature": 1.0},
    {"temperature": 0.7},
    {"temperature": 1.8, "top_k": 5},
    {"top_k": 1},
    {"top_k": 500},
    {"top_p": 0.9},
    {"temperature": 0.6, "top_p": 0.5},
    {"top_p": 0.01},
    {"min_p": 0.05},
    {"temperature": 2.5, "min_p": 0.3},
    {"min_p": 1.0},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.8, "temperature": 0.5},
    {"temperature": 0.7, "top_k": 20, "top_p": 0.8},
    {"temperature": 1.3, "top_k": 12, "top_p": 0.95, "min_p": 0.1, "repetition_penalty": 1.1},
    {"top_p": 0.7, "min_p": 0.5, "repetition_penalty": 1.5},
]


def processors(model, options):
    """The processors that generate() makes of a generation_config.json which says no more than `options`."""
    config = GenerationConfig(do_sample=True, **({"top_k": 0} | options))
    config, _ = model._prepare_generation_config(config)
    model._prepare_special_tokens(config)
    return model._get_logits_processor(generation_config=config, input_ids_seq_length=4)


def distribution(model, logits, ids, options):
    scores = processors(model, options)(torch.tensor([ids]), torch.tensor([logits]))
    probabilities = torch.softmax(scores.double(), -1)[0]
    return [[i, p] for i, p in enumerate(probabilities.tolist()) if scores[0, i] != -float("inf")]


def main():
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_pretrained(TESTDATA / "reference/llama-s0/model", dtype=torch.float32)
    model.eval()
    vocabularies = [torch.randn(40) * 2.5, torch.randn(97) * 1.2, torch.cat([torch.randn(30) * 4, torch.full((6,), 1.5)])]
    cases = []
    for logits in vocabularies:
        logits, ids = logits.tolist(), torch.randint(len(logits), (6,)).tolist()
        found = [{"options": options, "left": distribution(model, logits, ids, options)} for options in OPTIONS]
        cases.append({"logits": logits, "input_ids": ids, "found": found})
    greedy = []
    for penalty in [1.0, 1.2, 1.8, 0.7]:
        for prompt in [[5, 9, 31], [1, 2, 3, 4, 5, 6, 7, 8], [77]]:
            ids = model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=16, eos_token_id=None,
                                 repetition_penalty=penalty, pad_token_id=0)
            greedy.append({"prompt": prompt, "repetition_penalty": penalty, "answer": ids[0, len(prompt):].tolist()})
    (TESTDATA / "sampling/reference.json").write_text(json.dumps({"cases": cases, "greedy": greedy}) + "\n")


if __name__ == "__main__":
    main()
