#!/bin/sh
# Whether this change can break the build for CUDA, whose check takes minutes: prints why, or fails where nothing behind the feature has changed since BASE (where this branch left main;
# on main, the commit before). Without a history to compare with, the answer is yes.
#
#   scripts/cuda/changed.sh [BASE]
set -eu
cd "$(dirname "$0")/../.."

base=${1:-}
if [ -z "$base" ]; then
    for main in origin/main main; do
        base=$(git merge-base HEAD "$main" 2>/dev/null) && break || base=
    done
    if [ -z "$base" ] || [ "$base" = "$(git rev-parse HEAD 2>/dev/null)" ]; then
        base=$(git rev-parse --verify --quiet 'HEAD~1' || true)
    fi
fi
if [ -z "$base" ] || ! files=$(git diff --name-only "$base" HEAD -- 2>/dev/null); then
    echo "there is no earlier commit to compare with"
    exit 0
fi

behind=$(grep -rl 'feature = "cuda"' shared bins --include='*.rs' || true)
for file in $files; do
    case $file in
    Cargo.lock | *Cargo.toml | scripts/cuda/check/nvcc | scripts/cuda/changed.sh | scripts/cuda/kernels.sh | \
        shared/ft-kernels/build.rs | shared/ft-kernels/kernels/* | shared/ft-kernels/src/cuda/*)
        echo "$file"
        exit 0
        ;;
    esac
    for one in $behind; do
        if [ "$file" = "$one" ]; then
            echo "$file"
            exit 0
        fi
    done
done
exit 1
