#!/bin/sh
# Measures this machine with ft-bench: matrix products, training, generation.
#
#   scripts/bench.sh [OUT]           default: out/bench; *.json, *.svg and the tables in bench.txt
set -eu
cd "$(dirname "$0")/.."

out=${1:-out/bench}
model=.cache/models/SmolLM2-135M-Instruct.Q4_1.gguf
mkdir -p "$out"
: >"$out/bench.txt"
for what in matmul train generate; do
    case $what in matmul) with="" ;; *) with="--model $model" ;; esac
    printf '\n== ft-bench %s\n' "$what" | tee -a "$out/bench.txt"
    # shellcheck disable=SC2086
    target/release/ft-bench $what $with --json "$out/$what.json" --svg "$out/$what.svg" | tee -a "$out/bench.txt"
done
printf '\nwritten: %s/bench.txt, %s/*.json, %s/*.svg\n' "$out" "$out" "$out" >&2
