#!/usr/bin/env python3
"""The speed of few-bit weights beside f32's: training and generation with SmolLM2, alternating, as ratios of one run.

    scripts/few_bits.py [--rounds N] [--formats f32,8bit,4bit,as-is] [--bin FOLDER] [--out FILE]

Each round measures every format once: steps of 4 x 256 tokens with `ft-bench train`, and decoding of one sequence, of four
and of eight with `ft-bench generate`. Each figure is the difference of a long run and a short one, so that loading falls
out; both in seconds of the clock and in seconds of the processors, which a machine that others use too changes little. A
ratio is the median over the rounds of f32's time by the format's in the same round: above 1 is faster. `--formats` begins
with f32. Needs the model and target/release.
"""

import argparse
import pathlib
import resource
import statistics
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = ROOT / ".cache/models/SmolLM2-135M-Instruct.Q4_1.gguf"
TOKENS = 48
# What is measured: the name, the command, what makes it short and long, tokens between the two.
KINDS = [("training", "train --no-best-product", "--max-steps 1", "--max-steps 2", 1024)] + [
    (
        f"decoding, {n}",
        f"generate --prompt-len 4 --repeats 1 --batch-sizes {n}",
        "--max-new-tokens 4",
        f"--max-new-tokens {4 + TOKENS}",
        n * TOKENS,
    )
    for n in (1, 4, 8)
]


def spent(program, words):
    """Seconds of the clock and of the processors."""
    began, before = time.time(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([program, "-q", *words.split(), "--model", MODEL], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.time() - began, cpu


def one(program, load_in):
    """Of each kind the seconds a token, by the clock and by the processors."""
    found = {}
    for name, command, short, long, tokens in KINDS:
        less, more = (spent(program, f"{command} {part} --load-in {load_in}") for part in (short, long))
        found[name] = [max(b - a, 1e-6) / tokens for a, b in zip(less, more)]
    return found


def table(formats, rounds):
    kinds = [kind[0] for kind in KINDS]
    lines = [
        "Of each: tokens/s; f32's time by this one's, by the clock; the same by the processors.",
        "",
        "| `--load-in` | " + " | ".join(kinds) + " |",
        "|---|" + "---:|" * len(kinds),
    ]
    for name in formats:
        cells = []
        for kind in kinds:
            speed = 1 / statistics.median(r[name][kind][0] for r in rounds)
            ratios = [statistics.median(r[formats[0]][kind][i] / r[name][kind][i] for r in rounds) for i in (0, 1)]
            cells.append(f"{speed:.0f}; {ratios[0]:.2f}; {ratios[1]:.2f}")
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--formats", default="f32,8bit,4bit,as-is")
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "target/release")
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    formats = args.formats.split(",")
    rounds = []
    for i in range(args.rounds):
        rounds.append({name: one(args.bin / "ft-bench", name) for name in formats})
        print(f"after round {i + 1}\n\n{table(formats, rounds)}\n", flush=True)
    if args.out:
        args.out.write_text(table(formats, rounds) + "\n")


if __name__ == "__main__":
    main()
