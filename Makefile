# Needs Python 3.11 or newer, git and make; everything else is installed into .venv by the first target that wants it.
#
#   make demo      fit the radon survey: progress, summary, verdict, posterior.zarr, report.html
#   make test      the tests: every rule by its covering rows, minutes
#   make docs      the Python blocks of the pages, the site with what they and the notebooks show, and a look at each page in a browser
#   make examples  the notebooks, executed into out/
#   make test-all  every row of every table, with the array shapes of all signatures checked at every call
#   make slow      the long references
#   make gpu       bayeskit beside its peers on an accelerator, six minutes; on a CPU a minute, at sizes that say only that it runs
#   make dist      wheel and sdist, each installed into an empty environment and used, with the oldest and the newest Python
#   make check     everything that CI checks
#
# Compiled programs of the tests are kept in ~/.cache/bayeskit/xla (tests/conftest.py), which `make clean` leaves alone.

VENV := .venv
BIN := $(VENV)/bin
NEW_ENOUGH := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
CANDIDATES := python3 python3.13 python3.12 python3.11 python
PYTHON ?= $(shell for p in $(CANDIDATES); do $$p -c '$(NEW_ENOUGH)' >/dev/null 2>&1 && { echo $$p; break; }; done)
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# a file stays in one process, with what its tests share
PYTEST_ARGS ?= -n 2 --dist loadfile --durations 10
# a library behind XLA makes some sums of products wrong on CPUs (bayeskit/xla/miscompilation.py)
export XLA_FLAGS ?= --xla_cpu_experimental_ynn_fusion_type=

.PHONY: demo test test-all slow smoke lint format types contracts docs serve examples bench gpu dist check clean python
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

test-all: $(VENV)/.test
	BAYESKIT_RUNTIME_TYPES=1 $(BIN)/python -m pytest $(PYTEST_ARGS) -m "not slow"

slow: $(VENV)/.test
	$(BIN)/python -m pytest $(PYTEST_ARGS) -m slow

smoke: $(VENV)/.test
	$(BIN)/python -m pytest -m "smoke and not slow and not full"

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
	$(BIN)/python -m pytest $(PYTEST_ARGS) --dist load --maxschedchunk 1 -m "docs and not slow" tests/docs/test_pages.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	$(BIN)/python -m pytest -m docs --ignore tests/docs/test_pages.py tests/docs

serve: $(VENV)/.dev
	$(BIN)/mkdocs serve

examples: $(VENV)/.test
	@mkdir -p out
	printf '%s\n' examples/*.py | OPENBLAS_NUM_THREADS=1 xargs -P 2 -I {} sh -c \
	  '$(BIN)/jupytext --to ipynb --execute --update-metadata "{\"example_size\": \"$(BAYESKIT_EXAMPLE_SIZE)\"}" \
	  --output out/$$(basename {} .py).ipynb {} || exit 255'

bench: $(VENV)/.bench
	$(BIN)/python benchmarks/nuts.py
	$(BIN)/python benchmarks/first_verdict.py

# on a machine with an NVIDIA GPU first: .venv/bin/pip install -e ".[cuda]"
gpu: $(VENV)/.test
	$(BIN)/python benchmarks/gpu.py --json gpu.json

dist: $(VENV)/.dev
	bash .ci/dist $(BIN)/python

check: lint types contracts examples docs test

clean:
	rm -rf $(VENV) .cache .pytest_cache .ruff_cache .mypy_cache site out dist
