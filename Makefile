# Two commands: `make demo` shows the main job, `make test` checks it. Both need Python 3.11 or later and make, nothing else.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Real vLLM, apart from the project's own environment. ENGINE=gpu takes the vllm of this machine instead.
ENGINE ?= cpu
VLLM_VENV := .venv-vllm
VLLM_READY := $(VLLM_VENV)/.ready
VLLM_COMMAND ?= $(if $(filter gpu,$(ENGINE)),vllm,$(CURDIR)/$(VLLM_VENV)/bin/vllm)
VLLM_INSTALL := tests/vllm/install

# Set in many container images. Every start of a command would compile all of captionqa, 0.7 s instead of 0.1.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-browser test-slurm test-vllm check format lint types layers shell bench clean

demo: $(READY)
	$(BIN)/captionqa demo

# Whole commands wait half of their time: more of them than cores, and they come first, so that no core is idle at the end.
# pytest ends with 5 when PYTEST_ARGS choose no test.
test: $(READY)
	$(BIN)/python -m pytest -n 4 --dist worksteal tests/standin tests/contract tests/unit $(PYTEST_ARGS) || test $$? = 5
	@echo "Not run by this: make test-browser (reports in Chromium), make test-slurm (a SLURM cluster of virtual nodes; needs"
	@echo "root and slurm-wlm), make test-vllm (real vLLM, installed beside; 2.5 GB). .ci/run runs all of them."

# Reports in a Chromium without a window; Debian's package, nothing is downloaded.
test-browser: $(READY)
	$(BIN)/python -m pytest -n 0 tests/browser $(PYTEST_ARGS) || test $$? = 5

# On a SLURM cluster of virtual nodes on this machine; they mostly wait, so more of them than cores run side by side.
test-slurm: $(READY)
	$(BIN)/python -m pytest -n 4 tests/slurm $(PYTEST_ARGS) || test $$? = 5

# The contract tests on the stand-in and on real vLLM, then whole runs against vLLM: one after the other, two cores are full.
test-vllm: $(READY) $(if $(filter gpu,$(ENGINE)),,$(VLLM_READY))
	$(BIN)/python -m pytest -n 0 --vllm=$(ENGINE) --vllm-command="$(VLLM_COMMAND)" tests/contract tests/vllm $(PYTEST_ARGS)

check: format lint types layers shell test test-browser test-slurm test-vllm  ## what CI runs

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

$(VLLM_READY): $(wildcard $(VLLM_INSTALL)/*)
	rm -rf $(VLLM_VENV)
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps $(VLLM_PIP_ARGS) \
	    --requirement $(VLLM_INSTALL)/requirements-cpu.txt
	$(VLLM_VENV)/bin/python $(VLLM_INSTALL)/repair_venv.py
	touch $(VLLM_READY)

clean:
	rm -rf $(VENV) $(VLLM_VENV) build dist
