#!/usr/bin/env bash
# Runs ft-dist's test suite under a real torchrun, whose agent keeps the master port: ranks meet by way of its
# TCPStore, with both of the store's backends, and again after a restart. The first argument is a folder with
# torchrun in it (default: the one on the path); without torchrun it says so and passes.
set -euo pipefail
cd "$(dirname "$0")/.."

torchrun="${1:+$1/}torchrun"
if ! command -v "$torchrun" > /dev/null; then
    echo "torchrun_test: skipped, there is no torchrun (pip install torch, or: make peers)"
    exit 0
fi

cargo build --release -p ft-dist --example suite
suite="$PWD/${CARGO_TARGET_DIR:-target}/release/examples/suite"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

for libuv in 1 0; do
    USE_LIBUV=$libuv timeout 120 "$torchrun" --no-python --nproc-per-node 3 --master-port 29571 \
        "$suite" torchrun collectives > "$scratch/out" 2>&1 || { cat "$scratch/out" >&2; exit 1; }
    [ "$(grep -c 'all collectives are right' "$scratch/out")" = 3 ] || { cat "$scratch/out" >&2; exit 1; }
done

# The first start fails, the restart meets under a new key of the same store.
cat > "$scratch/rank.sh" <<'RANK'
if [ "$TORCHELASTIC_RESTART_COUNT" = 0 ]; then exec "$1" torchrun abort; fi
exec "$1" torchrun collectives
RANK
timeout 120 "$torchrun" --no-python --nproc-per-node 2 --max-restarts 1 --master-port 29572 \
    bash "$scratch/rank.sh" "$suite" > "$scratch/out" 2>&1 || { cat "$scratch/out" >&2; exit 1; }
[ "$(grep -c 'heard it' "$scratch/out")" = 2 ] || { cat "$scratch/out" >&2; exit 1; }
[ "$(grep -c 'all collectives are right' "$scratch/out")" = 2 ] || { cat "$scratch/out" >&2; exit 1; }

echo "torchrun_test: ranks meet under torchrun"
