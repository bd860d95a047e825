#!/bin/sh
# One seed, one adapter: trains SmolLM2 a few steps in many ways that must not matter, and prints the SHA-256 of each
# adapter. Fails where one differs. `make reproduce` builds and fetches first, then calls this; about 10 minutes.
#
#   scripts/reproduce.sh [OUT]       default: out/reproduce; the table is OUT/table.md
set -eu
cd "$(dirname "$0")/.."
. scripts/common_rows.sh

out=${1:-out/reproduce}
rm -rf "$out"
mkdir -p "$out"
make_rows "$out"
table=$out/table.md
printf '| rows | what is different | SHA-256 of the adapter | |\n|---|---|---|---|\n' | tee "$table"
failed=0
# "exec" where the shell itself is to become the program.
run=

train() { # NAME FLAGS...
    name=$1; shift
    $run $bin/ft-train -q --model $model --train "$out/train.parquet" --output-dir "$out/$name" --lora-r 8 --lora-dropout 0.1 \
        --learning-rate 5e-4 --warmup-steps 1 --max-steps 3 --save-strategy no --report-to none --seed 42 "$@"
}

tell() { # CHOICE WHAT NAME
    found=$(sha256sum "$out/$3/adapter_model.safetensors" | cut -d ' ' -f 1)
    if [ -z "$expected" ]; then expected=$found; verdict=""
    elif [ "$found" = "$expected" ]; then verdict="equal"
    else verdict="DIFFERS"; failed=1; fi
    printf '| %s | %s | `%s` | %s |\n' "$1" "$2" "$found" "$verdict" | tee -a "$table"
}

# Killed with -9 after its first checkpoint and after its second, and taken up again each time.
stopped() { # NAME FLAGS...
    name=$1; shift
    resume=
    for step in 1 2; do
        # shellcheck disable=SC2086
        (run=exec; train "$name" "$@" --save-strategy steps --save-steps 1 $resume) &
        pid=$!
        while [ ! -e "$out/$name/checkpoint-$step/complete" ]; do
            kill -0 $pid 2>/dev/null || { echo "reproduce: error: it ended before step $step" >&2; exit 1; }
            sleep 0.1
        done
        kill -9 $pid
        wait $pid 2>/dev/null || true
        resume=--resume-from-checkpoint
    done
    train "$name" "$@" --save-strategy steps --save-steps 1 --resume-from-checkpoint
}

for choice in as-they-come packed grouped; do
    case $choice in
        as-they-come) flags="" ;;
        packed) flags="--packing --max-seq-length 256" ;;
        grouped) flags="--group-by-length" ;;
    esac
    expected=
    # shellcheck disable=SC2086
    {
        train $choice-base $flags --per-device-train-batch-size 4 --threads 2
        tell $choice "batch 4 × 1, two threads" $choice-base
        train $choice-again $flags --per-device-train-batch-size 4 --threads 2
        tell $choice "nothing: run again" $choice-again
        train $choice-one $flags --per-device-train-batch-size 4 --threads 1
        tell $choice "one thread" $choice-one
        train $choice-cut $flags --per-device-train-batch-size 1 --gradient-accumulation-steps 4
        tell $choice "batch 1 × 4" $choice-cut
        train $choice-memory $flags --per-device-train-batch-size 4 --activation-memory 0
        tell $choice "no memory for activations" $choice-memory
        stopped $choice-stopped $flags --per-device-train-batch-size 4
        tell $choice "kill -9 after steps 1 and 2, resumed" $choice-stopped
    }
    [ $choice = as-they-come ] || continue
    train pipe --per-device-train-batch-size 4 --train - <"$out/train.parquet"
    tell $choice "rows from a pipe" pipe
    train disk --per-device-train-batch-size 4 --offload-param-device disk
    tell $choice "frozen weights left on disk" disk
    $bin/ft-train -q --verify "$out/$choice-base" >&2
done
[ $failed = 0 ] || { echo "reproduce: error: an adapter differs" >&2; exit 1; }
