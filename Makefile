# Two commands for a stranger: `make train` and `make test`. Each makes .venv with the tested
# versions first.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

# Where the versions that pyproject.toml admits begin and end: a Python and its packages each.
LOWEST_PYTHON ?= python3.11
HIGHEST_PYTHON ?= python3.13
VERSIONS_TESTS = tests/identities tests/data tests/estimators tests/app tests/contract \
	--ignore=tests/contract/test_wheel.py

.PHONY: train test test-fast test-slow test-versions test-lowest test-highest lint format tables site clean

train: $(VENV)/.train-ready
	$(BIN)/wakesleep train

# The tests of every commit: minutes on two cores, a worker a core and a thread a worker, lint beside
# them. test-slow: the others, in browsers and clean environments, and whole experiments. Byte code
# is kept whatever the environment says: the many processes that tests start would each compile the
# package anew.
test test-slow: export PYTHONDONTWRITEBYTECODE =
test: $(VENV)/.test-ready
	$(MAKE) --jobs 2 lint test-fast

test-fast: $(VENV)/.test-ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile -m "not slow"

test-slow: $(VENV)/.test-ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile -m slow

# Many GB: each environment takes a PyTorch of its own.
test-versions: test-lowest test-highest

# What old packages use of newer ones below them may be deprecated; that is no fault of ours.
test-lowest: .venv-lowest/.ready
	.venv-lowest/bin/python -m pytest -n auto --dist loadfile -m "not slow" -W ignore::DeprecationWarning $(VERSIONS_TESTS)

test-highest: .venv-highest/.ready
	.venv-highest/bin/python -m pytest -n auto --dist loadfile -m "not slow" $(VERSIONS_TESTS)

.venv-lowest/.ready: pyproject.toml
	$(LOWEST_PYTHON) -m venv --clear .venv-lowest
	sed -nE 's/^ +"(.*)>=(.*)",$$/\1==\2/p' pyproject.toml > .venv-lowest/constraints.txt
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check -c .venv-lowest/constraints.txt -e ".[app,dev,docs]"
	touch $@

.venv-highest/.ready: pyproject.toml
	$(HIGHEST_PYTHON) -m venv --clear .venv-highest
	.venv-highest/bin/python -m pip install --quiet --disable-pip-version-check -e ".[app,dev,docs]"
	touch $@

lint: $(VENV)/.test-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.test-ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

tables: $(VENV)/.train-ready
	$(BIN)/python -m benchmarks.docs_tables README.md docs/*.md
	$(BIN)/python -m benchmarks.api docs/api.md
	$(BIN)/python -m benchmarks.commands docs/commands.md
	$(BIN)/python -m benchmarks.quotes docs/architecture.md

# The documentation with the page in it, into site/, for any static host: open site/index.html. A
# warning is an error.
site: $(VENV)/.docs-ready
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs site

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"wakesleep needs Python 3.11 or newer, {sys.executable} is {sys.version.split()[0]}; try: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.train-ready: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.test-ready: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[app,dev,docs]"
	touch $@

$(VENV)/.docs-ready: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	touch $@

clean:
	rm -rf $(VENV) .venv-lowest .venv-highest build dist site .pytest_cache .mypy_cache .ruff_cache
