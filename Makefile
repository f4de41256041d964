# `make nightly` and `make test` are all that a newcomer needs; both set up `.venv` first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: nightly test quick slow lint types docs audit bench bench-paper faults fuzz mutants clean

nightly: .venv/ready
	$(BIN)/tastegraph nightly --source demo --root tastegraph-data

# The quick part first: it says within minutes that something is wrong.
test: quick slow

# What needs neither Prefect nor a browser, and takes seconds a file: under five minutes on two cores.
QUICK = models storage tasks/data tasks/evaluation tasks/night tasks/systems test_structure.py
# One test file more at once than there are cores, as nights wait for the processes that they start; but not too many, as
# each process that runs tests/flows starts a Prefect server. tests/flows, whose files take longest, comes first.
WORKERS := $(shell $(PYTHON) -c "import os; print(min(4, 1 + (os.cpu_count() or 1)))")
PYTEST = $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder
quick: lint types
	$(PYTEST) $(addprefix tests/,$(QUICK))

# All other tests.
slow: .venv/ready
	$(PYTEST) $(addprefix --ignore=tests/,$(QUICK))

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: .venv/ready
	$(BIN)/mypy

docs: .venv/ready
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/build_site.py

# Each claim of docs/performance.md beside its reference: minutes; at the paper's size an hour.
BENCHMARKS = topk triplets images clusters vectors evaluation
bench: .venv/ready
	for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py || exit 1; done

bench-paper: .venv/ready
	for name in topk triplets clusters vectors evaluation; do $(BIN)/python benchmarks/$$name.py --paper || exit 1; done
	$(BIN)/python benchmarks/ingest.py
	$(BIN)/python benchmarks/serve.py
	$(BIN)/python benchmarks/world.py --root tastegraph-data/world

# Nights killed, starved, cut off and damaged, and what came of it. Ten of everything take
# about half an hour. With RESULTS=FILE a run that was broken off goes on. Some scenarios mount small disks: as root.
KILLS ?= 10
RESULTS ?=
faults: .venv/ready
	$(BIN)/python -m tests.faults --kills $(KILLS) $(if $(RESULTS),--results $(RESULTS))

# Damaged settings, records, tables, pictures and downloads, led by the code that they reach.
MINUTES ?= 10
fuzz: .venv/ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[fuzz]'
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES)

# Do tests notice when the code is wrong? All of models/ takes a night, and a run that is broken off is gone on with by the
# next one. PATHS=models/evaluation checks only that part, and always all of it.
PATHS ?=
CHILDREN ?= 1
mutants: .venv/ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[mutation]'
	OMP_NUM_THREADS=1 $(BIN)/mutmut run --max-children $(CHILDREN) $(foreach path,$(PATHS),'$(subst /,.,$(path:.py=))*')
	$(BIN)/mutmut results --all true | $(BIN)/python benchmarks/mutation_score.py

# Known vulnerabilities of the pinned versions (asks PyPI), and a bill of materials in CycloneDX's format.
audit: .venv/ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[audit]'
	$(BIN)/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --output-file bill-of-materials.json
	$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv build mutants tastegraph-data
