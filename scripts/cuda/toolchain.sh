#!/bin/sh
# What compiles and links for CUDA on a machine without a GPU: the CUDA 13.0 compiler and headers out
# of their Python packages (157 MB to download), and env.sh, which says where they are.
#
#   scripts/cuda/toolchain.sh
#   . .cache/cuda/env.sh
#
# FT_CUDA_DIR     where it goes (.cache/cuda)
# FT_CUDA_WHEELS  a folder with the wheels, where they have been downloaded already
#
# Not for running: a program built with it takes CUDA's libraries from the machine with the GPU.
set -eu
cd "$(dirname "$0")/../.."

say() { printf 'cuda: %s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

folder=${FT_CUDA_DIR:-.cache/cuda}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
wheels=${FT_CUDA_WHEELS:-$folder/wheels}
tree=$folder/cuda

# One release of CUDA: cudarc refuses later compilers than 13.3. nvcc, its back end and the headers
# that candle's kernels include.
packages="nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88
nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85 nvidia-curand==10.4.0.35"

if [ ! -f "$folder/done" ]; then
    python3 -m pip --version >/dev/null 2>&1 || die "python3 with pip is missing: make setup"
    mkdir -p "$wheels"
    if [ "$(find "$wheels" -name 'nvidia_*.whl' | wc -l)" -lt 6 ]; then
        say "downloading the compiler and its headers (157 MB)"
        # shellcheck disable=SC2086
        python3 -m pip download --quiet --no-deps --only-binary=:all: --dest "$wheels" $packages >&2 ||
            die "pip could not download $packages"
    fi
    rm -rf "$tree"
    mkdir -p "$tree"
    # The packages lay their files below nvidia/cu13.
    python3 - "$wheels" "$tree" <<'PYTHON'
import pathlib, shutil, sys, zipfile

wheels, tree = map(pathlib.Path, sys.argv[1:])
root = "nvidia/cu13/"
for wheel in sorted(wheels.glob("nvidia_*.whl")):
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if not name.startswith(root) or name.endswith("/"):
                continue
            target = tree / name[len(root):]
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as source, open(target, "wb") as out:
                shutil.copyfileobj(source, out)
for folder in ["bin", "nvvm/bin"]:
    for program in (tree / folder).iterdir():
        if program.is_file():
            program.chmod(0o755)
PYTHON
    "$tree/bin/nvcc" --version >/dev/null || die "$tree/bin/nvcc does not run"
    # Only what this script downloaded for itself.
    [ -n "${FT_CUDA_WHEELS:-}" ] || rm -rf "$wheels"
    : >"$folder/done"
fi

# Where only numbered libraries lie, the linker finds nothing: the stand-ins of stubs.sh come first.
cat >"$folder/env.sh" <<ENV
# Sourced before a build with the feature cuda. 80 is the oldest generation with bf16; the driver
# compiles the kernels for a newer one when they are first used.
export CUDA_HOME="$tree" CUDA_PATH="$tree" CUDA_ROOT="$tree"
export PATH="$tree/bin:$tree/nvvm/bin:\$PATH"
export CUDA_COMPUTE_CAP="\${CUDA_COMPUTE_CAP:-80}"
export LIBRARY_PATH="$folder/stubs\${LIBRARY_PATH:+:\$LIBRARY_PATH}"
ENV
say "$("$tree/bin/nvcc" --version | sed -n 's/.*release/release/p') in $folder: . $folder/env.sh"
