# gptforge: `make train` and `make test` do everything, from an empty machine on.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help env train test test-all check format docs bench clean

help: ## show what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 18

env: $(READY) ## install gptforge and its tools into .venv

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; ok = (3, 11) <= v < (3, 14); sys.exit(0 if ok else "gptforge needs Python 3.11 to 3.13, this is %d.%d; use: make PYTHON=python3.12" % v)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

train: $(READY) ## train the small model on Shakespeare, then write a text with it
	$(BIN)/gptforge train model=small data=shakespeare
	$(BIN)/gptforge sample ckpt=latest

test: $(READY) check ## lint, types and the fast tests (under 10 minutes)
	$(BIN)/python -m pytest -q -m "not slow"

test-all: $(READY) check ## every test
	$(BIN)/python -m pytest -q

check: $(READY) ## lint and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

format: $(READY) ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY) ## write docs/config.md and the references in docs/walk.md anew
	$(BIN)/python docs/build.py

bench: $(READY) ## measure training and sampling on this machine
	$(BIN)/python benchmarks/main_job.py

clean: ## remove the environment and caches of tools; runs/ stays
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis dist build
