#!/usr/bin/env python3
"""Does 'ft-eval choice --format mmlu' find what lm-eval finds, question by question? Fails where it does not.

    .venv/bin/python scripts/peers/lm_eval_mmlu.py [FOLDER] [QUESTIONS]

MMLU professional accounting of .cache/, two examples from its dev split, SmolLM2 in f32. lm-eval's own task file, over
the local rows.
"""

import subprocess
import sys
from pathlib import Path

import common
from common import DATA, ROOT, SMOLLM2_HF, WORK

import lm_eval
import pyarrow.parquet as pq
import yaml
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM

SHOTS = 2
SUBJECT = "professional_accounting"
ALLOWED = 1e-3


def task():
    file = Path(lm_eval.__file__).parent / "tasks/mmlu/default/_default_template_yaml"
    config = yaml.safe_load(file.read_text())
    for key in ["dataset_name", "metadata"]:
        config.pop(key, None)
    files = {split: str(DATA / "mmlu" / SUBJECT / f"{split}.arrow") for split in ["test", "dev"]}
    config |= {
        "task": SUBJECT, "dataset_path": "arrow", "dataset_kwargs": {"data_files": files},
        "description": f"The following are multiple choice questions (with answers) about {SUBJECT.replace('_', ' ')}.\n\n",
    }
    return ConfigurableTask(config=config)


def theirs(folder, questions):
    common.use_two_threads()
    model = HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=1)
    result = lm_eval.simple_evaluate(model, tasks=[task()], num_fewshot=SHOTS, limit=questions, log_samples=True,
                                     bootstrap_iters=0)
    samples = sorted(result["samples"][SUBJECT], key=lambda sample: sample["doc_id"])
    return [([float(r[0]) for r in sample["filtered_resps"]], bool(sample["acc"])) for sample in samples]


def ours(folder, questions):
    rows, data = WORK / "mmlu.parquet", DATA / "mmlu" / SUBJECT
    WORK.mkdir(parents=True, exist_ok=True)
    subprocess.run([ROOT / "target/release/ft-eval", "--quiet", "choice", "--model", folder, data / "test.arrow", "--format",
                    "mmlu", "--num-fewshot", str(SHOTS), "--fewshot", data / "dev.arrow", "--limit", str(questions),
                    "-o", rows, "--report", "/dev/null"], check=True, cwd=ROOT)
    table = pq.read_table(rows)
    return list(zip(table["log_likelihoods"].to_pylist(), table["acc"].to_pylist()))


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else SMOLLM2_HF
    questions = int(sys.argv[2]) if len(sys.argv) > 2 else 24
    left, right = ours(folder, questions), theirs(folder, questions)
    largest = max(abs(a - b) for (ours, _), (theirs, _) in zip(left, right, strict=True)
                  for a, b in zip(ours, theirs, strict=True))
    same = sum(a[1] == b[1] for a, b in zip(left, right))
    ok = largest <= ALLOWED and same == questions
    print(f"{'ok    ' if ok else 'FAILED'} lm-eval {lm_eval.__version__}, {questions} questions of MMLU: log-likelihoods differ by "
          f"{largest:.2g} at most (allowed {ALLOWED:g}), {same} answered alike")
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
