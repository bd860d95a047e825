#!/bin/sh
# Installs torchrun into a virtual environment of its own, .cache/torchrun: torch as PyPI serves it, whose import needs the
# GPU libraries too. Does nothing where a torchrun is on the path, or there already; where there is no room or no
# network, it says so and passes, and what needs torchrun is skipped.
#
#   scripts/torchrun_setup.sh
set -eu
cd "$(dirname "$0")/.."
torch=$(grep '^torch==' scripts/peers/requirements.txt)
env=.cache/torchrun

skip() { echo "torchrun_setup: skipped, $*; ranks are not tried under torchrun"; exit 0; }

for there in torchrun "$env/bin/torchrun"; do
    if command -v "$there" >/dev/null 2>&1 && "$there" --help >/dev/null 2>&1; then
        echo "torchrun_setup: $there is there"
        exit 0
    fi
done
free_kb=$(df -Pk . | awk 'NR==2 {print $4}')
[ "$free_kb" -gt 12000000 ] || skip "12 GB of free disk are needed for $torch, $((free_kb / 1000000)) GB are left"
echo "torchrun_setup: installing $torch into $env: it downloads about 3 GB" >&2
rm -rf "$env"
"${PYTHON:-python3}" -m venv "$env" || skip "'python3 -m venv' failed"
"$env/bin/python" -m pip install --quiet --disable-pip-version-check --no-cache-dir "$torch" || skip "pip could not install $torch"
"$env/bin/torchrun" --help >/dev/null || skip "torchrun does not start"
echo "torchrun_setup: $env/bin/torchrun"
