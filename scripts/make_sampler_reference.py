#!/usr/bin/env python3
"""Make testdata/samplers/samplers.json: trl's packing and transformers' grouping of the same lengths.

    .venv/bin/python scripts/make_sampler_reference.py

lengths   rows as data sets of chats have them: most short, a few long (a log-normal distribution)
packing   for each length of a packed sequence the bins of trl's best-fit decreasing
grouping  for each step of `size` items, cut into micro-batches of `micro_batch`: the tokens that padding to the longest
          of a micro-batch computes, mean and deviation over 40 seeds of LengthGroupedSampler and of a plain shuffle
"""

import json
import random
import statistics
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import torch
from transformers.trainer_pt_utils import get_length_grouped_indices
from trl.data_utils import _pack_bfd

OUT = Path(__file__).resolve().parent.parent / "testdata" / "samplers" / "samplers.json"
ROWS, SEEDS = 1500, 40


def lengths():
    draw = random.Random(11)
    return [min(1000, max(1, int(draw.lognormvariate(4.6, 0.8)))) for _ in range(ROWS)]


def packed(rows, length):
    ids = pa.array([[row] * n for row, n in enumerate(rows)], type=pa.list_(pa.int64()))
    table = _pack_bfd(pa.table({"ids": ids}), length)
    return [list(dict.fromkeys(bin_ids)) for bin_ids in table["ids"].to_pylist()]


def padded(order, rows, size, micro_batch):
    total = 0
    for start in range(0, len(order), size):
        step = order[start:start + size]
        for cut in range(0, len(step), micro_batch):
            part = [rows[i] for i in step[cut:cut + micro_batch]]
            total += max(part) * len(part)
    return total


def statistics_of(draw, rows, size, micro_batch):
    totals = [padded(draw(seed), rows, size, micro_batch) for seed in range(SEEDS)]
    return {"mean": statistics.mean(totals), "deviation": statistics.stdev(totals)}


def grouping(rows, size, micro_batch):
    def grouped(seed):
        return get_length_grouped_indices(rows, size, generator=torch.Generator().manual_seed(seed))

    def shuffled(seed):
        return torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()

    return {"size": size, "micro_batch": micro_batch, "grouped": statistics_of(grouped, rows, size, micro_batch),
            "shuffled": statistics_of(shuffled, rows, size, micro_batch)}


def main():
    rows = lengths()
    made_by = {name: version(name) for name in ("transformers", "trl", "torch", "pyarrow")}
    packing = ",\n".join(json.dumps({"max_seq_length": n, "bins": packed(rows, n)}, separators=(",", ":"))
                         for n in (1000, 1024, 2048, 4096))
    groups = ",\n".join(json.dumps(grouping(rows, size, micro)) for size, micro in ((8, 8), (8, 2), (32, 4), (64, 64)))
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(f'{{"made_by": {json.dumps(made_by)},\n"lengths": {json.dumps(rows, separators=(",", ":"))},\n'
                   f'"packing": [\n{packing}\n],\n"grouping": [\n{groups}\n]}}\n')
    print(f"{ROWS} rows in {OUT.name}, {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
