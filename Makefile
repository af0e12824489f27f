# make quickstart   install and train the tiny model; about six minutes once installed
# make test         install, lint, type-check and run every test
# make install      only install
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
TORCH := torch==2.13.0+cpu
TORCH_INDEX := https://download.pytorch.org/whl/cpu
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: install quickstart test lint

install: $(INSTALLED)

$(INSTALLED): requirements/cpu.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' || \
		{ echo "inflight needs Python 3.11 or 3.12; choose one with: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@# The CPU build of torch is taken from where pip finds it, else from PyTorch's own index.
	$(PIP) install --no-deps $(TORCH) 2>/dev/null || $(PIP) install --no-deps --index-url $(TORCH_INDEX) $(TORCH)
	$(PIP) install --no-deps -r requirements/cpu.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

quickstart: $(INSTALLED)
	$(BIN)/inflight train experiment=quickstart

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest
