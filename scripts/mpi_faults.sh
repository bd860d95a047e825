#!/usr/bin/env bash
# kill -9 of a rank under mpirun, at 20 random moments: mpirun and every other rank are gone within 10 seconds, the code is
# not 0, and what goes on from the newest whole checkpoint, on threads, ends at the adapter of a run that was left alone.
# Needs target/release/ft-train-mpi (make mpi-build), mpirun and Python 3.
#
#   scripts/mpi_faults.sh [TIMES]
set -uo pipefail
cd "$(dirname "$0")/.."
bin=${FT_BIN:-target/release}
times=${1:-20}
out=out/mpi-faults
if ! [ -x "$bin/ft-train-mpi" ] || ! command -v mpirun >/dev/null; then
    echo "mpi_faults: skipped, there is no $bin/ft-train-mpi or no mpirun (make mpi-build)"
    exit 0
fi
rm -rf "$out" && mkdir -p "$out"
python3 scripts/cuda/tiny_model.py "$out/model"
"$bin/ft-prep" -q testdata/samples/finance_calc.jsonl -o - |
    "$bin/ft-template" -q --model "$out/model" --max-seq-length 512 --overlong drop -o "$out/rows.parquet" - || exit 1

line() { # NAME RANKS SHARDING
    echo --model "$out/model" --train "$out/rows.parquet" --output-dir "$out/$1" --sharding "$3" --max-steps 24 --save-steps 2 \
        --per-device-train-batch-size 1 --gradient-accumulation-steps $((6 / $2)) --lora-dropout 0.1 --logging-steps 1 \
        --save-total-limit 2 --report-to none -q --threads 1
}
fail() { echo "mpi_faults: $1" >&2; exit 1; }

# shellcheck disable=SC2046
"$bin/ft-train" $(line one 1 none) || exit 1
expected=$(sha256sum <"$out/one/adapter_model.safetensors")
killed=0 slowest=0
for i in $(seq "$times"); do
    ranks=$((2 + i % 2)) victim=$((RANDOM % (2 + i % 2)))
    sharding=$(echo none zero1 zero2 zero3 | cut -d' ' -f$((1 + i % 4)))
    name=run-$i
    # shellcheck disable=SC2046
    mpirun --allow-run-as-root --oversubscribe -n "$ranks" sh -c 'echo $$ >"$0.$OMPI_COMM_WORLD_RANK"; exec "$@"' "$out/pid" \
        "$bin/ft-train-mpi" $(line "$name" "$ranks" "$sharding") >"$out/$name.log" 2>&1 &
    job=$!
    # The moment is counted from when the victim is there, which takes a loaded machine a while.
    for _ in $(seq 600); do
        [ -s "$out/pid.$victim" ] && break
        sleep 0.1
    done
    [ -s "$out/pid.$victim" ] || { cat "$out/$name.log" >&2; fail "run $i: rank $victim was not started within a minute"; }
    sleep "$(python3 -c 'import random; print(3 * random.random())')"
    kill -9 "$(cat "$out/pid.$victim")" 2>/dev/null
    begun=$SECONDS rc=0
    wait "$job" || rc=$?
    took=$((SECONDS - begun))
    [ "$took" -gt "$slowest" ] && slowest=$took
    if [ "$rc" != 0 ]; then
        killed=$((killed + 1))
        [ "$took" -le 10 ] || fail "run $i: the others took $took s to end"
        grep -q -E "rank $victim|exited on signal 9" "$out/$name.log" || { cat "$out/$name.log" >&2; fail "run $i does not say who was killed"; }
    fi
    # mpirun may be gone a moment before those that it has killed.
    while pgrep -f "$out/$name " >/dev/null; do
        [ $((SECONDS - begun)) -le 10 ] || fail "run $i: a rank is still there"
        sleep 0.1
    done
    rm -f "$out"/pid.*
    go=--overwrite-output-dir
    ls "$out/$name"/checkpoint-*/complete >/dev/null 2>&1 && go=--resume-from-checkpoint
    # shellcheck disable=SC2046
    "$bin/ft-train" $(line "$name" 2 zero2) --nproc-per-node 2 $go >"$out/$name.log" 2>&1 || { tail -n 2 "$out/$name.log" >&2; fail "run $i does not go on"; }
    [ "$(sha256sum <"$out/$name/adapter_model.safetensors")" = "$expected" ] || fail "run $i ends at another adapter"
    rm -rf "${out:?}/$name"
done
[ "$killed" -gt 0 ] || fail "every run was over before its rank was killed: nothing was seen"
echo "mpi_faults: $killed of $times runs lost a rank by kill -9 under mpirun; all was over after $slowest s at the latest; every adapter is the same"
