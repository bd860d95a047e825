#!/bin/sh
# Packs the programs of a CUDA build, stripped, for a machine with a GPU and without Rust: a file of
# some 15 MB that Python unpacks there.
#
#   scripts/cuda/pack.sh OUT.tar.xz [FOLDER-OF-CUDA-BUILD [FOLDER-OF-OTHER-PROGRAMS]]
#
# There, in a copy of this tree:
#   python3 -c 'import tarfile; tarfile.open("OUT.tar.xz").extractall("bin")'
#   FT_BIN=bin scripts/gpu_check.sh
set -eu

out=$1
cuda=${2:-target/cuda/release}
other=${3:-target/release}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for program in ft-train ft-eval ft-bench; do
    strip -o "$scratch/$program" "$cuda/$program"
done
# The kernels' tests, for the GPU.
[ ! -f "$cuda/ft-kernels-test" ] || strip -o "$scratch/ft-kernels-test" "$cuda/ft-kernels-test"
for program in ft-prep ft-template ft-merge; do
    [ ! -f "$other/$program" ] || strip -o "$scratch/$program" "$other/$program"
done
# One window over all of them: the kernels are the same in each.
python3 - "$scratch" "$out" <<'PYTHON'
import lzma, os, sys, tarfile
folder, out = sys.argv[1:]
filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 128 << 20}]
with lzma.open(out, "wb", format=lzma.FORMAT_XZ, filters=filters) as packed:
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name in sorted(os.listdir(folder)):
            archive.add(os.path.join(folder, name), name)
print(f"{out}: {os.path.getsize(out) / 1e6:.1f} MB", file=sys.stderr)
PYTHON
