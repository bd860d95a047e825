#!/bin/sh
# Checks what the build and the demo need, and installs missing Debian packages
# (as root, or through sudo). Says what it does; does nothing when all is there.
#
#   scripts/setup.sh [mpi]     with mpi also what MPI needs
set -eu

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

need_rust=1.89

if ! command -v cargo >/dev/null 2>&1; then
    die "cargo is missing: install Rust $need_rust or newer with rustup, then run this again"
fi
have_rust=$(rustc --version | awk '{print $2}')
oldest=$(printf '%s\n%s\n' "$need_rust" "$have_rust" | sort -V | head -n 1)
[ "$oldest" = "$need_rust" ] || die "Rust $have_rust is too old, $need_rust is needed: rustup update"

packages=
command -v cc >/dev/null 2>&1 || packages="$packages build-essential"
command -v git >/dev/null 2>&1 || packages="$packages git"
command -v python3 >/dev/null 2>&1 || packages="$packages python3"
python3 -m pip --version >/dev/null 2>&1 || packages="$packages python3-pip"
python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || packages="$packages python3-venv"

if [ "${1:-}" = mpi ]; then
    command -v mpicc >/dev/null 2>&1 || packages="$packages libopenmpi-dev"
    command -v mpirun >/dev/null 2>&1 || packages="$packages openmpi-bin"
    command -v clang >/dev/null 2>&1 || packages="$packages clang libclang-dev"
fi

if [ -n "$packages" ]; then
    command -v apt-get >/dev/null 2>&1 || die "missing:$packages (no apt-get here: install them by hand)"
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif command -v sudo >/dev/null 2>&1; then
        as_root=sudo
    else
        die "missing:$packages (run as root: apt-get install$packages)"
    fi
    say "installing Debian packages:$packages"
    # shellcheck disable=SC2086
    $as_root apt-get update -qq && $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $packages >&2
fi
for part in rustfmt clippy; do
    cargo "${part#rust}" --version >/dev/null 2>&1 || say "note: make lint also needs: rustup component add $part"
done
say "Rust $have_rust, $(cc --version | head -n 1), $(python3 --version): all is there"
