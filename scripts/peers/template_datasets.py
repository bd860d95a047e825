#!/usr/bin/env python3
"""Render the chat template and tokenise with datasets.map.

    .venv/bin/python scripts/peers/template_datasets.py [pairs.jsonl] [OUT.parquet] [--num-proc N] [--model FOLDER]

One apply_chat_template and one tokenisation a row, batched; no loss mask is made, which
spares the peer work that ft-template does.
"""

import argparse
import resource
import time

import common
from common import SMOLLM2_HF, WORK

import datasets
from transformers import AutoTokenizer


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("source", nargs="?", default=WORK / "pairs.jsonl")
    parser.add_argument("target", nargs="?", default=WORK / "datasets.parquet")
    parser.add_argument("--num-proc", type=int, default=None)
    parser.add_argument("--model", default=SMOLLM2_HF)
    given = parser.parse_args()
    datasets.disable_caching()
    tokenizer = AutoTokenizer.from_pretrained(given.model)
    rows = datasets.load_dataset("json", data_files=str(given.source), split="train",
                                 cache_dir=str(WORK / "datasets-cache"))

    def encode(batch):
        texts = tokenizer.apply_chat_template(batch["messages"], tokenize=False)
        ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
        return {"text": texts, "input_ids": ids, "length": [len(i) for i in ids]}

    start = time.perf_counter()
    done = rows.map(encode, batched=True, num_proc=given.num_proc, remove_columns=["messages"])
    took = time.perf_counter() - start
    done.to_parquet(str(given.target))
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
    common.report(rows=len(done), tokens=sum(done["length"]), map_s=round(took, 3),
                  rows_per_second=round(len(done) / took, 1), largest_child_mb=round(children, 1))


if __name__ == "__main__":
    main()
