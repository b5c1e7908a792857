# Two commands do everything: `make train` and `make test`. Both make .venv first if it is missing.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
# What is trained; nothing is the language reference of Python by the recipe that gives the best text in its minute.
JOB ?=

.PHONY: train test check slow newest bench notebooks docs clean

train: $(VENV)/.installed
	$(BIN)/jaxrnn train $(JOB) $(ARGS)

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 --dist loadscope $(ARGS)

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -m "not gpu" tests/test_import_arrows.py tests/test_notebooks.py $(ARGS)

# The tests that take minutes and those of bits with XLA's optimizations, and the comparison with others; not in CI.
slow: $(VENV)/.installed
	JAX_DISABLE_MOST_OPTIMIZATIONS=false $(BIN)/python -m pytest -m "slow or optimized" $(ARGS)

# A quick part of the tests on a newer Python with the newest JAX and all else that pyproject.toml allows, in an
# environment of its own. Not in CI: what is newest changes by itself.
NEWEST := tests/cells tests/engines tests/training/test_step.py tests/storage/test_checkpoint.py tests/decode/test_sampling.py \
	tests/training/test_fit.py tests/test_run.py
newest: VENV = .venv-newest
newest: PYTHON = $(or $(firstword $(foreach name,python3.13 python3.12,$(shell $(name) -c 'print("$(name)")' 2>&-))),python3)
newest:
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade --upgrade-strategy eager -e ".[dev]"
	$(VENV)/bin/python --version
	$(VENV)/bin/python -m pip freeze | grep -E "^(jax|jaxlib|flax|optax|orbax-checkpoint|numpy)=="
	$(VENV)/bin/python -m pytest -n 2 $(NEWEST) $(ARGS)

bench: $(VENV)/.installed
	$(BIN)/python -m experiments.benchmark book $(ARGS)
	$(BIN)/python -m experiments.benchmark cells $(ARGS)

# Runs each notebook's text form and writes its .ipynb anew; ARGS="05 06" those two.
notebooks: $(VENV)/.installed
	$(BIN)/python notebooks/write.py $(ARGS)

# The documentation, as docs/_build/html/index.html. A warning is an error.
docs: $(VENV)/.installed-docs
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	touch $@

clean:
	rm -rf $(VENV) .venv-newest .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist docs/_build docs/notebooks
