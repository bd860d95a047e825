#!/usr/bin/env python3
"""Run ft and its peers on the same inputs, each alone, in turn, and print one table of ratios.

    python3 scripts/peers/compare.py [STAGE...] [--runs 3] [--write FILE.md]

Stages: parity train-a train-b prep template merge loss generate (default: all); stages.py says what each
one runs. Runs alternate, the peer first; figures are medians, with the lowest and highest in brackets. Memory is
the kernel's peak for the process (ru_maxrss, MB of 10^6 bytes). Standard library only: the peers run in .venv.
--write puts read_back.py's last table below the ratios.
"""

import argparse
import datetime
import platform
import statistics
import sys
from pathlib import Path

from stages import PARITY_GRAD_NORM, PARITY_LOSS, ROOT, WORK, parity, prepare, stages


def machine():
    """One line: processor, cores, memory, system, versions."""
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")),
               platform.machine())
    cores = sum(line.startswith("processor") for line in open("/proc/cpuinfo"))
    memory = int(open("/proc/meminfo").readline().split()[1]) // 1000 ** 2
    pins = [line.strip() for line in open(ROOT / "scripts/peers/requirements.txt") if "==" in line]
    wanted = ("torch=", "transformers=", "peft=", "trl=", "datasets=", "pandas=")
    return (f"{cpu}, {cores} cores, {memory} GB; {platform.system()} {platform.release()}; "
            + ", ".join(p for p in pins if p.startswith(wanted)))


def spread(values, digits=3):
    low, middle, high = min(values), statistics.median(values), max(values)
    text = lambda v: f"{v:,.0f}" if v >= 100 else f"{v:.{digits}g}"
    return text(middle) + (f" [{text(low)}..{text(high)}]" if len(values) > 1 else "")


def compare(stage, runs):
    """Alternating runs of one stage; gives its table row and whether the goals are met."""
    theirs, ours = [], []
    for number in range(runs):
        theirs.append(stage.peer())
        ours.append(stage.ours())
        print(f"compare: {stage.what}: run {number + 1} of {runs}: {stage.peer_name} "
              f"{stage.peer_rate(theirs[-1]):,.4g}, ft {stage.rate(ours[-1]):,.4g} {stage.unit}", file=sys.stderr)
    median = lambda values: statistics.median(values)
    speed = median([stage.rate(r) for r in ours]) / median([stage.peer_rate(r) for r in theirs])
    memory = median([r.peak_mb for r in ours]) / median([r.peak_mb for r in theirs])
    met = speed >= stage.least_ratio and (stage.most_memory is None or memory <= stage.most_memory)
    goal = f"≥ {stage.least_ratio:g} ×" + (f", ≤ {stage.most_memory:.2f} of its memory" if stage.most_memory else "")
    cells = [stage.what, stage.peer_name, spread([stage.peer_rate(r) for r in theirs]),
             spread([stage.rate(r) for r in ours]), stage.unit, f"**{speed:.2f} ×**",
             spread([r.peak_mb for r in theirs]), spread([r.peak_mb for r in ours]), f"{memory:.2f}",
             goal, "yes" if met else "NO"]
    first = [[r.figures.get("first_step_s") for r in side] for side in (theirs, ours)]
    starts = None
    if all(None not in side for side in first):
        starts = f"| {stage.what} | {spread(first[0])} | {spread(first[1])} |"
    return "| " + " | ".join(cells) + " |", starts, met


def check_parity():
    """20 steps from one adapter on the same batches: the largest difference of loss and gradient norm."""
    loss, norm = parity()
    met = loss <= PARITY_LOSS and norm <= PARITY_GRAD_NORM
    line = (f"20 steps from the same adapter on the same ragged batches of real rows: every loss within {loss:.2g} "
            f"(allowed {PARITY_LOSS:g}), every gradient norm within {100 * norm:.2g} % "
            f"(allowed {100 * PARITY_GRAD_NORM:g} %): {'yes' if met else 'NO'}")
    print(f"compare: {line}", file=sys.stderr)
    return line, met


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = stages()
    parser.add_argument("stage", nargs="*")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--write", type=Path)
    given = parser.parse_args()
    chosen = given.stage or ["parity", *known]
    if unknown := set(chosen) - {"parity", *known}:
        parser.error(f"unknown stage '{sorted(unknown)[0]}': expected parity {' '.join(known)}")
    prepare()

    lines, rows, starts, met = [], [], [], []
    if "parity" in chosen:
        line, good = check_parity()
        lines += [line, ""]
        met.append(good)
    for name in chosen:
        if name != "parity":
            row, start, good = compare(known[name], given.runs)
            rows.append(row)
            starts += [start] if start else []
            met.append(good)
    if rows:
        lines += ["| stage | peer | peer | ft | | ratio | peer MB | ft MB | share | to reach | reached |",
                  "|---|---|---:|---:|---|---:|---:|---:|---:|---|---|", *rows, ""]
    if starts:
        lines += ["| seconds from the process's start to the first step | peer | ft |", "|---|---:|---:|", *starts, ""]
    table = "\n".join(lines)
    print(f"{machine()}\n\n{table}")
    if given.write:
        checks = WORK / "read_back.md"
        given.write.parent.mkdir(parents=True, exist_ok=True)
        given.write.write_text(
            f"# ft and its peers\n\nMade by `make peers` on {datetime.date.today()}, {given.runs} runs a side, medians.\n"
            f"{machine()}\n\n{table}\n"
            + (f"## Read back\n\n{checks.read_text()}" if checks.exists() else ""))
    if not all(met):
        sys.exit("compare: error: a goal of the table is not reached")


if __name__ == "__main__":
    main()
