#!/bin/sh
# Chat templates and tokenizers of many models against transformers: fetches them, has Python render and
# encode, runs our side on the same, and prints the tables. 'make templates' calls it.
#
#   scripts/templates.sh        FT_TEST_SHOWN=N shows N differences a template (1)
set -eu
cd "$(dirname "$0")/.."

scripts/fetch text gemma data
scripts/peers/setup.sh
python=.venv/bin/python
export TRANSFORMERS_VERBOSITY=error
$python scripts/make_template_cases.py fetched
$python scripts/make_tokenizer_cases.py make
cargo test --release --workspace --test templates --test vocabularies -- --ignored --nocapture --test-threads 1
$python scripts/make_tokenizer_cases.py check
