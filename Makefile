# Signalbox. On a machine with Python 3.11 or newer and make, every target below works as it is.
.DEFAULT_GOAL := help
.PHONY: help run test test-clients test-faults test-full bench lint format schema requirements clean

PYTHON ?= python3
AGENTS ?= 12
PYTEST_ARGS ?=
BENCH_ARGS ?=
UPGRADE ?=

VENV := .venv/bin
PY := $(VENV)/python
REPORT := .signalbox/shows.jsonl
# Whatever ends this make, `kill -9` included, ends what it starts, which then ends its servers.
ALONE := $(PY) -I -S
TIED := $(ALONE) gateway/embedded/tether.py 0 SIGTERM $(ALONE) deploy/attend.py

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: export SIGNALBOX_DATA_DIR ?= .signalbox/run
run: ## Start everything with demo data and a small simulated fleet (AGENTS=12) on http://127.0.0.1:8000
	@$(PYTHON) deploy/setup.py run
	@exec $(TIED) $(PY) -m gateway serve --demo --simulate $(AGENTS)

test: lint ## The gate: format, lint, types, imports, Dockerfile, schema, then the suite (Python only)
	@echo "== schema"
	@$(PY) -m gateway export-schema --check
	@echo "== pytest"
	@exec $(TIED) $(PY) -m pytest -m "not faults and not clients" -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

test-clients: ## Real Node clients and a browser against a real gateway; installs what it needs
	@$(PYTHON) deploy/setup.py dev
	@deploy/install-peers
	@exec $(TIED) $(PY) -m pytest -p tests.no_skips -m clients $(PYTEST_ARGS)

test-faults: ## Processes killed, stopped and cut off, at full number
	@$(PYTHON) deploy/setup.py dev
	@exec $(TIED) $(PY) -m pytest -p tests.no_skips -m "faults or timed" $(PYTEST_ARGS)

test-full: ## test, test-clients and test-faults, then what each issue shows, with its numbers
	@$(PYTHON) deploy/setup.py dev
	@rm -f $(REPORT)
	@status=0; \
	for target in test test-clients test-faults; do \
		$(MAKE) --no-print-directory $$target PYTEST_ARGS="-p tests.no_skips $(PYTEST_ARGS)" || { status=1; echo "== $$target failed"; }; \
	done; \
	$(PY) -m tests.report && exit $$status

bench: ## Measure: ratios to a floor, or to the same run without the fault (BENCH_ARGS="--only fanout")
	@$(PYTHON) deploy/setup.py dev
	@exec $(TIED) $(PY) -m benchmarks $(BENCH_ARGS)

lint: ## Formatting, lint, types, import directions and the Dockerfile
	@$(PYTHON) deploy/setup.py dev
	@echo "== ruff"
	@$(VENV)/ruff format --check .
	@$(VENV)/ruff check .
	@echo "== mypy"
	@$(VENV)/mypy
	@echo "== import-linter"
	@$(VENV)/lint-imports
	@echo "== hadolint"
	@$(VENV)/hadolint Dockerfile

format: ## Format the code and repair what the linter can
	@$(PYTHON) deploy/setup.py dev
	@$(VENV)/ruff format .
	@$(VENV)/ruff check --fix .

schema: ## Write schema.graphql anew
	@$(PYTHON) deploy/setup.py dev
	@$(PY) -m gateway export-schema

requirements: ## Pin the dependencies of pyproject.toml with hashes (UPGRADE=1 takes newer versions)
	@$(PYTHON) deploy/setup.py dev
	@deploy/pin-requirements $(if $(UPGRADE),--upgrade)

clean: ## Remove .venv, the demo's data and every cache
	rm -rf .venv .setup.lock .signalbox .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist
	rm -rf tests/clients/node_modules tests/clients/output clients/typescript/node_modules clients/typescript/dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
