#!/bin/sh
# Compiles every kernel with CUDA's own compiler, for the oldest generation that is served and for that of the H100, and
# fails where a kernel spills registers or keeps something in local memory: both are slow, and neither is meant anywhere.
# Kernels whose result is there and newer than all sources are not compiled again.
#
#   scripts/cuda/kernels.sh [FOLDER]        after: . .cache/cuda/env.sh
set -eu
cd "$(dirname "$0")/../.."

folder=${1:-target/cuda/kernels}
sources=shared/ft-kernels/kernels
mkdir -p "$folder"

say() { printf 'kernels: %s\n' "$*" >&2; }
command -v nvcc >/dev/null || { say "error: nvcc is missing: make cuda-toolchain, then . .cache/cuda/env.sh"; exit 1; }

# compile NAME GENERATION: what ptxas says about each kernel goes to a log beside the result.
compile() {
    out=$folder/$1-$2
    [ -f "$out.cubin" ] && [ -z "$(find "$sources" -newer "$out.cubin" -name '*.cu*')" ] && return
    nvcc -cubin -O3 -std=c++17 "-arch=sm_$2" -Xptxas -v -o "$out.cubin" "$sources/$1.cu" >"$out.log" 2>&1 || {
        cat "$out.log" >&2
        rm -f "$out.cubin"
        say "error: $sources/$1.cu does not compile for sm_$2"
        exit 1
    }
}

failed=0
count=0
for file in "$sources"/*.cu; do
    name=$(basename "$file" .cu)
    for generation in 80 90; do
        compile "$name" "$generation"
        count=$((count + 1))
        # "Compiling entry function 'NAME' …", then its stack frame and spills.
        bad=$(awk -F"'" '/Compiling entry function/ { name = $2 }
            /bytes stack frame/ && !/ 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads/ {
                sub(/^ */, ""); print name ": " $0 }' "$folder/$name-$generation.log")
        if [ -n "$bad" ]; then
            say "error: sm_$generation: $bad"
            failed=1
        fi
    done
done
[ "$failed" = 0 ] && say "$count compilations, no kernel spills or uses local memory"
exit "$failed"
