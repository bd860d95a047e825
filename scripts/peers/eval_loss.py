#!/usr/bin/env python3
"""Evaluation loss of a tokens Parquet with Trainer.evaluate.

    .venv/bin/python scripts/peers/eval_loss.py [TOKENS.parquet] [--model FOLDER] [--adapter FOLDER] [--batch 8]
"""

import argparse
import time

import common
from common import SMOLLM2_HF, WORK

import pyarrow.parquet as pq
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

from train_trainer import collate


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tokens", nargs="?", default=WORK / "tokens_eval.parquet")
    parser.add_argument("--model", default=SMOLLM2_HF)
    parser.add_argument("--adapter")
    parser.add_argument("--batch", type=int, default=8)
    given = parser.parse_args()
    common.use_two_threads()
    model = AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.float32)
    if given.adapter:
        model = PeftModel.from_pretrained(model, given.adapter)
    rows = pq.read_table(given.tokens, columns=["input_ids", "labels"]).to_pylist()
    settings = TrainingArguments(output_dir=str(WORK / "eval"), per_device_eval_batch_size=given.batch,
                                 report_to="none", disable_tqdm=True, use_cpu=True, bf16=False,
                                 prediction_loss_only=True, remove_unused_columns=False, dataloader_pin_memory=False)
    trainer = Trainer(model=model, args=settings, eval_dataset=rows, data_collator=collate)
    loaded = common.seconds_since_exec()
    start = time.perf_counter()
    metrics = trainer.evaluate()
    took = time.perf_counter() - start
    count = sum(len(r["input_ids"]) for r in rows)
    common.report(trainer_loss=metrics["eval_loss"], loss=token_mean(model, rows, given.batch), tokens=count,
                  work_s=round(took, 3), tokens_per_second=round(count / took, 1), loaded_s=round(loaded, 3))


@torch.no_grad()
def token_mean(model, rows, batch):
    """Mean over all labelled tokens. Trainer's own figure is a mean of batch means: another number on ragged rows."""
    if all(len(r["input_ids"]) == len(rows[0]["input_ids"]) for r in rows):
        return None  # the same number there, and the time is not spent twice
    total, count = 0.0, 0
    for i in range(0, len(rows), batch):
        inputs = collate(rows[i:i + batch])
        labelled = int((inputs["labels"][:, 1:] != -100).sum())
        total += model(**inputs).loss.item() * labelled
        count += labelled
    return total / count


if __name__ == "__main__":
    main()
