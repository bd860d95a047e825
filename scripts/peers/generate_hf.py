#!/usr/bin/env python3
"""Greedy generation with transformers: batch 8, 64 new tokens each, left padding, KV cache.

    .venv/bin/python scripts/peers/generate_hf.py [--prompts FILE.jsonl] [--model FOLDER] [--new-tokens 64] [--batch 8]

Prompts are JSON lines with `prompt`, a list of messages; by default the eight questions of
.cache/peers/questions.jsonl (make_inputs.py), whose answers are longer than that.
"""

import argparse
import json
import time

import common
from common import SMOLLM2_HF, WORK

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--prompts", default=WORK / "questions.jsonl")
    parser.add_argument("--model", default=SMOLLM2_HF)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    given = parser.parse_args()

    common.use_two_threads()
    tokenizer = AutoTokenizer.from_pretrained(given.model, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.float32).eval()
    with open(given.prompts, encoding="utf-8") as file:
        rows = [json.loads(line)["prompt"] for line in file]
    loaded = common.seconds_since_exec()
    answers, emitted, start = [], 0, time.perf_counter()
    for i in range(0, len(rows), given.batch):
        inputs = tokenizer.apply_chat_template(rows[i:i + given.batch], add_generation_prompt=True, padding=True,
                                               return_tensors="pt", return_dict=True)
        out = model.generate(**inputs, do_sample=False, max_new_tokens=given.new_tokens)
        for row in out[:, inputs["input_ids"].shape[1]:].tolist():
            end = row.index(tokenizer.eos_token_id) + 1 if tokenizer.eos_token_id in row else len(row)
            answers.append(row[:end])
            emitted += end
    took = time.perf_counter() - start
    common.report(tokens=emitted, work_s=round(took, 3), tokens_per_second=round(emitted / took, 2),
                  loaded_s=round(loaded, 3), ids=answers)


if __name__ == "__main__":
    main()
