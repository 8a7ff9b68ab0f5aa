# One command per task. `make` alone lists them.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin

# The first of these that runs, is at least 3.11 and can make an environment; PYTHON=... goes before them.
PYTHON ?=
CANDIDATES := $(PYTHON) python3.13 python3.12 python3.11 python3
FIND_PYTHON = for python in $(CANDIDATES); do \
	"$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; python=; \
	done; test -n "$$python" || { echo "No Python >= 3.11 with venv found (tried $(CANDIDATES))." >&2; exit 1; }

# at least two, so that tests which disturb each other are found on one core too
WORKERS = $$(n=$$(nproc); echo $$((n > 2 ? n : 2)))

.PHONY: help demo test check soak bench clean

help:  ## list these commands
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

demo: $(VENV)/.demo  ## serve handwritten digits, train on them, show what the daemon did
	$(BIN)/python examples/digits.py demo

test: $(VENV)/.dev  ## run all tests but the long ones
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup -m "not soak"

check: $(VENV)/.dev  ## ruff, mypy and import-linter
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

soak: $(VENV)/.dev  ## run the long tests
	$(BIN)/pytest -m soak

bench: $(VENV)/.bench  ## measure against PyTorch's DataLoader, Keras 3, tf.data service and bare ZeroMQ
	$(BIN)/python -m benchmarks transport
	$(BIN)/python -m benchmarks remote
	$(BIN)/python -m benchmarks inprocess
	$(BIN)/python -m benchmarks sharing
	$(BIN)/python -m benchmarks pipeline
	$(BIN)/python -m benchmarks latency
	$(BIN)/python -m benchmarks scaling
	$(BIN)/python -m benchmarks soak

clean:  ## remove the environment and everything that was built
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(FIND_PYTHON); echo "making $(VENV) with $$("$$python" --version)"; "$$python" -m venv $(VENV)

# Each kind of installation leaves a stamp, and is done again when the requirements change.
$(VENV)/.bench: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet --editable ".[bench]"
	@touch $@

$(VENV)/.%: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --editable ".[$*]"
	@touch $@
