#!/usr/bin/env bash
# Runs ft-dist's test suite under a real mpirun, with 1, 2, 3, 4 and 8 ranks, and lets ranks fail in every way.
# Needs libopenmpi-dev, openmpi-bin, libclang-dev and clang; without mpirun it says so and passes.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v mpirun > /dev/null; then
    echo "mpi_test: skipped, there is no mpirun (Debian: libopenmpi-dev openmpi-bin libclang-dev clang)"
    exit 0
fi

cargo build --release -p ft-dist --features mpi --example suite
suite="${CARGO_TARGET_DIR:-target}/release/examples/suite"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

run() { # RANKS CASE: the suite's output goes to $scratch/CASE
    timeout 120 mpirun --allow-run-as-root --oversubscribe -n "$1" "$suite" mpi "$2" > "$scratch/$2" 2>&1
}

fail() {
    echo "mpi_test: $1" >&2
    cat "$scratch/$2" >&2
    exit 1
}

for ranks in 1 2 3 4 8; do
    run "$ranks" collectives || fail "collectives of $ranks ranks failed" collectives
    [ "$(grep -c 'all collectives are right' "$scratch/collectives")" = "$ranks" ] || fail "a rank is silent" collectives
done

# Every rank hears of it, and mpirun ends with a code that is not 0.
for case in abort late; do
    if run 3 "$case"; then fail "a failed run should not end with 0" "$case"; fi
    [ "$(grep -c 'heard it' "$scratch/$case")" = 3 ] || fail "not every rank heard of it" "$case"
done

# A rank is killed in the middle of a transfer: everybody is gone within seconds. Each writes its number into a file of
# its own, for lines of several ranks may run into each other on their way through mpirun.
BUSY="$scratch" run 3 busy &
job=$!
for _ in $(seq 600); do
    [ "$(find "$scratch" -name 'rank-*' | wc -l)" = 3 ] && break
    sleep 0.1
done
[ -s "$scratch/rank-1" ] || fail "rank 1 did not say which process it is within a minute" busy
sleep 0.5
kill -9 "$(cat "$scratch/rank-1")"
start=$SECONDS
if wait "$job"; then fail "a run with a killed rank should not end with 0" busy; fi
[ $((SECONDS - start)) -le 5 ] || fail "the other ranks took $((SECONDS - start)) s to end" busy

echo "mpi_test: all is right under $(mpirun --version | head -1)"
