#!/usr/bin/env bash
# Packs the six programs, twice, and installs both to see that they run:
#
#   target/dist/ft-VERSION-x86_64-linux.tar.gz      bin/, share/man, completions for bash, zsh and fish, LICENSE, README.md
#   target/dist/ft_tools-VERSION-….whl              the programs for pip, on PATH by pip install
#
# Needs target/release (make build), or FT_BIN. The programs are linked against the C library and nothing else; its
# version is in the wheel's tag.
set -euo pipefail
cd "$(dirname "$0")/.."

bin=${FT_BIN:-target/release}
version=$("$bin/ft-train" --version | awk '{print $2}')
out=target/dist
say() { printf 'dist: %s\n' "$*" >&2; }

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$out"
rm -f "$out"/*

# The archive.
name=ft-$version-$(uname -m)-linux
FT_BIN=$bin scripts/install.sh "$scratch/$name" 2>/dev/null
cp LICENSE README.md "$scratch/$name/"
tar -C "$scratch" --owner=0 --group=0 --sort=name -czf "$out/$name.tar.gz" "$name"

# The wheel: a folder in a wheel's shape, packed by PyPI's `wheel`.
glibc=$(objdump -T "$scratch/$name"/bin/* | grep -o 'GLIBC_2\.[0-9]*' | sort -Vu | tail -n 1 | cut -d. -f2)
tag=py3-none-manylinux_2_${glibc}_$(uname -m)
wheel=$scratch/wheel/ft_tools-$version
mkdir -p "$wheel/ft_tools-$version.data/scripts" "$wheel/ft_tools-$version.dist-info"
cp "$scratch/$name"/bin/* "$wheel/ft_tools-$version.data/scripts/"
cat >"$wheel/ft_tools-$version.dist-info/METADATA" <<END
Metadata-Version: 2.1
Name: ft-tools
Version: $version
Summary: Six programs that fine-tune language models: ft-prep, ft-template, ft-train, ft-merge, ft-eval, ft-bench
License-Expression: $(awk -F '"' '/^license *=/ {print $2; exit}' Cargo.toml)
END
cat >"$wheel/ft_tools-$version.dist-info/WHEEL" <<END
Wheel-Version: 1.0
Generator: scripts/dist.sh
Root-Is-Purelib: false
Tag: $tag
END
python3 -m venv "$scratch/packer"
"$scratch/packer/bin/pip" install -q wheel
"$scratch/packer/bin/python" -m wheel pack "$wheel" --dest-dir "$out" >/dev/null

# Both, installed.
programs='ft-prep ft-template ft-train ft-merge ft-eval ft-bench'
mkdir "$scratch/unpacked"
tar -C "$scratch/unpacked" -xzf "$out/$name.tar.gz"
python3 -m venv "$scratch/empty"
"$scratch/empty/bin/pip" install -q --no-index "$out"/*.whl
for program in $programs; do
    for place in "$scratch/unpacked/$name/bin" "$scratch/empty/bin"; do
        "$place/$program" --version | grep -q "^$program $version " || { say "$place/$program does not run"; exit 1; }
    done
done
bash -n "$scratch/unpacked/$name/share/bash-completion/completions/ft-train"

(cd "$scratch/$name/bin" && du -b ft-*) | awk '{printf "dist: %5.1f MB  %s\n", $1 / 1e6, $2}' >&2
(cd "$out" && du -b -- *) | awk '{printf "dist: %5.1f MB  %s\n", $1 / 1e6, $2}' >&2
say "in $out/; both were installed and run"
