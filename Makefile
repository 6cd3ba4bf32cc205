# Everything a developer or an operator does here, one command each. A bare `make` lists them.
# `make up` needs Python 3.11 or newer and nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# What is locked is complete, so nothing is resolved; COMPILE uses every core, where pip uses one.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-compile
# Four at a time on two cores: most tests wait for processes. Tests of one file stay together.
PYTEST_PARALLEL := -n 4 --dist loadscope --no-loadscope-reorder
COMPILE := $(BIN)/python -m compileall -q -j 0 -x '/(tests?|testing)/' $(VENV)/lib
UV_COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --custom-compile-command "make lock" --group build

# A container may set it. Without bytecode each start of a service compiles all of our sources, a
# sixth of its time, and the tests start hundreds.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help up down status demo audit test test-deep compose-test engines-test hosts-test postgres-test fuzz \
	chaos abuse model bench soak loadtest check docs screenshots lock tracing clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

up: $(VENV)/installed ## start everything, in the foreground until Ctrl-C; ARGS="--detach --port 8123" passes options on
	@$(BIN)/eventify up $(ARGS)

down: $(VENV)/installed ## stop what `make up` started
	@$(BIN)/eventify down

status: $(VENV)/installed ## list the running processes and their restarts
	@$(BIN)/eventify status $(ARGS)

demo: $(VENV)/installed ## run an on-sale, live, with audit and chart
	@$(BIN)/eventify demo $(ARGS)

audit: $(VENV)/installed ## replay every decision from the rows
	@$(BIN)/eventify audit $(ARGS)

test: $(VENV)/installed-dev ## test every part, twelve minutes on two slow cores; ARGS="tests/unit" runs some
	@$(BIN)/python -m pytest $(PYTEST_PARALLEL) --durations=10 $(ARGS)

test-deep: $(VENV)/installed-dev ## test faults, pages, clients, rehearsals, fuzz and models at length
	@$(BIN)/python -m pytest $(PYTEST_PARALLEL) --durations=10 tests/deep $(ARGS)

compose-test: $(VENV)/installed-dev ## build the image and run docker-compose.yml, with a sale; needs root, podman, netavark, runc, debootstrap
	@$(BIN)/python -m pytest -q tests/environments/compose $(ARGS)

fuzz: $(VENV)/installed-dev ## generated requests for a quarter of an hour; ARGS="--seed 7 --max-time 3600" for more
	@$(BIN)/python -m tests.deep.fuzz --max-time 600 $(ARGS)
	@$(BIN)/python -m pytest -q --hypothesis-profile=fuzz tests/deep/model

chaos: $(VENV)/installed-dev ## inject faults, alone and in pairs; ARGS="--rounds 500 --seed 7", or --controls
	@$(BIN)/python -m tests.chaos $(ARGS)

abuse: $(VENV)/installed-dev ## measure what each kind of abuse does to ten buyers, about 15 minutes; ARGS="--list", "--only readyz --seconds 5"
	@$(BIN)/python -m tests.abuse $(ARGS)

engines-test: $(VENV)/installed-dev ## the system on RabbitMQ, Sentinel and PgBouncer; needs the first and the last installed
	@$(BIN)/python -m pytest --timeout 300 tests/environments/engines $(ARGS)

hosts-test: $(VENV)/installed-dev ## cut off and kill hosts (network namespaces) during a sale; needs root, iproute2
	@$(BIN)/python -m pytest -q tests/environments/hosts $(ARGS)

postgres-test: $(VENV)/installed-dev ## the integration tests on PostgreSQL 14, 15, 16 and 17; ARGS="-k 14" runs one; needs x86-64
	@$(BIN)/python -m pytest -q -s tests/environments/postgres $(ARGS)

bench: $(VENV)/installed-dev ## benchmark it against a bare server and a simple design; ARGS="--quick" takes two minutes
	@$(BIN)/python -m loadtests.bench $(ARGS)

soak: $(VENV)/installed-dev ## sell for an hour at a constant rate, and judge what grows; ARGS="--minutes 10 --rate 300"
	@$(BIN)/python -m loadtests.soak $(ARGS)

loadtest: $(VENV)/installed-dev ## rehearse an on-sale with Locust, about a minute; ARGS="--spike-users 2000 --max-p99-ms 500"
	@$(BIN)/python -m loadtests $(ARGS)

model: ## check the protocol's model with Spin, every state of it: ten minutes; ARGS="--quick" for those of seconds
	@$(PYTHON) docs/model/check.py $(ARGS)

check: $(VENV)/installed-dev ## lint, formatting, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/installed ## write docs/configuration.md from shared/config/setting_groups.py
	@$(BIN)/eventify settings --markdown > docs/configuration.new
	@mv docs/configuration.new docs/configuration.md

screenshots: $(VENV)/installed-dev ## take docs/storefront.png and docs/console.png during a rush; needs Chromium
	@$(BIN)/python -m tests.browser.screenshots

lock: $(VENV)/installed-dev ## write all requirements*.txt from pyproject.toml
	$(UV_COMPILE) --extra local -o requirements.txt pyproject.toml
	$(UV_COMPILE) --extra tracing -o deploy/docker/requirements.txt -c requirements.txt pyproject.toml
	$(UV_COMPILE) --extra local --extra tracing --group dev -o requirements-dev.txt \
		-c requirements.txt -c deploy/docker/requirements.txt pyproject.toml
	$(UV_COMPILE) --extra charts --group loadtest -o deploy/docker/requirements-loadtest.txt \
		-c requirements-dev.txt pyproject.toml

tracing: $(VENV)/installed-tracing ## install what OpenTelemetry traces need; OTEL_EXPORTER_OTLP_ENDPOINT turns them on

clean: ## remove the virtual environment and caches; data in .eventify stays
	@if [ -x $(BIN)/eventify ]; then $(BIN)/eventify down; fi
	rm -rf $(VENV) eventify.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "Error: Eventify needs Python 3.11 or newer; name one with make PYTHON=/path/to/python3." >&2; exit 1; }
	@echo "Making the virtual environment $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# Downloads happen here, and only when the locked versions changed.
$(VENV)/installed: requirements.txt pyproject.toml | $(BIN)/python
	@echo "Installing the locked dependencies ..."
	@$(PIP_INSTALL) --require-hashes -r requirements.txt
	@$(PIP_INSTALL) --no-build-isolation -e .
	@$(COMPILE)
	@touch $@

$(VENV)/installed-tracing: deploy/docker/requirements.txt | $(VENV)/installed
	@echo "Installing the locked tracing libraries ..."
	@$(PIP_INSTALL) --require-hashes -r deploy/docker/requirements.txt
	@touch $@

$(VENV)/installed-dev: requirements-dev.txt | $(VENV)/installed
	@echo "Installing the locked development tools ..."
	@$(PIP_INSTALL) --require-hashes -r requirements-dev.txt
	@$(COMPILE)
	@touch $@
