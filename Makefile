# Two commands need nothing but Python 3.11+, make and a compiler:  make quickstart  and  make test.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: quickstart test test-cluster faults lint format install bench gallery clean

quickstart: $(VENV)/.installed
	$(BIN)/gradatlas run quickstart

# One process a core; runs on a real Ray come after.
test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal -m "not slow and not cluster"
	$(MAKE) test-cluster

# Runs on a real Ray that are killed, starved and resumed, one fault each; they wait for Ray more than they
# compute, so two go on at a time.
test-cluster: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist worksteal -m cluster --durations=5

# One run whose driver is killed 20 times at random moments, and every row of it.
faults: $(VENV)/.installed-dev
	$(BIN)/python -m tests.cluster.faults --kills 20

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

install: $(VENV)/.installed-dev

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

bench: $(VENV)/.installed-dev
	PYTHONPATH=. $(BIN)/python tests/bench/engine.py $(CASES)
	PYTHONPATH=. $(BIN)/python -m tests.bench.analysis
	PYTHONPATH=. $(BIN)/python -m tests.bench.theory
	PYTHONPATH=. $(BIN)/python tests/bench/search.py
	PYTHONPATH=. $(BIN)/python -m tests.bench.runs $(CASES)
	PYTHONPATH=. $(BIN)/python -m tests.bench.costs

# The README's pictures, from runs of the presets quickstart and phase:
# make gallery RUN=runs/NAME PHASE=runs/NAME
gallery:
	cp $(RUN)/report/figures/regime_map.png analysis/gallery/
	$(BIN)/gradatlas theory --activation tanh --plot analysis/gallery/phase_diagram.png --measured $(PHASE)

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
