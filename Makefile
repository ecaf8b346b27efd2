# Needs Python 3.11 or newer, git and make; everything else is installed into .venv by the first target that wants it.
#
#   make demo    fit the radon survey: progress, summary, verdict, posterior.zarr, report.html
#   make test    the tests
#   make check   everything that CI checks

VENV := .venv
BIN := $(VENV)/bin
NEW_ENOUGH := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
CANDIDATES := python3 python3.13 python3.12 python3.11 python
PYTHON ?= $(shell for p in $(CANDIDATES); do $$p -c '$(NEW_ENOUGH)' >/dev/null 2>&1 && { echo $$p; break; }; done)
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PYTEST_ARGS ?= -n 2
# a library behind XLA makes some sums of products wrong on CPUs (bayeskit/numerics/miscompilation.py)
export XLA_FLAGS ?= --xla_cpu_experimental_ynn_fusion_type=

.PHONY: demo test slow smoke lint format types contracts docs serve examples bench check clean python
.DEFAULT_GOAL := help
.PHONY: help
help:
	@sed -n 's/^#   //p' Makefile

python:
	@test -n "$(PYTHON)" || { \
	  echo "bayeskit needs Python 3.11 or newer with the venv module; found: $$(python3 --version 2>/dev/null || echo none)."; \
	  echo "Install one (on Debian and Ubuntu the package python3-venv too), or name one: make PYTHON=/path/to/python3.12 ..."; \
	  exit 1; }
	@$(PYTHON) -c '$(NEW_ENOUGH)' || { echo "$(PYTHON) is older than Python 3.11, or lacks the venv module"; exit 1; }

# One stamp per set of packages: the environment is made once and again only when pyproject.toml changes.
$(VENV)/.made: | python
	@echo "making the environment in $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.core: pyproject.toml | $(VENV)/.made
	@echo "installing bayeskit (once, a minute or two)"
	@$(PIP) install -e .
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/.made
	@echo "installing bayeskit and what its tests need (once, a minute or two)"
	@$(PIP) install -e ".[test]"
	@touch $@ $(VENV)/.core

$(VENV)/.dev: pyproject.toml | $(VENV)/.made
	@$(PIP) install -e ".[test,dev,docs]"
	@touch $@ $(VENV)/.core $(VENV)/.test

$(VENV)/.bench: pyproject.toml | $(VENV)/.made
	@$(PIP) install -e ".[test,bench]"
	@touch $@

demo: $(VENV)/.core
	$(BIN)/bayeskit run inference/radon.toml

test: $(VENV)/.test
	$(BIN)/python -m pytest $(PYTEST_ARGS)

slow: $(VENV)/.test
	$(BIN)/python -m pytest -m slow

smoke: $(VENV)/.test
	$(BIN)/python -m pytest -m "smoke and not slow"

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.dev
	$(BIN)/mypy

contracts: $(VENV)/.dev
	$(BIN)/lint-imports

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

serve: $(VENV)/.dev
	$(BIN)/mkdocs serve

examples: $(VENV)/.test
	@mkdir -p out
	for f in examples/*.py; do \
	  $(BIN)/jupytext --to ipynb --execute --output out/$$(basename $$f .py).ipynb $$f || exit 1; done

bench: $(VENV)/.bench
	$(BIN)/python benchmarks/nuts.py

check: lint types contracts docs test examples

clean:
	rm -rf $(VENV) .cache .pytest_cache .ruff_cache .mypy_cache site out
