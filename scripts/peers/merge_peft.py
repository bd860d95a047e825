#!/usr/bin/env python3
"""Merge an adapter into its base with peft and save it in f32.

    .venv/bin/python scripts/peers/merge_peft.py [MODEL] [ADAPTER] [FOLDER]
"""

import sys

import common
from common import SMOLLM2_HF, WORK

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM


def main():
    model, adapter, folder = (sys.argv[1:] + [SMOLLM2_HF, WORK / "adapter_noise", WORK / "merged-peft"][len(sys.argv) - 1:])[:3]
    common.use_two_threads()
    imported = common.seconds_since_exec()
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    PeftModel.from_pretrained(base, adapter).merge_and_unload().save_pretrained(folder)
    common.report(work_s=round(common.seconds_since_exec() - imported, 3))


if __name__ == "__main__":
    main()
