#!/usr/bin/env bash
# Runs ft-dist's test suite under a real mpirun, with 1, 2, 3, 4 and 8 ranks, and lets ranks fail in every way.
# Needs libopenmpi-dev, openmpi-bin, libclang-dev and clang; without mpirun it says so and passes.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v mpirun > /dev/null; then
    echo "mpi_test: skipped, there is no mpirun (Debian: libopenmpi-dev openmpi-bin libclang-dev clang)"
    exit 0
fi

# In the folder of make mpi-build.
cargo build --release --target-dir target/mpi --workspace --features ft-dist/mpi --example suite
suite=target/mpi/release/examples/suite
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

run() { # RANKS CASE: each rank's word goes to a file $scratch/CASE-RANK, whatever they print to $scratch/CASE.log
    rm -f "$scratch/$2"-*
    timeout 120 mpirun --allow-run-as-root --oversubscribe -n "$1" "$suite" mpi "$2" "$scratch" > "$scratch/$2.log" 2>&1
}

spoke() { # RANKS CASE: whether so many have
    [ "$(find "$scratch" -name "$2-*" | wc -l)" = "$1" ]
}

fail() {
    echo "mpi_test: $1" >&2
    cat "$scratch/$2.log" >&2
    exit 1
}

for ranks in 1 2 3 4 8; do
    run "$ranks" collectives || fail "collectives of $ranks ranks failed" collectives
    spoke "$ranks" collectives || fail "a rank is silent" collectives
done

# Every rank hears of it, and mpirun ends with a code that is not 0.
for case in abort late; do
    if run 3 "$case"; then fail "a failed run should not end with 0" "$case"; fi
    spoke 3 "$case" || fail "not every rank heard of it" "$case"
done

# A rank is killed in the middle of a transfer: everybody is gone within seconds.
run 3 busy &
job=$!
for _ in $(seq 600); do
    spoke 3 busy && break
    sleep 0.1
done
spoke 3 busy || fail "not every rank has begun within a minute" busy
kill -9 "$(cat "$scratch/busy-1")"
start=$SECONDS
if wait "$job"; then fail "a run with a killed rank should not end with 0" busy; fi
[ $((SECONDS - start)) -le 5 ] || fail "the other ranks took $((SECONDS - start)) s to end" busy

echo "mpi_test: all is right under $(mpirun --version | head -1)"
