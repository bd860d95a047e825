#!/usr/bin/env python3
"""Train LoRA with transformers' Trainer and peft on a tokens Parquet, rows in order, f32.

    .venv/bin/python scripts/peers/train_trainer.py --tokens .cache/peers/tokens_full.parquet --batch 4 --steps 20
        [--model FOLDER] [--adapter FOLDER] [--lr 2e-4] [--max-grad-norm 1.0] [--checkpointing] [--output FOLDER]

Prints one JSON line: per step loss and grad_norm (before clipping), real tokens/s over all
steps, seconds from the process's start to the first step, peak memory.
"""

import argparse
import time

import common
from common import SMOLLM2_HF, WORK

import pyarrow.parquet as pq
import torch
from peft import PeftModel
from torch.utils.data import SequentialSampler
from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments


class Clock(TrainerCallback):
    """When the first step began and the last one ended."""

    first = first_age = last = None

    def on_step_begin(self, args, state, control, **kwargs):
        if self.first is None:
            self.first, self.first_age = time.perf_counter(), common.seconds_since_exec()

    def on_step_end(self, args, state, control, **kwargs):
        self.last = time.perf_counter()


class InOrder(Trainer):
    """Rows in the file's order; each step's loss as it is, not rounded for the log."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.step_losses = []

    def _get_train_sampler(self, *args, **kwargs):
        return SequentialSampler(self.train_dataset)

    def training_step(self, *args, **kwargs):
        loss = super().training_step(*args, **kwargs)
        self.step_losses.append(loss.item())
        return loss


def collate(rows):
    """Pads on the right; what is padding has no label and no attention."""
    width = max(len(r["input_ids"]) for r in rows)
    fill = lambda key, value: torch.tensor([list(r[key]) + [value] * (width - len(r[key])) for r in rows])
    return {"input_ids": fill("input_ids", 0), "labels": fill("labels", -100),
            "attention_mask": torch.tensor([[1] * len(r["input_ids"]) + [0] * (width - len(r["input_ids"]))
                                            for r in rows])}


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default=SMOLLM2_HF)
    parser.add_argument("--adapter", default=WORK / "adapter_init")
    parser.add_argument("--tokens", required=True)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--max-grad-norm", type=float, default=1.0)
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--output", default=WORK / "trainer")
    return parser.parse_args()


def main():
    given = arguments()
    common.use_two_threads()
    model = AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, given.adapter, is_trainable=True)
    rows = pq.read_table(given.tokens, columns=["input_ids", "labels"]).to_pylist()[:given.batch * given.steps]
    settings = TrainingArguments(
        output_dir=str(given.output), per_device_train_batch_size=given.batch, max_steps=given.steps,
        learning_rate=given.lr, lr_scheduler_type="constant", weight_decay=0.0, max_grad_norm=given.max_grad_norm,
        optim="adamw_torch", logging_steps=1, save_strategy="no", report_to="none", disable_tqdm=True,
        gradient_checkpointing=given.checkpointing, bf16=False, use_cpu=True, remove_unused_columns=False,
        dataloader_pin_memory=False, seed=0)
    clock = Clock()
    trainer = InOrder(model=model, args=settings, train_dataset=rows, data_collator=collate, callbacks=[clock])
    trainer.train()
    model.save_pretrained(given.output)
    count = sum(len(r["input_ids"]) for r in rows)
    common.report(
        losses=trainer.step_losses,
        grad_norms=[float(e["grad_norm"]) for e in trainer.state.log_history if "grad_norm" in e],
        tokens=count, train_s=round(clock.last - clock.first, 3),
        tokens_per_second=round(count / (clock.last - clock.first), 2),
        first_step_s=round(clock.first_age, 3))


if __name__ == "__main__":
    main()
