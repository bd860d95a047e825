#!/usr/bin/env python3
"""Make testdata/schedules/schedules.json: the learning rates of transformers' get_scheduler.

    .venv/bin/python scripts/make_schedule_reference.py

Each entry is a schedule as Trainer makes it: its type, lr_scheduler_kwargs, warmup_steps (below 1: a share of all
steps, as TrainingArguments.get_warmup_steps reads it), the number of steps, the peak, and [step, learning rate] pairs
of the steps in `at` (all steps of a short run).
"""

import json
import warnings
from pathlib import Path

import torch
import transformers
from transformers import TrainingArguments, get_scheduler

OUT = Path(__file__).resolve().parent.parent / "testdata" / "schedules" / "schedules.json"
WSD = {"num_decay_steps": 8}
KWARGS = {
    "linear": [{}],
    "cosine": [{}, {"num_cycles": 1.5}],
    "cosine_with_restarts": [{}, {"num_cycles": 3}],
    "cosine_with_min_lr": [{"min_lr": 1e-5}, {"min_lr_rate": 0.1, "num_cycles": 1.0}],
    "cosine_warmup_with_min_lr": [{"min_lr_rate": 0.1}, {"min_lr": 2e-5, "warmup_lr_rate": 0.2}],
    "polynomial": [{}, {"lr_end": 1e-5, "power": 2.5}],
    "constant": [{}],
    "constant_with_warmup": [{}],
    "inverse_sqrt": [{}, {"timescale": 100}],
    "warmup_stable_decay": [
        WSD,
        {**WSD, "min_lr_ratio": 0.1, "decay_type": "linear", "warmup_type": "cosine"},
        {**WSD, "min_lr_ratio": 0.05, "decay_type": "1-sqrt", "warmup_type": "1-sqrt"},
        {**WSD, "num_stable_steps": 3, "num_cycles": 0.25},
    ],
}
LENGTHS = [(1, 0), (13, 0), (13, 4), (37, 0.1), (1000, 30), (1000, 0.05)]


def sampled(steps):
    return [s for s in range(steps) if steps < 100 or s < 3 or s % 83 == 7 or s > steps - 12]


def rates(kind, kwargs, warmup, steps, peak):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)
    warmup_steps = TrainingArguments(output_dir="unused", warmup_steps=warmup).get_warmup_steps(steps)
    scheduler = get_scheduler(kind, optimizer, num_warmup_steps=warmup_steps, num_training_steps=steps,
                              scheduler_specific_kwargs=kwargs)
    at, found = set(sampled(steps)), []
    for step in range(steps):
        if step in at:
            found.append([step, optimizer.param_groups[0]["lr"]])
        optimizer.step()
        scheduler.step()
    return found


def main():
    warnings.simplefilter("ignore")
    cases = []
    for kind, settings in KWARGS.items():
        for kwargs in settings:
            for steps, warmup in LENGTHS:
                peak = 2e-4 if steps != 37 else 0.3
                cases.append({"lr_scheduler_type": kind, "lr_scheduler_kwargs": kwargs, "warmup_steps": warmup,
                              "steps": steps, "learning_rate": peak,
                              "rates": rates(kind, kwargs, warmup, steps, peak)})
    OUT.parent.mkdir(exist_ok=True)
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    OUT.write_text(f'{{"made_by": {json.dumps(versions)}, "cases": [\n{lines}\n]}}\n')
    print(f"{len(cases)} schedules in {OUT.name}, {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
