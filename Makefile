# gptforge: `make train` and `make test` do everything, from an empty machine on.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
READY := $(VENV)/.ready
PEERS := $(VENV)/.peers
HARNESS := $(VENV)/.harness
BENCHMARKS := kernels training_step peak sampling imported startup memory scaling sweeps listing objectives
BENCH_DATA := bpe prepare cleaning personal_data
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile
DATA ?=
EXPERIMENT ?=

.DEFAULT_GOAL := help
.PHONY: help env train test test-all faults faults-full faults-mutants test-harness check format docs lock bench bench-data bench-quality clean

help: ## show what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

env: $(READY) ## install gptforge and its tools into .venv

$(READY): pyproject.toml constraints.txt requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; ok = (3, 11) <= v < (3, 14); sys.exit(0 if ok else "gptforge needs Python 3.11 to 3.13, this is %d.%d; use: make PYTHON=python3.12" % v)'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --no-deps --require-hashes --requirement requirements.lock
	$(PIP) --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	@touch $@

train: $(READY) ## train the small model on Shakespeare, then write a text with it
	$(BIN)/gptforge train model=small data=shakespeare
	$(BIN)/gptforge sample ckpt=latest

test: $(READY) check ## lint, types and the fast tests (under 10 minutes)
	$(PYTEST) -m "not slow"

test-all: $(READY) check ## every test
	$(PYTEST)

faults: $(READY) ## do harm, and see that nothing is lost: the quick set, under 12 minutes
	cd tests && ../$(BIN)/python -m faults --workers $(WORKERS)

faults-full: $(READY) ## the same as often as docs/reliability.md reports, up to 90 minutes
	cd tests && ../$(BIN)/python -m faults --full --workers $(WORKERS)

faults-mutants: $(READY) ## break gptforge on purpose, and see which faults notice
	cd tests && ../$(BIN)/python -m faults.mutants --workers $(WORKERS)

test-harness: $(HARNESS) ## the tests that need the lm-evaluation-harness, which is installed first (0.4 GB)
	$(BIN)/python -m pytest -q tests/evals/test_harness.py

check: $(READY) ## lint and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

format: $(READY) ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY) ## write docs/config.md and the references in docs/walk.md anew
	$(BIN)/python docs/build.py

# Not torch, nor what CUDA needs: their builds differ by machine. The first time without hashes, for the names of those
LOCKED = UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile pyproject.toml --extra dev --constraint constraints.txt --universal --python-version 3.11 --quiet
lock: $(READY) ## write requirements.lock anew: the hashes of all packages but torch
	$(PIP) --constraint constraints.txt uv
	skip=$$($(LOCKED) | grep -oE '^(torch|triton|cuda-[a-z]+|nvidia-[a-z0-9-]+)==' | sed 's/==//; s/^/--no-emit-package=/'); \
	$(LOCKED) --generate-hashes --no-annotate $$skip --output-file requirements.lock

bench: $(PEERS) ## measure speed and memory against peers, about 30 minutes; leave the machine alone meanwhile
	@set -e; for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python benchmarks/$$name.py; done
	$(BIN)/python benchmarks/report.py

bench-data: $(READY) ## measure tokenizers, cleaning and the search for personal data
	@set -e; for name in $(BENCH_DATA); do echo "== $$name"; $(BIN)/python benchmarks/$$name.py; done
	$(BIN)/python benchmarks/report.py

$(PEERS): $(READY)
	$(PIP) --constraint constraints.txt --editable '.[bench]'
	@touch $@

$(HARNESS): $(READY)
	$(PIP) --constraint constraints.txt --editable '.[eval]'
	@touch $@

bench-quality: $(READY) ## measure losses and the time to them, about an hour and a half: DATA=FILE [EXPERIMENT=NAME]
	@test -f "$(DATA)" || { echo "make bench-quality needs a text: make bench-quality DATA=path/to/tinyshakespeare.txt"; exit 2; }
	$(BIN)/python benchmarks/time_to_loss.py --data "$(DATA)"
	@if [ -n "$(EXPERIMENT)" ]; then $(BIN)/python benchmarks/time_to_loss.py --data "$(DATA)" --experiment "$(EXPERIMENT)"; fi
	$(BIN)/python benchmarks/main_job.py
	$(BIN)/python benchmarks/cleaning_pays.py
	$(BIN)/python benchmarks/experts.py
	$(BIN)/python benchmarks/report.py

clean: ## remove the environment and caches of tools; runs/ stays
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis dist build
