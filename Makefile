# Everything that is typed here. SWITCHYARD_STATE and SWITCHYARD_*_PORT pass through to every target.
SHELL := /bin/sh
.DEFAULT_GOAL := help

# The first Python that really runs and is 3.11 or 3.12, for set-up; then the environment that set-up makes.
SYSTEM_PYTHON := $(shell for p in python3.12 python3.11 python3; do \
	"$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && { echo "$$p"; break; }; done)
PYTHON := .venv/bin/python
BIN := .venv/bin

# Container images often forbid Python to keep what it compiles: each program would compile MLflow again, for seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup setup-checks demo up airflow airflow-down observe observe-down ingest ingest-down status logs down clean doctor check format lint types contracts tests test test-long bench dashboards screenshots lock

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 18

demo: setup ## set-up, the stack, and the main job on this project's own documentation
	@$(PYTHON) -m stack up
	@$(PYTHON) -m demo

test: $(if $(FAST),fast,check) ## set-up and everything that CI runs; FAST=1 for unit and contract tests alone (a minute)

setup: python-is-here ## everything that `make demo` needs, without starting it
	@$(SYSTEM_PYTHON) -m stack setup

setup-checks: python-is-here ## the same, with the tools of `make check`
	@$(SYSTEM_PYTHON) -m stack setup --checks

airflow: up ## Airflow beside the stack, in its own environment; its DAGs begin paused, ACTIVE=1 lets them start
	@$(PYTHON) -m stack.airflow up $(if $(ACTIVE),--active)

airflow-down: environment-is-here ## stop Airflow and leave the stack running
	@$(PYTHON) -m stack.airflow down

observe: up ## Prometheus and the OpenTelemetry collector beside the stack
	@$(PYTHON) -m stack.observe up

observe-down: environment-is-here ## stop Prometheus and the collector and leave the stack running
	@$(PYTHON) -m stack.observe down

ingest: python-is-here ## Kafka, the ingestion service and the writer of its tables, beside the stack
	@$(SYSTEM_PYTHON) -m stack setup --ingestion
	@$(PYTHON) -m stack up
	@$(PYTHON) -m stack.ingest up

ingest-down: environment-is-here ## stop Kafka, the ingestion service and the writer and leave the stack running
	@$(PYTHON) -m stack.ingest down

doctor: ## what this machine lacks, and what to type
	@if $(PYTHON) -c '' 2>/dev/null; then $(PYTHON) -m stack doctor; else $(or $(SYSTEM_PYTHON),python3) -m stack doctor; fi

up: setup ## start the stack and wait until it is ready
	@$(PYTHON) -m stack up

status: environment-is-here ## what runs (the stack, Airflow, Prometheus, Kafka, orphans), where, and its memory
	@$(PYTHON) -m stack status

logs: environment-is-here ## the end of the logs; PART=server for one part
	@$(PYTHON) -m stack logs $(PART)

down: environment-is-here ## stop everything of this stack, Airflow, Prometheus and Kafka too
	@$(PYTHON) -m stack down

clean: environment-is-here ## stop everything and remove its data (asks; YES=1 does not)
	@$(PYTHON) -m stack clean $(if $(YES),--yes)

check: setup-checks format lint types contracts tests ## format, lint, types, import contracts, tests: exactly CI

format: setup-checks ## is every file formatted
	@$(BIN)/ruff format --check .

lint: setup-checks ## ruff
	@$(BIN)/ruff check .

types: setup-checks ## mypy, strict
	@$(BIN)/mypy

contracts: setup-checks ## who may import whom
	@$(BIN)/lint-imports

tests: setup-checks ## the tests alone, in two lanes side by side
	@$(PYTHON) -m tests

.PHONY: fast
fast: setup-checks
	@$(PYTHON) -m pytest -q tests/unit tests/contracts

test-long: setup-checks ## kills, soaks and simulations: before a release
	@$(PYTHON) -m pytest -m long

SUBJECTS := console drift evaluation flips gate gateway guard_live ingestion lineage model_serving retrieval rollouts rollout_traffic shadow telemetry text_preparation
bench: setup-checks ## measurements beside their peers, and docs/scorecard.md; SUBJECT=gate for one
	@for subject in $(or $(SUBJECT),$(SUBJECTS)); do $(PYTHON) -m bench.$$subject || exit $$?; done
	@$(PYTHON) -m bench.scorecard

dashboards: setup-checks ## Grafana's JSON from observability/grafana/contents.py
	@$(PYTHON) -m observability.grafana.generate

screenshots: setup-checks ## the guide's pictures of the console, of a stack of their own
	@$(PYTHON) -m tests.console.screenshots

lock: ## resolve requirements/ again from pyproject.toml
	@requirements/lock.sh

.PHONY: python-is-here environment-is-here
environment-is-here:
	@test -x $(PYTHON) || { echo "Nothing was set up here yet: type make demo." >&2; exit 2; }

python-is-here:
	@test -n "$(SYSTEM_PYTHON)" || { echo "There is no Python 3.11 or 3.12 that runs: install one (Debian: apt-get install python3 python3-venv)." >&2; exit 2; }
