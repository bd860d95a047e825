#!/bin/sh
# Fails when the programs need a crate with other features than the tests do: then each compiles it, and all that stands
# on it, for itself (see getrandom in Cargo.toml).
#
#   scripts/check_features.sh
set -eu
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
crates() { # EDGES: every crate that they lead to, with its features
    cargo tree --workspace --edges "$1" --prefix none --format '{p} {f}' >"$scratch/tree"
    sed 's/ ([*])$//' "$scratch/tree" | sort -u
}
crates normal,build >"$scratch/programs"
crates normal,build,dev >"$scratch/tests"
only=$(comm -23 "$scratch/programs" "$scratch/tests")
if [ -n "$only" ]; then
    printf 'check_features: error: the tests use these with more features than the programs:\n%s\n' "$only" >&2
    exit 1
fi
echo "check_features: programs and tests share their crates" >&2
