#!/usr/bin/env bash
# Runs ft-dist's test suite under a real torchrun, whose agent keeps the master port: ranks meet by way of its
# TCPStore, with both of the store's backends, and again after a restart. The first argument is a folder with
# torchrun in it (default: the one on the path); without torchrun it says so and passes.
set -euo pipefail
cd "$(dirname "$0")/.."

torchrun="${1:+$1/}torchrun"
# What make torchrun has installed.
command -v "$torchrun" > /dev/null || torchrun=.cache/torchrun/bin/torchrun
if ! command -v "$torchrun" > /dev/null; then
    echo "torchrun_test: skipped, there is no torchrun (make torchrun, or: make peers)"
    exit 0
fi

# The whole workspace is selected, so that what make test has compiled is not compiled again.
cargo build --release --workspace --example suite
suite="$PWD/${CARGO_TARGET_DIR:-target}/release/examples/suite"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

# run ARGUMENTS OF TORCHRUN: each rank's word goes to a file $scratch/notes/CASE-RANK
run() {
    rm -rf "$scratch/notes" && mkdir "$scratch/notes"
    timeout 120 "$torchrun" --no-python "$@" > "$scratch/out" 2>&1 || fail "torchrun failed"
}

spoke() { # RANKS CASE: so many have
    [ "$(find "$scratch/notes" -name "$2-*" | wc -l)" = "$1" ] || fail "a rank is silent"
}

fail() {
    echo "torchrun_test: $1" >&2
    cat "$scratch/out" >&2
    exit 1
}

for libuv in 1 0; do
    USE_LIBUV=$libuv run --nproc-per-node 3 --master-port 29571 "$suite" torchrun collectives "$scratch/notes"
    spoke 3 collectives
done

# The first start fails, the restart meets under a new key of the same store.
cat > "$scratch/rank.sh" <<'RANK'
if [ "$TORCHELASTIC_RESTART_COUNT" = 0 ]; then exec "$1" torchrun abort "$2"; fi
exec "$1" torchrun collectives "$2"
RANK
run --nproc-per-node 2 --max-restarts 1 --master-port 29572 bash "$scratch/rank.sh" "$suite" "$scratch/notes"
spoke 2 abort
spoke 2 collectives

echo "torchrun_test: ranks meet under torchrun"
