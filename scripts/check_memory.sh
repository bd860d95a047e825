#!/bin/sh
# Is the memory that --dry-run foresees, and that a run foresees after its first step, the memory that is then needed?
# Prints a table and fails where either is off by more than 15 %. Needs target/release and the model.
#
#   scripts/check_memory.sh [OUT]    default: out/memory
set -eu
cd "$(dirname "$0")/.."
. scripts/common_rows.sh

out=${1:-out/memory}
rm -rf "$out"
mkdir -p "$out"
make_rows "$out"
failed=0
number() { sed -n "s/.*\"$1\": *\([0-9][0-9.]*\).*/\1/p" "$2" | head -n 1; }

printf '| run | dry run, MB | after step 1, MB | measured, MB | off by |\n|---|---:|---:|---:|---:|\n'
check() { # NAME FLAGS...
    name=$1; shift
    set -- --model $model --train "$out/train.parquet" --eval "$out/test.parquet" --output-dir "$out/run" \
        --overwrite-output-dir --learning-rate 5e-4 --max-steps 12 --save-steps 6 "$@"
    $bin/ft-train -q --dry-run --log-format json "$@" 2>/dev/null | sed 's/,"/,\n"/g; s/":/": /g' >"$out/plan.json"
    $bin/ft-train -q "$@"
    plan=$(number predicted_peak_memory_bytes "$out/plan.json")
    first=$(number predicted_peak_memory_bytes "$out/run/run.json")
    measured=$(number peak_memory_bytes "$out/run/run.json")
    awk -v name="$name" -v a="$plan" -v b="$first" -v m="$measured" 'BEGIN {
        off = (a > m ? a - m : m - a) / m; other = (b > m ? b - m : m - b) / m
        printf "| %s | %.0f | %.0f | %.0f | %.1f %%, %.1f %% |\n", name, a / 1e6, b / 1e6, m / 1e6, 100 * off, 100 * other
        exit off > 0.15 || other > 0.15
    }' || failed=1
}

check "f32, batch 8" --per-device-train-batch-size 8
check "f32, batch 2 x 4, nothing kept" --per-device-train-batch-size 2 --gradient-accumulation-steps 4 --activation-memory 0
check "bf16, packed, r 64" --load-in bf16 --packing --max-seq-length 512 --per-device-train-batch-size 1 --lora-r 64
check "4 bits, batch 4, nothing kept" --load-in 4bit --per-device-train-batch-size 4 --gradient-checkpointing
check "Q4_1 as it is, batch 4, nothing kept" --load-in as-is --per-device-train-batch-size 4 --gradient-checkpointing
[ $failed = 0 ] || { echo "check_memory: error: the forecast is off by more than 15 %" >&2; exit 1; }
