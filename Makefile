# Two commands: `make demo` shows the main job, `make test` checks it. Both need Python 3.11 or later and make, nothing else.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-slurm check format lint types layers shell bench clean

demo: $(READY)
	$(BIN)/captionqa demo

# pytest ends with 5 when PYTEST_ARGS choose no test of a part.
test: $(READY)
	$(BIN)/python -m pytest -n 2 tests/unit tests/standin $(PYTEST_ARGS) || test $$? = 5
	$(MAKE) test-slurm

# On a SLURM cluster of virtual nodes on this machine; they mostly wait, so more of them than cores run side by side.
test-slurm: $(READY)
	$(BIN)/python -m pytest -n 4 tests/slurm $(PYTEST_ARGS) || test $$? = 5

check: format lint types layers shell test  ## what CI runs

format: $(READY)
	$(BIN)/ruff format --check .

lint: $(READY)
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

layers: $(READY)
	$(BIN)/lint-imports

shell: $(READY)
	$(BIN)/shellcheck slurm/*.sh .ci/run

bench: $(READY)
	$(BIN)/python -m benchmarks

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) build dist
