# What a person or CI does here. Everything lives in .venv, which the first target that needs it creates.

VENV := .venv
BIN := $(VENV)/bin
# Most of what is installed is never imported: what is, is compiled at its first import.
PIP := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --root-user-action=ignore --no-compile
# The first that runs and fits; a version manager's stand-in for a Python that is not there does not run.
FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))
PYTHON ?= $(shell for p in python3.12 python3.11 python3; do $$p -c '$(FITS)' 2>/dev/null && echo $$p && break; done)

# Hundreds of processes start in the tests: no module is compiled for each of them.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run test test-slow test-all check format quality bench faults bulk-faults bulk-latency audit settings-page

help:  ## Say what the targets do
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.run  ## Start Pathlight on 127.0.0.1:8000 (PORT= for another port); Ctrl-C ends it
	@exec $(BIN)/pathlight run

# Many tests wait more than they compute: three run side by side, each with one thread for its arithmetic. The services
# that they start use all cores, and their threads sleep rather than spin while others have them. What judges time runs
# after that, alone.
SIDE_BY_SIDE := --numprocesses 3 --dist loadfile --no-loadscope-reorder
test test-slow test-all: export OMP_NUM_THREADS = 1
test test-slow test-all: export OMP_WAIT_POLICY = passive
ALONE_TESTS = $(BIN)/python -m pytest -m alone $$(grep -rl --include='*.py' pytest.mark.alone tests)
test: $(VENV)/.test  ## Run all but the slow tests, or those that ARGS names: make test ARGS="tests/shared -k time"
ifdef ARGS
	$(BIN)/python -m pytest $(ARGS)
else
	$(BIN)/python -m pytest -m "not slow and not alone" $(SIDE_BY_SIDE)
endif

test-slow: $(VENV)/.test  ## Run the tests of whole services, in a browser, under faults, and against the clock
	$(BIN)/python -m pytest -m "slow and not alone" $(SIDE_BY_SIDE)
	$(ALONE_TESTS)

test-all: $(VENV)/.test  ## Run both at once, as CI does: it takes less time than one after the other
	$(BIN)/python -m pytest -m "not alone" $(SIDE_BY_SIDE)
	$(ALONE_TESTS)

check: $(VENV)/.test  ## Check formatting, lint and types; changes nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

quality: $(VENV)/.test  ## Measure the quality bars on ../shared/data; writes docs/measurements/quality.md and docs/measurements/quality.json
	$(BIN)/python -m bench.quality

bench: $(VENV)/.test  ## Measure speed and cost; writes docs/measurements/performance.md and bench/out/latest.json
	$(BIN)/python -m bench.speed --write-page

faults: $(VENV)/.test  ## Strike a real service with every fault, and attack it (50 minutes); writes docs/reliability.md
	$(BIN)/python -m tests.faults
	$(BIN)/python -m tests.faults.cost

bulk-faults: $(VENV)/.test  ## Kill client and worker of a bulk run of 10,000 pictures (10 minutes); writes docs/measurements/bulk.md
	$(BIN)/python -m bench.bulk_faults

bulk-latency: $(VENV)/.test  ## Measure interactive work beside bulk work (5 minutes); writes docs/measurements/bulk.md
	$(BIN)/python -m bench.bulk_latency

settings-page: $(VENV)/.test  ## Write docs/settings.md from shared/settings.py
	$(BIN)/pathlight settings --markdown > docs/settings.md

audit: $(VENV)/.test  ## Ask the advisory database about the installed packages; needs the network
	$(BIN)/pip-audit --skip-editable

format: $(VENV)/.test  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/bin/python:
	@$(or $(PYTHON),false) -c '$(FITS)' || \
		{ echo "Python 3.11 or 3.12 is needed; name it with PYTHON=" >&2; exit 1; }
	@echo "setting up $(VENV), which takes a minute or two…"
	@$(PYTHON) -m venv $(VENV)

# What one machine runs on its own: both roles, their Redis, the command for folders; and the client, which it talks with.
ALONE := web,worker,embedded,bulk

$(VENV)/.run: pyproject.toml client/pyproject.toml | $(VENV)/bin/python
	@$(PIP) --editable ./client --editable '.[$(ALONE)]'
	@touch $@

$(VENV)/.test: pyproject.toml client/pyproject.toml | $(VENV)/bin/python
	@$(PIP) --editable ./client --editable '.[$(ALONE),s3,timm,test]'
	@touch $@ $(VENV)/.run
