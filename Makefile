# Everything a developer or a user starts begins here. On a fresh machine python3 (3.11 or newer) and make are enough:
# each target brings the virtual environment it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
UV := $(VENV)/uv/bin/uv
READY := $(VENV)/.ready
PEERS := build/peers
SOURCES := api scheduler worker shared deploy tests

# A mirror that pip is told to use is meant for uv too.
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif

.PHONY: help run test check format fuzz bench bench-step bench-budget bench-plots bench-peers soak drills lock peers-lock docs clean

help: ## Show this help.
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' Makefile

run: $(READY) ## Start everything, run the sample workflow, serve until Ctrl-C (ARGS=--exit: end after the run).
	@$(BIN)/python -m deploy.sample $(ARGS)

# In the order of their folders, files with few and long tests come first: by number of tests they would come last, one by one.
test: $(READY) ## Run the tests (ARGS: passed on to pytest).
	$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder -m "not drill" $(ARGS)

check: $(READY) ## Check formatting, lint, types and the layering of packages.
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## Format and mend what can be mended without thought.
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

fuzz: $(READY) ## Hostile templates and conditions for SECONDS (600); SEED repeats a run, CASE=SEED:NUMBER shows one case again.
	$(BIN)/python -m tests.fuzz $(or $(CASE),$(or $(SECONDS),600)) $(SEED)

bench: $(READY) ## Measure the figures of docs/performance.md (ARGS: which).
	$(BIN)/python -m tests.bench $(ARGS)

bench-step: $(READY) ## The processor time of a pure step with templates (REPEATS).
	$(BIN)/python -m tests.bench.step

bench-budget: $(READY) ## Where the microseconds of a run go, process by process (ONLY=1,3,4,12; SECONDS).
	$(BIN)/python -m tests.bench.budget $(ARGS)

bench-plots: $(READY) ## Draw what the benchmarks left in build/ for docs/performance.md, and print its tables.
	$(BIN)/python -m tests.bench.plots

bench-peers: $(READY) $(PEERS)/.ready ## Measure others beside us, in the same minutes (ONLY=dbos,celery; SECONDS, REPEATS).
	$(BIN)/python -m tests.bench.peers --python $(PEERS)/bin/python $(ARGS)

soak: $(READY) ## Workload 1 for half an hour: latency, memory and sizes over time.
	$(BIN)/python -m tests.bench.soak $(ARGS)

# The last line is every drill that stands elsewhere: plans at ten million runs (4 minutes), every time zone.
drills: $(READY) ## Kill, stop and empty things while runs are in flight for STORM_SECONDS (600); STORM_SEED repeats one.
	STORM_SECONDS=$(or $(STORM_SECONDS),600) $(BIN)/pytest -s tests/faults $(ARGS)
	SIMULATION_SCHEDULES=$(or $(SIMULATION_SCHEDULES),20000) SIMULATION_SEQUENCES=$(or $(SIMULATION_SEQUENCES),300) \
		$(BIN)/pytest tests/property/test_simulation.py tests/property/test_simulation_fidelity.py $(ARGS)
	$(BIN)/pytest -s -m drill --ignore tests/faults $(ARGS)

lock: $(UV) ## Refresh requirements.lock from pyproject.toml (ARGS=--upgrade: to the newest versions).
	$(UV) pip compile --quiet --python $(BIN)/python --universal --generate-hashes --python-version 3.11 \
		--extra embedded --extra nodes --group dev --no-emit-index-url --custom-compile-command "make lock" \
		$(ARGS) -o requirements.lock pyproject.toml

peers-lock: $(UV) ## Refresh what `make bench-peers` measures (ARGS=--upgrade: to the newest versions).
	$(UV) pip compile --quiet --python $(BIN)/python --generate-hashes --python-version 3.11 --no-emit-index-url \
		--custom-compile-command "make peers-lock" $(ARGS) \
		-o tests/bench/peers/requirements.txt tests/bench/peers/requirements.in

docs: $(READY) ## Write the documentation that is made from the code.
	$(BIN)/python -m deploy.reference docs/configuration.md
	$(BIN)/python -m tests.conformance.pages docs/nodes

clean: ## Remove the virtual environment and every cache; data in .edgewise stays.
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist

$(READY): $(UV) requirements.lock pyproject.toml
	@echo "installing the locked dependencies"
	@$(UV) pip sync --python $(BIN)/python --require-hashes --compile-bytecode requirements.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

$(PEERS)/.ready: $(UV) tests/bench/peers/requirements.txt
	@echo "making $(PEERS)"
	@$(UV) venv --quiet --clear --python $(BIN)/python $(PEERS)
	@$(UV) pip sync --python $(PEERS)/bin/python --require-hashes --compile-bytecode --quiet \
		tests/bench/peers/requirements.txt
	@touch $@

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit("Edgewise needs Python 3.11 or newer, not " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	@echo "making $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --target $(VENV)/uv uv==$(UV_VERSION)
