# Two commands need nothing but Python 3.11+, make and a compiler:  make quickstart  and  make test.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

# One process a core.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

.PHONY: help quickstart test test-fast test-cluster check faults mutants lint format install bench gallery clean

help:  ## what can be made
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

quickstart: $(VENV)/.installed  ## install, run 2048 trials, write the report: about 3 minutes
	$(BIN)/gradatlas run quickstart

test: $(VENV)/.installed-dev  ## all tests but the slow grids: about 13 minutes on two cores
	$(PYTEST) -m "not slow and not cluster"
	$(MAKE) test-cluster

test-fast: $(VENV)/.installed-dev  ## the tests to run while writing: within 2 minutes
	$(PYTEST) -m "not slow and not cluster and not browser and not thorough"

check: lint test-fast  ## lint and the fast tests: before a commit

# They wait for Ray more than they compute, so two go on at a time.
test-cluster: $(VENV)/.installed-dev  ## runs on a real Ray that are killed, starved and resumed: 7 minutes
	$(BIN)/python -m pytest -n 2 --dist worksteal -m cluster --durations=5

faults: $(VENV)/.installed-dev  ## one run whose driver is killed 20 times, and every row of it: 4 minutes
	$(BIN)/python -m tests.cluster.faults --kills 20

# Which mutants: SAMPLE of all, drawn with SEED, or of those in FILES="study/theory/*", or those named ONLY.
SAMPLE ?= 150
SEED   ?= $(shell od -An -N2 -tu2 /dev/urandom | tr -d ' ')
FILES  ?= *
JOBS   ?= 2

mutants: $(VENV)/.installed-dev  ## the share of random small changes of the source that tests notice: an hour
	$(BIN)/python -m tests.mutants --sample $(SAMPLE) --seed $(SEED) --files '$(FILES)' --only '$(ONLY)' --jobs $(JOBS)

lint: $(VENV)/.installed-dev  ## format, rules and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev  ## put the code into its form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

install: $(VENV)/.installed-dev  ## .venv with all that tests need

# torch comes first: with the exact version of constraints.txt pip takes the build that the machine
# offers (a local CPU wheel, or PyPI's, which carries CUDA), and what follows keeps it.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("gradatlas needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

bench: $(VENV)/.installed-dev  ## every figure of the documentation: an hour
	PYTHONPATH=. $(BIN)/python tests/bench/engine.py $(CASES)
	PYTHONPATH=. $(BIN)/python -m tests.bench.analysis
	PYTHONPATH=. $(BIN)/python -m tests.bench.theory
	PYTHONPATH=. $(BIN)/python tests/bench/search.py
	PYTHONPATH=. $(BIN)/python -m tests.bench.runs $(CASES)
	PYTHONPATH=. $(BIN)/python -m tests.bench.costs

# The pictures of README and docs, from runs of the presets quickstart and phase:
# make gallery RUN=runs/NAME PHASE=runs/NAME
gallery:  ## the pictures of README and docs: RUN=… PHASE=…
	cp $(RUN)/report/figures/regime_map.png $(RUN)/report/figures/measured_against_predicted.png analysis/gallery/
	$(BIN)/gradatlas theory --activation tanh --plot analysis/gallery/phase_diagram.png --measured $(PHASE)

clean:  ## remove what was made
	rm -rf $(VENV) .mutants .mypy_cache .pytest_cache .ruff_cache .hypothesis
