#!/usr/bin/env bash
# One adapter, bit by bit, from 1, 2 and 4 ranks under every sharding, with dropout on: ranks as threads, as processes
# over sockets, under mpirun (target/release/ft-train-mpi: make mpi-build), under torchrun, on two hosts that are network
# namespaces, and resumed half-way on another number of ranks. What is not there on this machine is told and left out.
# Prints a table and ends with 1 if one adapter differs.
#
#   scripts/ranks.sh [TORCHRUN]      needs target/release (make build) and Python 3
set -uo pipefail
cd "$(dirname "$0")/.."
bin=${FT_BIN:-target/release}
torchrun=${1:-torchrun}
command -v "$torchrun" >/dev/null || torchrun=.cache/torchrun/bin/torchrun
out=out/ranks
sequences=8 steps=8
rm -rf "$out" && mkdir -p "$out"
python3 scripts/cuda/tiny_model.py "$out/model"
"$bin/ft-prep" -q testdata/samples/taxes.jsonl testdata/samples/finance_calc.jsonl -o - |
    "$bin/ft-template" -q --model "$out/model" --max-seq-length 1024 --overlong drop -o "$out/rows.parquet" - || exit 1

# line NAME RANKS SHARDING: the arguments of a run
line() {
    echo --model "$out/model" --train "$out/rows.parquet" --output-dir "$out/$1" --sharding "$3" --max-steps $steps \
        --per-device-train-batch-size 1 --gradient-accumulation-steps $((sequences / $2)) --lora-dropout 0.1 \
        --learning-rate 1e-3 --save-steps 4 --logging-steps 1 --report-to none -q
}

first= failed=0
# told NAME RANKS CARRIED SHARDING SECONDS NOTE: a line of the table
told() {
    local digest same
    digest=$(sha256sum "$out/$1/adapter_model.safetensors" 2>/dev/null | cut -c1-16)
    first=${first:-$digest}
    if [ -n "$digest" ] && [ "$digest" = "$first" ]; then same=same; else same=OTHER failed=1; fi
    printf '%5s  %-22s %-8s %-22s %7s  %-16s  %s\n' "$2" "$3" "$4" "$6" "$5" "${digest:-none}" "$same"
}

# run NAME RANKS CARRIED SHARDING NOTE COMMAND…: runs it and tells what came of it
run() {
    local name=$1 ranks=$2 carried=$3 sharding=$4 note=$5 begun
    shift 5
    begun=$(date +%s.%N)
    timeout 300 "$@" >"$out/$name.log" 2>&1 || { tail -n 3 "$out/$name.log" >&2; failed=1; }
    told "$name" "$ranks" "$carried" "$sharding" "$(python3 -c "import time; print(f'{time.time() - $begun:.1f}')")" "$note"
}

# processes NAME RANKS SHARDING [PREFIX OF RANK 0] [OF THE OTHERS] [ADDRESS]: ranks as torchrun would start them
processes() {
    local name=$1 ranks=$2 sharding=$3 address=${6:-127.0.0.1} port=$((20000 + RANDOM % 10000)) rank job rc=0 jobs=()
    for rank in $(seq 0 $((ranks - 1))); do
        # shellcheck disable=SC2046,SC2086
        RANK=$rank WORLD_SIZE=$ranks LOCAL_RANK=$rank MASTER_ADDR=$address MASTER_PORT=$port \
            $([ "$rank" = 0 ] && echo "${4:-}" || echo "${5:-}") "$bin/ft-train" $(line "$name" "$ranks" "$sharding") &
        jobs+=($!)
    done
    for job in "${jobs[@]}"; do wait "$job" || rc=1; done
    return $rc
}
export -f processes line
export out bin sequences steps

shardings="none zero1 zero2 zero3"
printf '%5s  %-22s %-8s %-22s %7s  %-16s\n' ranks 'carried by' sharding note seconds 'adapter (SHA-256)'
# shellcheck disable=SC2046
run one 1 - none '' "$bin/ft-train" $(line one 1 none)
for ranks in 2 4; do
    for sharding in $shardings; do
        # shellcheck disable=SC2046
        run "threads-$ranks-$sharding" "$ranks" threads "$sharding" '' \
            "$bin/ft-train" $(line "threads-$ranks-$sharding" "$ranks" "$sharding") --nproc-per-node "$ranks"
    done
