# make setup | demo | test | lint | bench
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# With a GPU any torch >= 2.6 will do; this release is the one the project is tested with.
TORCH ?= torch==2.13.0
DEMO ?= demo-output

.PHONY: setup demo test test-fast lint format bench clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "faceforward needs Python 3.11 or newer: make PYTHON=python3.12 setup")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip "setuptools>=77" wheel
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

demo: setup
	$(BIN)/python -m faceforward.commands.demo --output $(DEMO)

# A worker for each of two cores; each takes about 3 GiB. `make test WORKERS=0` runs in one process.
WORKERS ?= 2
test: setup
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

test-fast: setup
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy src

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# make bench BENCH="ageing.py --photos 8": any script of benchmarks/ with its arguments; benchmarks/README.md has them
# and their figures. By itself it takes the one that needs nothing but the package: what eight ages cost.
BENCH ?= editing_speed.py
bench: setup
	$(BIN)/python benchmarks/$(BENCH)

clean:
	rm -rf $(VENV) build dist *.egg-info src/*.egg-info $(DEMO)
