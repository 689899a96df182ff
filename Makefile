# Every target makes what it needs; the second run of any of them is quick.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup venv engine runsc redis image serve demo test check static unit suites lint format types imports lock bench faults clean installers doctor

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=
BY_TWO := -n 2 --dist loadfile
SUITES := $(addprefix tests/,contract integration e2e security faults)

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 18

setup: image  ## virtual environment, Docker engine, sandbox image

doctor:  ## what of all this is missing or stale (`sandbox-service doctor` judges the machine)
	@$$([ -x $(BIN)/python ] && echo $(BIN)/python || echo python3) -m deploy.setup.doctor

venv: $(READY)

$(READY): deploy/locks/dev.txt deploy/locks/uv.txt pyproject.toml
	@python=$$(deploy/setup/ensure_python.sh) && "$$python" -m deploy.setup.ensure_venv

engine: venv  ## a Docker engine that answers; installed and started when root
	@$(BIN)/python -m deploy.setup.ensure_engine

runsc: engine  ## gVisor's runtime, for templates that ask for it; needs root
	@$(BIN)/python -m deploy.setup.ensure_runsc

redis: venv  ## a redis-server for the tests to start; installed when root
	@$(BIN)/python -m deploy.setup.ensure_redis

image: engine  ## the sandbox image, if anything in it changed
	@$(BIN)/python -m images.build

serve: setup  ## the service, on loopback (ARGS="--port 9000")
	@$(BIN)/sandbox-service serve $(ARGS)

demo: setup  ## an assistant answers a question about a real CSV
	@$(BIN)/python -m runner.demo $(ARGS)

test: venv  ## everything that CI checks: lint, format, types, import rules, tests
	@$(MAKE) --no-print-directory image || [ -z "$${CI:-}" ]
	@$(MAKE) --no-print-directory check

# Two things at a time: static checks beside the unit tests, then the suites that start processes and containers.
check: venv
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target static unit
	@$(MAKE) --no-print-directory suites

static: lint types imports

unit: venv  ## the unit tests: no engine, a minute or two
	@echo "== unit tests" && $(BIN)/python -m pytest tests/unit $(BY_TWO) $(ARGS)

suites: venv  ## every other suite, two files of tests at a time (needs the image; ARGS="-k redis")
	@echo "== suites" && $(BIN)/python -m pytest $(SUITES) $(BY_TWO) $(ARGS)

lint: venv  ## ruff: rules and format
	@echo "== lint" && $(BIN)/ruff check .
	@echo "== format" && $(BIN)/ruff format --check .

format: venv  ## rewrite the code in the house's format
	@$(BIN)/ruff check --fix-only --quiet . && $(BIN)/ruff format .

types: venv  ## mypy, strict
	@echo "== types" && $(BIN)/mypy && $(BIN)/mypy images/*.py deploy/setup/*.py

imports: venv
	@echo "== import rules" && $(BIN)/lint-imports --no-cache

lock: venv  ## newest versions into every lock, and the list of what is in the image
	@deploy/setup/lock.sh $(BIN)/uv
	@$(BIN)/python -m images.contents

bench: setup  ## the benchmarks' table
	@$(BIN)/python -m tests.benchmarks $(ARGS)

faults: setup redis  ## every fault, and their table (ARGS="--soak-s 3600"; ARGS="-k redis")
	@$(BIN)/python -m pytest tests/faults tests/faults/long_*.py --faults-table tests/faults/RESULTS.md $(ARGS)

installers: venv  ## every lock by the oldest and the newest pip, on a day when all has become newer
	@$(BIN)/python -m pytest tests/integration/installing/long_locks.py $(ARGS)

clean:  ## remove the virtual environment and caches; images stay
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .setup
