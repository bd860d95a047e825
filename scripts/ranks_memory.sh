#!/bin/sh
# What each of 1, 2, 4 and 8 ranks holds and sends with SmolLM2, under every sharding, beside what ft-bench plan
# foretells. Prints a table and fails where the two differ, where zero3's frozen bytes are not within 5 % of their share,
# or where a frozen byte is not gathered twice a micro-batch (once where it is kept). The model's file is a GGUF in Q4_1,
# which is widened to the type that --load-in says. Needs target/release and the model.
#
#   scripts/ranks_memory.sh [LOAD_IN] [OUT]    default: bf16 out/ranks-memory
set -eu
cd "$(dirname "$0")/.."
. scripts/common_rows.sh

load_in=${1:-bf16}
out=${2:-out/ranks-memory}
rm -rf "$out"
mkdir -p "$out"
$bin/ft-prep -q testdata/samples/taxes.jsonl -o "$out/rows.parquet"
$bin/ft-template -q --model $model --labels all --max-seq-length 32 --overlong truncate "$out/rows.parquet" -o "$out/train.parquet"

# Two micro-batches of one short row: how long a row is changes none of what is counted.
shape="--per-device-train-batch-size 1 --gradient-accumulation-steps 2"
plan() { # NAME FLAGS...
    name=$1; shift
    $bin/ft-bench plan --model $model --load-in "$load_in" $shape --max-seq-length 32 "$@" --json "$out/$name.json" >/dev/null
}
run() { # NAME FLAGS...
    name=$1; shift
    $bin/ft-train -q --model $model --train "$out/train.parquet" --output-dir "$out/run" --overwrite-output-dir \
        --load-in "$load_in" $shape --max-steps 1 --save-strategy no --report-to none "$@"
    cp "$out/run/run.json" "$out/$name.json"
}

plan plan
plan plan-kept --world 4 --sharding zero3 --fsdp-reshard-after-forward false
for world in 1 2 4 8; do
    for sharding in none zero1 zero2 zero3; do
        run "$sharding-$world" --nproc-per-node $world --sharding $sharding
    done
done
run zero3-4-kept --nproc-per-node 4 --sharding zero3 --fsdp-reshard-after-forward false
rm -rf "$out/run"
python3 scripts/ranks_memory_table.py "$out" "$load_in"
