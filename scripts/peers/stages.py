"""What compare.py runs: for each stage the peer's command, ours, the figure and the goal. Standard library only."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
WORK = ROOT / ".cache" / "peers"
OUT = WORK / "compare"
GGUF = ROOT / ".cache" / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
FOLDER = ROOT / ".cache" / "models" / "SmolLM2-135M-Instruct-f32"
ENVIRONMENT = os.environ | {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "2", "RAYON_NUM_THREADS": "2"}
PARITY_LOSS, PARITY_GRAD_NORM = 1e-3, 1e-2


@dataclass
class Run:
    """What one process took, and the figures that it printed or wrote."""

    seconds: float
    peak_mb: float
    figures: dict = field(default_factory=dict)


@dataclass
class Stage:
    """One comparison. `rate` and `peer_rate` give units a second of a run."""

    what: str
    peer_name: str
    peer: Callable[[], Run]
    ours: Callable[[], Run]
    unit: str
    least_ratio: float
    most_memory: float | None = None
    rate: Callable[[Run], float] = lambda run: run.figures["tokens_per_second"]
    peer_rate: Callable[[Run], float] = lambda run: run.figures["tokens_per_second"]


def execute(command):
    """Runs a command alone, to its end; gives the run and its stdout. Peak memory comes from wait4."""
    log, out = OUT / "stderr.txt", OUT / "stdout.txt"
    with open(log, "wb") as errors, open(out, "wb") as output:
        start = time.perf_counter()
        process = subprocess.Popen([str(c) for c in command], stdout=output, stderr=errors, cwd=ROOT, env=ENVIRONMENT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        tail = "\n".join(log.read_text(errors="replace").strip().splitlines()[-5:])
        sys.exit(f"compare: error: {' '.join(map(str, command))} ended with {process.returncode}:\n{tail}")
    return Run(seconds, usage.ru_maxrss * 1024 / 1e6), out.read_text(errors="replace")


def peer(script, *arguments):
    """One of scripts/peers: its figures are the JSON object on its last line."""
    run, out = execute([ROOT / ".venv/bin/python", ROOT / "scripts/peers" / script, *arguments])
    run.figures = json.loads(out.strip().splitlines()[-1])
    return run


def ft(tool, *arguments, report=None):
    """One of our programs; `report` is the JSON file that it writes its figures to."""
    run, _ = execute([ROOT / "target/release" / tool, "--quiet", *arguments])
    if report:
        run.figures = json.loads(Path(report).read_text())
    return run


def fresh(name):
    """A path below the scratch folder where nothing lies."""
    path = OUT / name
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    return path


def ft_train(tokens, batch, steps, *more):
    folder = fresh("ft-train")
    run = ft("ft-train", "--model", GGUF, "--train", tokens, "--output-dir", folder, "--max-steps", steps,
             "--per-device-train-batch-size", batch, "--learning-rate", "2e-4", "--lr-scheduler-type", "constant",
             "--weight-decay", 0, "--max-grad-norm", 1, "--logging-steps", 1, "--save-strategy", "no", *more)
    results, record = (json.loads((folder / name).read_text()) for name in ("train_results.json", "run.json"))
    log = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [entry for entry in log if "grad_norm" in entry]
    run.figures = {"tokens_per_second": results["train_tokens_per_second"],
                   "first_step_s": record["seconds_to_first_step"],
                   "losses": [e["loss"] for e in steps], "grad_norms": [e["grad_norm"] for e in steps]}
    return run


def ft_report(name, tool, *arguments):
    path = fresh(name)
    return ft(tool, *arguments, "--report", path, report=path)


def parity():
    """Largest difference of the loss, and of the gradient norm relative to the peer's, over 20 steps."""
    real, init = WORK / "tokens_real.parquet", WORK / "adapter_init"
    theirs = peer("train_trainer.py", "--tokens", real, "--batch", 4, "--steps", 20).figures
    ours = ft_train(real, 4, 20, "--init-adapter", init, "--no-shuffle").figures
    if not len(theirs["losses"]) == len(ours["losses"]) == 20:
        sys.exit(f"compare: error: {len(theirs['losses'])} and {len(ours['losses'])} logged steps, expected 20 and 20")
    (OUT / "parity.json").write_text(json.dumps({"peer": theirs, "ft": ours}, indent=1))
    return (max(abs(a - b) for a, b in zip(theirs["losses"], ours["losses"])),
            max(abs(a - b) / a for a, b in zip(theirs["grad_norms"], ours["grad_norms"])))


