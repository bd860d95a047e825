#!/bin/sh
# The comparison with the peers, whole: their environment, the inputs, do they read our files, the table of ratios.
# `make peers` builds and fetches first, then calls this. About 40 minutes; the machine should do nothing else.
#
#   scripts/peers/run.sh [--runs N]         the table goes to testdata/peers/last-run.md
set -eu
cd "$(dirname "$0")/../.."

scripts/peers/setup.sh
.venv/bin/python scripts/peers/make_inputs.py
failed=0
.venv/bin/python scripts/peers/read_back.py || failed=1
scripts/fetch gemma
.venv/bin/python scripts/peers/llama_cpp_peer.py || failed=1
.venv/bin/python scripts/peers/lm_eval_mmlu.py || failed=1
.venv/bin/python scripts/peers/compare.py --write testdata/peers/last-run.md "$@" || failed=1
scripts/torchrun_test.sh .venv/bin || failed=1
scripts/ranks.sh .venv/bin/torchrun || failed=1
exit $failed
