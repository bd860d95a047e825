#!/usr/bin/env python3
"""The speed of few-bit weights beside f32's: training and generation with SmolLM2, alternating, as ratios of one run.

    scripts/few_bits.py [--rounds N] [--steps N] [--formats f32,bf16,8bit,4bit,as-is] [--bin FOLDER] [--out FILE]

Each round measures every format once with `ft-bench train` (4 x 256 tokens a step) and `ft-bench generate` (128 tokens of
prompt, 32 new ones; one sequence, four, eight); a ratio is the median over the rounds of a format's tokens/s by f32's of
the same round, so that a machine that others use falls out. `--formats` begins with f32. Needs the model and target/release.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = ROOT / ".cache/models/SmolLM2-135M-Instruct.Q4_1.gguf"
BATCHES = (1, 4, 8)


def measured(program, command, *flags):
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        line = [program, "-q", *command.split(), "--model", MODEL, *flags, "--json", out.name]
        subprocess.run([str(part) for part in line], check=True, stdout=subprocess.DEVNULL)
        return json.load(open(out.name))


def one(program, load_in, steps):
    """The tokens/s of a format: training, then decoding with each batch size."""
    train = measured(program, f"train --no-best-product --max-steps {steps} --load-in {load_in}")
    speeds = {"training": train["tokens_per_second"]}
    sizes = ",".join(map(str, BATCHES))
    generate = measured(program, f"generate --repeats 2 --batch-sizes {sizes} --load-in {load_in}")
    for batch in generate["batches"]:
        speeds[f"batch {batch['batch_size']}"] = batch["decode_tokens_per_second"]
    return speeds, train["machine"]


def table(formats, rounds, machine):
    kinds = list(rounds[0][formats[0]])
    lines = [
        f"{len(rounds)} rounds on {machine['cpu']}, {machine['threads']} threads, {machine['instruction_set']}: median "
        "tokens/s, and the median of each round's ratio to f32.",
        "",
        "| `--load-in` | " + " | ".join("training" if k == "training" else f"decoding, {k}" for k in kinds) + " |",
        "|---|" + "---:|" * len(kinds),
    ]
    for name in formats:
        cells = []
        for kind in kinds:
            speed = statistics.median(r[name][kind] for r in rounds)
            ratio = statistics.median(r[name][kind] / r[formats[0]][kind] for r in rounds)
            cells.append(f"{speed:.0f} ({ratio:.2f})")
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--formats", default="f32,8bit,4bit,as-is")
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "target/release")
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    formats = args.formats.split(",")
    rounds = []
    for i in range(args.rounds):
        found = {}
        for name in formats:
            found[name], machine = one(args.bin / "ft-bench", name, args.steps)
            print(f"round {i + 1}, {name}: " + ", ".join(f"{k} {v:.1f}" for k, v in found[name].items()), flush=True)
        rounds.append(found)
    text = table(formats, rounds, machine)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
