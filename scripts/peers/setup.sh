#!/bin/sh
# Makes the peers' virtual environment (.venv): torch, transformers, peft, trl,
# datasets, pandas. Does nothing when it is already there and complete.
#
#   scripts/peers/setup.sh            PYTHON=python3.11 scripts/peers/setup.sh
set -eu
cd "$(dirname "$0")/../.."
want=scripts/peers/requirements.txt
python=${PYTHON:-python3}

say() { printf 'peers: %s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

if [ -f .venv/ft-complete ] && cmp -s "$want" .venv/ft-complete; then
    say "the virtual environment .venv is there and complete"
    exit 0
fi

free_kb=$(df -Pk . | awk 'NR==2 {print $4}')
say "installing torch, transformers, peft, trl, datasets, pandas into .venv"
say "this downloads about 3 GB and takes about 7 GB of disk: torch as PyPI serves it"
say "brings the GPU libraries, which its import needs even where only the CPU is used"
[ "$free_kb" -gt 12000000 ] || die "12 GB of free disk are needed here, $((free_kb / 1000000)) GB are left"

# llama.cpp without what is not used here; its quantisers without fused multiply-add, which is how it builds them itself.
export CMAKE_ARGS="${CMAKE_ARGS:--DLLAVA_BUILD=OFF -DMTMD_BUILD=OFF -DGGML_OPENMP=OFF -DLLAMA_CURL=OFF}"
[ -x .venv/bin/python ] || "$python" -m venv .venv \
    || die "'$python -m venv' failed: on Debian 'apt-get install python3-venv' (make setup does it)"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-cache-dir -r "$want" \
    || die "pip could not install the packages of $want"
.venv/bin/python - <<'PY' || die "the environment is installed but does not import"
import torch, transformers, peft, trl, datasets, pandas, llama_cpp
print("peers: torch", torch.__version__, "transformers", transformers.__version__, "peft", peft.__version__,
      "trl", trl.__version__, "datasets", datasets.__version__, "pandas", pandas.__version__)
PY
cp "$want" .venv/ft-complete
say "done: $(du -sh .venv | cut -f1) in .venv"