done
for ranks in 2 4; do
    for sharding in none zero3; do
        name=sockets-$ranks-$sharding
        run "$name" "$ranks" sockets "$sharding" '' bash -c "processes $name $ranks $sharding"
    done
done

if [ -x "$bin/ft-train-mpi" ] && command -v mpirun >/dev/null; then
    for ranks in 2 4; do
        for sharding in $shardings; do
            name=mpi-$ranks-$sharding
            # shellcheck disable=SC2046
            run "$name" "$ranks" 'mpirun, MPI' "$sharding" '' mpirun --allow-run-as-root --oversubscribe -n "$ranks" \
                "$bin/ft-train-mpi" $(line "$name" "$ranks" "$sharding") --threads 1
        done
    done
else
    echo "       left out: mpirun with MPI ($bin/ft-train-mpi or mpirun is missing: make mpi-build)"
fi
if command -v mpirun >/dev/null; then
    # shellcheck disable=SC2046
    run mpirun-sockets 2 'mpirun, sockets' zero2 '' mpirun --allow-run-as-root --oversubscribe -n 2 \
        "$bin/ft-train" $(line mpirun-sockets 2 zero2) --ddp-backend gloo --threads 1
fi
if command -v "$torchrun" >/dev/null; then
    # shellcheck disable=SC2046
    run torchrun 2 'torchrun, sockets' zero3 '' "$torchrun" --no-python --nproc-per-node 2 --master-port 29573 \
        "$bin/ft-train" $(line torchrun 2 zero3)
else
    echo "       left out: torchrun (make torchrun installs it)"
fi

# Two hosts: network namespaces with a cable between them.
if [ "$(id -u)" = 0 ] && command -v ip >/dev/null && ip netns add ft-a 2>/dev/null; then
    trap 'ip netns del ft-a 2>/dev/null; ip netns del ft-b 2>/dev/null' EXIT
    ip netns add ft-b
    if ip link add ft-a0 netns ft-a type veth peer name ft-b0 netns ft-b 2>/dev/null; then
        for side in "a 1" "b 2"; do
            read -r host number <<<"$side"
            ip -n "ft-$host" addr add "10.77.0.$number/24" dev "ft-${host}0"
            ip -n "ft-$host" link set "ft-${host}0" up
            ip -n "ft-$host" link set lo up
        done
        run hosts 4 'sockets, two hosts' zero3 '' bash -c \
            'processes hosts 4 zero3 "ip netns exec ft-a" "ip netns exec ft-b" 10.77.0.1'
    else
        echo "       left out: two hosts (no veth on this machine)"
    fi
else
    echo "       left out: two hosts (network namespaces need root and iproute2)"
fi

# Half of the steps on some ranks, the rest on others.
for change in "4 zero3 2 zero1" "2 none 4 zero3" "1 none 4 zero2" "4 zero2 1 none"; do
    read -r ranks sharding then_ranks then_sharding <<<"$change"
    name=resumed-$ranks-$then_ranks
    # shellcheck disable=SC2046
    "$bin/ft-train" $(line "$name" "$ranks" "$sharding") --nproc-per-node "$ranks" >"$out/$name.log" 2>&1 || failed=1
    rm -rf "$out/$name/checkpoint-$steps" "$out/$name/adapter_model.safetensors"
    # shellcheck disable=SC2046
    run "$name" "$then_ranks" threads "$then_sharding" "after 4 on $ranks, $sharding" \
        "$bin/ft-train" $(line "$name" "$then_ranks" "$then_sharding") --nproc-per-node "$then_ranks" --resume-from-checkpoint
done
[ $failed = 0 ] && echo "every adapter is the same" || echo "SOMETHING DIFFERS OR FAILED"
exit $failed
