# make demo    sets up .venv and runs the demonstration
# make test    sets up .venv and runs linters, type checks and tests
# make test-all   the same with the tests that are marked slow
# make docs    sets up .venv and builds the documentation: site/index.html
# make labs    writes the notebooks of the teaching labs from labs/sources
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-all docs labs install clean

install: .venv/installed

.venv/installed: pyproject.toml
	$(PYTHON) -c "import sys; sys.exit('Python 3.10 or newer is needed: make PYTHON=python3.11') if sys.version_info < (3, 10) else None"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@

demo: install
	$(BIN)/python -m agents.demo

test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

test-all: test
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m slow

docs: install
	$(BIN)/python -m docs.generator

labs: install
	$(BIN)/python -m labs.build

clean:
	rm -rf .venv runs site build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
