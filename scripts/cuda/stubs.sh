#!/bin/sh
# Stand-ins for the libraries that a CUDA build is linked with and that come with the driver or with
# PyTorch: each has the real one's name, and every function that cudarc declares, which returns an
# error. They are for the linker, and to start such a build on a machine without a GPU, where it says
# that there is none. Never put them beside the real ones.
#
#   scripts/cuda/stubs.sh FOLDER
set -eu
cd "$(dirname "$0")/../.."

folder=$1
mkdir -p "$folder"
sources=$(cargo metadata --format-version 1 --locked --features ft-dist/cuda |
    python3 -c 'import json, os, sys
packages = json.load(sys.stdin)["packages"]
print(next(os.path.dirname(p["manifest_path"]) for p in packages if p["name"] == "cudarc"))')

# make_one FILE SONAME RESULT MODULE: RESULT is what the library's functions return for an error.
make_one() {
    code=$folder/$1.c
    grep -ohE '^\s+fn [a-zA-Z0-9_]+\(' "$sources/src/$4/sys/mod.rs" |
        sed 's/.*fn //; s/($//' | sort -u |
        awk -v result="$3" '{ print "int " $1 "(void) { return " result "; }" }' >"$code"
    [ -s "$code" ] || { echo "cuda: error: $sources/src/$4 declares no function" >&2; exit 1; }
    cc -shared -fPIC -O0 -w -fno-builtin -Wl,-soname,"$2" -o "$folder/$2" "$code"
    ln -sf "$2" "$folder/lib$1.so"
    rm -f "$code"
}

# 100 is CUDA_ERROR_NO_DEVICE; the others' errors are any number but 0.
make_one cuda libcuda.so.1 100 driver
make_one cublas libcublas.so.13 1 cublas
make_one cublasLt libcublasLt.so.13 1 cublaslt
make_one curand libcurand.so.10 1 curand
make_one nvrtc libnvrtc.so.13 1 nvrtc
make_one nccl libnccl.so.2 1 nccl

# The runtime itself is in the compiler's package.
ln -sf ../cuda/lib/libcudart.so.13 "$folder/libcudart.so"