def prepare():
    """What ft makes once for its own side: rows of the pairs, prompts of the questions."""
    if not (ROOT / ".venv/ft-complete").exists() or not (WORK / ".questions.done").exists():
        sys.exit("compare: error: the peers' environment or inputs are missing: run scripts/peers/run.sh")
    OUT.mkdir(parents=True, exist_ok=True)
    ft("ft-prep", WORK / "pairs.jsonl", "-o", OUT / "pairs.parquet")
    ft("ft-prep", WORK / "questions.jsonl", "-o", OUT / "questions_rows.parquet")
    ft("ft-template", "--model", GGUF, "--mode", "test", OUT / "questions_rows.parquet",
       "-o", OUT / "questions.parquet")


def stages():
    full, real, init = WORK / "tokens_full.parquet", WORK / "tokens_real.parquet", WORK / "adapter_init"
    noise, evaluation = WORK / "adapter_noise", WORK / "tokens_eval.parquet"
    return {
        "train-a": Stage(
            "training, rows of 256 tokens, batch 4, r 16, all-linear, f32", "Trainer + peft, no checkpointing",
            lambda: peer("train_trainer.py", "--tokens", full, "--batch", 4, "--steps", 8),
            lambda: ft_train(full, 4, 8, "--init-adapter", init, "--no-shuffle"),
            "tokens/s", 1.15, 1 / 3),
        "train-b": Stage(
            "training, 80 real accounting chats, batch 8 (real tokens)", "TRL SFTTrainer as it comes",
            lambda: peer("train_sft.py", "--rows", 80),
            lambda: ft_train(real, 8, 10),
            "tokens/s", 3, 1 / 4),
        "prep": Stage(
            "1,000,000 rows of CSV, split, to Parquet (whole process)", "pandas + scikit-learn",
            lambda: peer("prep_pandas.py", WORK / "qa.csv", fresh("pandas")),
            lambda: ft("ft-prep", "--input-column", "question", "--output-column", "answer", "--test-size", "0.1",
                       "--seed", 42, WORK / "qa.csv", "-o", fresh("prep")),
            "rows/s", 3, None, lambda run: 1e6 / run.seconds, lambda run: 1e6 / run.seconds),
        "template": Stage(
            "50,000 chats templated and tokenised (peer: map alone; ft: whole process)", "datasets.map",
            lambda: peer("template_datasets.py", WORK / "pairs.jsonl", fresh("datasets.parquet")),
            lambda: ft("ft-template", "--model", GGUF, OUT / "pairs.parquet", "-o", fresh("template.parquet")),
            "rows/s", 4, None, lambda run: 50_000 / run.seconds, lambda run: run.figures["rows_per_second"]),
        "merge": Stage(
            "merge and save in f32 (whole process)", "peft merge_and_unload",
            lambda: peer("merge_peft.py", FOLDER, noise, fresh("merged-peft")),
            lambda: ft("ft-merge", "--model", FOLDER, "--adapter", noise, "--dtype", "f32", "-o", fresh("merged")),
            "merges/s", 10, 1 / 10, lambda run: 1 / run.seconds, lambda run: 1 / run.seconds),
        "loss": Stage(
            "evaluation loss, 64 rows of 256 tokens, batch 8", "Trainer.evaluate",
            lambda: peer("eval_loss.py", evaluation),
            lambda: ft_report("loss.json", "ft-eval", "loss", "--model", GGUF, evaluation),
            "tokens/s", 1.2),
        "generate": Stage(
            "greedy generation, batch 8, 64 new tokens", "transformers generate",
            lambda: peer("generate_hf.py"),
            lambda: ft_report("generate.json", "ft-eval", "generate", "--model", GGUF, "--batch-size", 8,
                              "--max-new-tokens", 64, OUT / "questions.parquet", "-o", fresh("answers.parquet")),
            "tokens/s", 3),
    }
