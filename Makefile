# Every target sets up what it needs; a second run finds it done. `make help` lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory --no-builtin-rules

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
export PIP_ROOT_USER_ACTION := ignore

# A stamp's name carries a checksum of what it was made from: change a lock file and only its step runs again.
# The folder's own path is part of it because the scripts in a virtual environment hold absolute paths.
checksum = $(shell { echo '$(CURDIR)'; cat $(1); } | cksum | cut -d' ' -f1)
RUNTIME := $(VENV)/.stamp-runtime-$(call checksum,requirements.lock)
DEV := $(VENV)/.stamp-dev-$(call checksum,requirements.lock requirements-dev.lock)
PROJECT := $(VENV)/.stamp-project-$(call checksum,requirements.lock pyproject.toml broker/__init__.py)
# A DICOM client in JavaScript, for the tests.
DCMJS := tests/thirdparty/dcmjs-modality
NODE := $(DCMJS)/node_modules/.stamp-$(call checksum,$(DCMJS)/package-lock.json)

# pip, with one line per package as progress; its errors are shown whole.
INSTALL := $(BIN)/python -m pip install --progress-bar off
PROGRESS := sed -u -n -e 's/^Collecting \([^ ]*\).*/   \1/p' -e 's/^Installing collected packages.*/   unpacking/p'

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

.PHONY: run
run: setup ## set everything up and start the broker with config/broker.yaml
	@exec $(BIN)/broker run

.PHONY: setup
setup: $(RUNTIME) $(PROJECT) ## the virtual environment with the broker in it

.PHONY: test
test: static packages node ## set everything up and run every check and every test
	@echo "== all tests"
	@$(BIN)/python -m pytest

.PHONY: check
check: static ## format, lint, types, configuration, route tests, unit tests: no server needed
	@echo "== unit tests"
	@$(BIN)/python -m pytest tests/unit -q

.PHONY: format
format: dev ## put the code in order
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

.PHONY: proof
proof: dev packages ## harm the broker for 10 minutes and look for what it acknowledged (MINUTES=, SEED=, CLUSTER=amqp)
	@$(BIN)/python -m tests.proof --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED)) \
	  $(if $(CLUSTER),--cluster $(CLUSTER))

.PHONY: histories
histories: dev packages ## 10,000 messages of two PAS and a RIS with merges, held against a model (EVENTS=, SEED=)
	@$(BIN)/python -m tests.histories --events $(or $(EVENTS),10000) $(if $(SEED),--seed $(SEED))

.PHONY: soak
soak: dev packages ## simulated devices for an hour; the broker's curves must stay flat (MINUTES=, DEVICES=, SEED=)
	@$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),60) --devices $(or $(DEVICES),600) \
	  $(if $(SEED),--seed $(SEED))

.PHONY: bench
bench: dev ## measure (tests/bench/run.py)
	@$(BIN)/python tests/bench/run.py

.PHONY: lock
lock: ## write the lock files anew from pyproject.toml (maintainers; needs uv)
	@deploy/lock.sh

.PHONY: clean
clean: ## remove what make made, but never the data folder
	@rm -rf $(VENV) $(DCMJS)/node_modules build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

.PHONY: dev
dev: $(RUNTIME) $(DEV) $(PROJECT)

.PHONY: static
static: dev
	@echo "== format, lint, types"
	@$(BIN)/ruff format --check --quiet . || { echo "'make format' puts it right"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/python -m mypy
	@echo "== configuration and routes"
	@$(BIN)/broker check
	@$(BIN)/broker test
	@$(BIN)/broker docs --check

.PHONY: packages
packages:
	@deploy/test-packages.sh

.PHONY: node
node: $(NODE)

# Where the machine has no npm, deploy/test-packages.sh has said so; without it all other tests run.
$(NODE): | packages
	@if command -v npm >/dev/null; then \
	  echo "== packages of $(DCMJS)/package-lock.json"; \
	  npm ci --prefix $(DCMJS) --ignore-scripts --no-audit --no-fund --loglevel=error && touch $@ \
	  || echo "   npm failed: tests that need dcmjs-dimse are skipped (with CI set: fail)"; fi

$(BIN)/python:
	@echo "== virtual environment in $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; name it with 'make PYTHON=/path/to/python3 …'"; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { rm -rf $(VENV); echo "The venv module is missing: apt-get install python3-venv"; exit 1; }

$(RUNTIME): | $(BIN)/python
	@echo "== packages of requirements.lock"
	@$(INSTALL) --require-hashes -r requirements.lock | $(PROGRESS)
	@rm -f $(VENV)/.stamp-runtime-* && touch $@

$(DEV): | $(RUNTIME)
	@echo "== packages of requirements-dev.lock"
	@$(INSTALL) --require-hashes -r requirements-dev.lock | $(PROGRESS)
	@rm -f $(VENV)/.stamp-dev-* && touch $@

# No build isolation and no dependencies: everything it needs came from the lock, so nothing is fetched here.
$(PROJECT): | $(RUNTIME)
	@echo "== the broker itself"
	@$(INSTALL) --quiet --no-deps --no-build-isolation --editable .
	@rm -f $(VENV)/.stamp-project-* && touch $@
