#!/usr/bin/env bash
# Twice the ranks on twice the rows in the same time? One rank on one core against two ranks on two, SmolLM2 in f32, each rank
# its own rows, in turn and several times; tokens/s of two over twice those of one. Ranks are MPI's where
# target/release/ft-train-mpi is (make mpi-build), and threads of one process. The machine should do nothing else.
#
#   scripts/weak_scaling.sh [ROUNDS]     default 3
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common_rows.sh
rounds=${1:-3}
out=out/weak-scaling
rm -rf "$out" && mkdir -p "$out"
make_rows "$out"

line() { # NAME: steps of four rows a rank
    echo --model "$model" --train "$out/train.parquet" --output-dir "$out/$1" --overwrite-output-dir --max-steps 6 \
        --per-device-train-batch-size 4 --no-shuffle --save-strategy no --logging-steps 1 --report-to jsonl -q
}
speed() { python3 -c 'import json,sys; print([json.loads(l) for l in open(sys.argv[1]) if "train_tokens_per_second" in l][-1]["train_tokens_per_second"])' "$out/$1/metrics.jsonl"; }

for round in $(seq "$rounds"); do
    # shellcheck disable=SC2046
    taskset -c 0 "$bin/ft-train" $(line one) --threads 1
    one=$(speed one)
    # shellcheck disable=SC2046
    "$bin/ft-train" $(line threads) --nproc-per-node 2 --threads 2
    echo "$one $(speed threads) threads" >>"$out/speeds"
    if [ -x "$bin/ft-train-mpi" ] && command -v mpirun >/dev/null; then
        # shellcheck disable=SC2046
        mpirun --allow-run-as-root --bind-to core -n 2 "$bin/ft-train-mpi" $(line mpi) --threads 1
        echo "$one $(speed mpi) mpi" >>"$out/speeds"
    fi
done
python3 - "$out/speeds" <<'P'
import statistics, sys
by = {}
for line in open(sys.argv[1]):
    one, two, kind = line.split()
    by.setdefault(kind, []).append((float(one), float(two)))
for kind, pairs in by.items():
    ratios = [two / (2 * one) for one, two in pairs]
    print(f"{kind}: one rank {statistics.median(p[0] for p in pairs):.0f} tokens/s, two {statistics.median(p[1] for p in pairs):.0f};"
          f" of twice the speed {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
P
