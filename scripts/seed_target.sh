#!/bin/sh
# Begins a build's folder with what another has compiled already, so that only what differs is compiled: cargo goes by a
# crate's features and sources, not by the folder. Large files are hard links, which the compiler replaces and never changes.
# Does nothing where the folder is there.
#
#   scripts/seed_target.sh target/release target/mpi/release
set -eu
from=$1 to=$2
[ -d "$from/deps" ] && ! [ -e "$to" ] || exit 0
mkdir -p "$(dirname "$to")"
scratch=$(mktemp -d "$(dirname "$to")/.seed-XXXXXX")
trap 'rm -rf "$scratch"' EXIT
cp -a "$from/.fingerprint" "$from/build" "$scratch/"
mkdir "$scratch/deps"
# Crates, not programs and tests, which are linked anew.
find "$from/deps" -maxdepth 1 \( -name '*.rlib' -o -name '*.rmeta' -o -name '*.so' \) -exec cp -al -t "$scratch/deps" {} +
find "$from/deps" -maxdepth 1 -name '*.d' -exec cp -a -t "$scratch/deps" {} +
mv -T "$scratch" "$to"
