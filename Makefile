# `make nightly` and `make test` are all that a newcomer needs; both set up `.venv` first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: nightly test check lint types docs bench clean

nightly: .venv/ready
	$(BIN)/tastegraph nightly --source demo --root tastegraph-data

# As many test files at once as there are cores. Each process that runs tests/flows starts a Prefect server: not too many.
# In the order of the folders: tests/flows comes first, whose files take longest.
test: .venv/ready
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

check: lint types test

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: .venv/ready
	$(BIN)/mypy

docs: .venv/ready
	$(BIN)/python docs/generate.py

bench: .venv/ready
	$(BIN)/python benchmarks/topk.py

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv tastegraph-data
