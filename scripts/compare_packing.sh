#!/bin/sh
# The same rows as they come, grouped by length, and packed: the padding that others would compute, and what the
# choice costs or saves here, where no padding is ever computed. Prints a table. A CPU second counts a processor's own
# time, loading included, which other work on the machine changes less. Needs target/release, the model and the data
# (make build fetch).
#
#   scripts/compare_packing.sh [OUT] [STEPS]     default: out/packing 12
set -eu
cd "$(dirname "$0")/.."
. scripts/common_rows.sh

out=${1:-out/packing}
steps=${2:-12}
rm -rf "$out"
mkdir -p "$out"
make_rows "$out" .cache/data/evals
# Seconds of processor time between two outputs of 'times', whose second line is of the programs that have run.
between() {
    awk 'FNR == 2 { split($1, user, "m"); split($2, kernel, "m"); now = 60 * (user[1] + kernel[1]) + user[2] + kernel[2]
        if (NR == 2) { first = now } else { print now - first } }' "$1" "$2"
}
number() { sed -n "s/.*\"$1\": *\([0-9][0-9.]*\).*/\1/p" "$2" | head -n 1; }

{
    printf '| rows | sequences an epoch | tokens an epoch | of them padded by others | tokens/s | tokens a CPU second | tokens a step |\n'
    printf '|---|---:|---:|---:|---:|---:|---:|\n'
} | tee "$out/table.md"
run() { # NAME FLAGS...
    name=$1; shift
    set -- --model $model --train "$out/train.parquet" --output-dir "$out/run" --overwrite-output-dir --learning-rate 5e-4 \
        --max-steps "$steps" --save-strategy no --report-to none "$@"
    $bin/ft-train -q --dry-run --log-format json "$@" 2>/dev/null | sed 's/,"/,\n"/g; s/":/": /g' >"$out/plan.json"
    times >"$out/before"
    $bin/ft-train -q "$@"
    times >"$out/after"
    awk -v name="$name" -v items="$(number sequences_an_epoch "$out/plan.json")" \
        -v tokens="$(number tokens_an_epoch "$out/plan.json")" -v padding="$(number padding_of_peers "$out/plan.json")" \
        -v speed="$(number train_tokens_per_second "$out/run/train_results.json")" -v steps="$steps" -v cpu="$(between "$out/before" "$out/after")" \
        -v seen="$(number num_input_tokens_seen "$out/run/trainer_state.json")" 'BEGIN {
        printf "| %s | %d | %d | %.1f %% | %.0f | %.0f | %.0f |\n", name, items, tokens, 100 * padding, speed,
            seen / cpu, seen / steps
    }' | tee -a "$out/table.md"
}

run "as they come, batch 8" --per-device-train-batch-size 8
run "grouped by length, batch 8" --per-device-train-batch-size 8 --group-by-length
run "packed to 512, batch 4" --per-device-train-batch-size 4 --packing --max-seq-length 512
