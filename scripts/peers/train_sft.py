#!/usr/bin/env python3
"""Train LoRA with TRL's SFTTrainer as it comes, on the real accounting chats, f32.

    .venv/bin/python scripts/peers/train_sft.py [--rows 80] [--epochs 1] [--model FOLDER] [--output FOLDER]

TRL's defaults stay: batch 8, gradient checkpointing, its own templating, tokenising and
shuffling. Only bf16 is off (11 times slower on a CPU without it). Prints one JSON line:
real (not padding) tokens/s, padded tokens/s, seconds to the first step, peak memory.
"""

import argparse
import json

import common
from common import SMOLLM2_HF, WORK

from datasets import Dataset
from peft import LoraConfig
from trl import SFTConfig, SFTTrainer

from train_trainer import Clock


class Counting(SFTTrainer):
    """Counts what a step computes on: real tokens and padded ones."""

    real = padded = 0

    def training_step(self, model, inputs, *args, **kwargs):
        mask = inputs["attention_mask"]
        self.real += int(mask.sum())
        self.padded += mask.numel()
        return super().training_step(model, inputs, *args, **kwargs)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default=SMOLLM2_HF)
    parser.add_argument("--rows", type=int, default=80)
    parser.add_argument("--epochs", type=float, default=1)
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--output", default=WORK / "sft")
    given = parser.parse_args()
    common.use_two_threads()
    with open(WORK / "chats_train.jsonl", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file][:given.rows]
    settings = SFTConfig(output_dir=str(given.output), num_train_epochs=given.epochs, learning_rate=given.lr,
                         bf16=False, use_cpu=True, save_strategy="no", report_to="none", disable_tqdm=True,
                         logging_steps=1, dataloader_pin_memory=False)
    settings.model_init_kwargs = {"dtype": "float32"}
    clock = Clock()
    trainer = Counting(model=str(given.model), args=settings, train_dataset=Dataset.from_list(rows),
                       peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear",
                                              task_type="CAUSAL_LM"), callbacks=[clock])
    trainer.train()
    trainer.model.save_pretrained(given.output)
    took = clock.last - clock.first
    common.report(
        losses=[e["loss"] for e in trainer.state.log_history if "loss" in e],
        tokens=trainer.real, padded_tokens=trainer.padded, train_s=round(took, 3),
        tokens_per_second=round(trainer.real / took, 2), padded_tokens_per_second=round(trainer.padded / took, 2),
        first_step_s=round(clock.first_age, 3), batch=settings.per_device_train_batch_size,
        gradient_checkpointing=settings.gradient_checkpointing)


if __name__ == "__main__":
    main()
