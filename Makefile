# Two commands are enough: make demo, make test. Both set up what is missing first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Files of tests that run at a time; many wait for sound, sockets or a browser.
JOBS ?= 2
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test lint clean system models

help: ## show what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(INSTALLED) models ## make .venv, install, fetch and verify the models

demo: setup ## start the page on the demo source (Ctrl-C ends it)
	TONALITY_DEMO=1 $(BIN)/streamlit run dashboard/app.py

test: FOR := test
test: setup ## run every test (JOBS=1: one file at a time)
	$(BIN)/pytest --numprocesses $(JOBS) --dist loadfile -m "not alone"
	$(BIN)/pytest -m alone

lint: $(INSTALLED) ## linter, check of the formatting, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean: ## remove .venv (the models stay in their cache)
	rm -rf $(VENV)

$(INSTALLED): pyproject.toml | system
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "Tonality needs Python 3.11 or newer; choose one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || { \
	    echo "$(PYTHON) cannot make virtual environments (Debian: apt-get install python3-venv)" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $@

# Both look each time, in well under a second: what was there yesterday may be gone.
system:
	@PYTHON=$(PYTHON) .ci/system $(FOR)

models: $(INSTALLED)
	@$(BIN)/python -m dashboard.models_cli fetch
