# make run          starts the whole system on this machine, with nothing else installed
# make test         installs what the tests need, and runs all of them
# make test-brokers runs the tests of brokers on RabbitMQ 4.0 and 4.3, with either type of queues
# make faults       runs orders under injected faults on each broker, and counts broken guarantees
# make bench        measures throughput, latency and memory, for a quarter of an hour
# make screenshots  takes the pictures in docs/screenshots
# make page-loads   measures how long pages load over a slow network
# make kitchen-frames  measures how smooth the kitchen display is with 40 tickets on a slow processor
# make icons        draws the icons of the pages from screens/assets/icon.svg
# make check        runs linters, the type checker, and the checks of layers, language, pages and deployment
# make wheel        builds the wheel in dist/, with the pinned build backend
# make sbom         lists all dependencies in dist/sbom.cdx.json (CycloneDX)
# make lock         pins the versions and hashes of all dependencies

# Test files start in the order of their names, in which the long ones come first: in its own order
# xdist starts files with few tests last, although these take a minute each.

PYTHON ?= python3
# Test processes; most tests wait more than they compute.
WORKERS ?= 4
VENV   := .venv
BIN    := $(VENV)/bin

# Only pinned releases are installed. Source releases would be built with unpinned build tools.
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PINNED := $(PIP) --require-hashes --only-binary :all:
# One version of each package for all platforms and for Python 3.11 and newer.
PIN    := $(BIN)/uv pip compile --quiet --no-config --universal --python-version 3.11 \
	--fork-strategy fewest --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
	$(ARGS)

# Tests start hundreds of processes, each of which would compile the same modules again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test test-brokers faults bench page-loads kitchen-frames screenshots icons check wheel sbom lock clean

run: $(VENV)/.run
	@$(BIN)/restaurant-system up $(ARGS)

test: $(VENV)/.dev
	@$(BIN)/python tests/support/prerequisites.py
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

# The folders with RabbitMQ 4.0 and 4.3, each of which is made once; needs root and Debian.
ROOTS ?= $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/restaurant-system/rabbitmq
CONTRACT_TESTS := $(wildcard tests/integration/test_broker_*.py tests/integration/test_dead_letter*.py) \
	tests/integration/test_poison.py
RABBITMQ_TESTS := $(wildcard tests/integration/test_rabbitmq*.py) tests/integration/test_topology.py \
	tests/integration/test_doctor_rabbitmq.py

test-brokers: $(VENV)/.dev
	@$(BIN)/python tests/support/prerequisites.py
	@for suite in trixie forky; do \
		root="$(ROOTS)/$$suite"; \
		scripts/make_rabbitmq_root.sh $$suite "$$root" || exit 1; \
		echo "The RabbitMQ of Debian $$suite, with classic and then with quorum queues:"; \
		RABBITMQ_ROOT="$$root" $(BIN)/python -m pytest -q -k "not postgres" $(ARGS) \
			$(CONTRACT_TESTS) $(RABBITMQ_TESTS) || exit 1; \
		RABBITMQ_ROOT="$$root" RABBITMQ_QUEUE_TYPE=quorum $(BIN)/python -m pytest -q -k "not postgres" \
			$(ARGS) $(CONTRACT_TESTS) || exit 1; \
	done
	@echo "A cluster that is upgraded from trixie's RabbitMQ to forky's:"
	@RABBITMQ_ROOT="$(ROOTS)/trixie" NEXT_RABBITMQ_ROOT="$(ROOTS)/forky" \
		$(BIN)/python -m pytest -q $(ARGS) tests/integration/test_rabbitmq_upgrade.py

faults: $(VENV)/.dev
	@$(BIN)/python tests/support/prerequisites.py
	@$(BIN)/python -m tests.faults $(ARGS)

bench: $(VENV)/.dev
	@$(BIN)/python tests/support/prerequisites.py
	@$(BIN)/python -m benchmarks $(ARGS)

screenshots: $(VENV)/.dev
	@$(BIN)/python tests/support/prerequisites.py
	@$(BIN)/python -m tests.screenshots

page-loads: $(VENV)/.dev
	@$(BIN)/python tests/support/prerequisites.py
	@$(BIN)/python -m benchmarks.page_loads

kitchen-frames: $(VENV)/.dev
	@$(BIN)/python tests/support/prerequisites.py
	@$(BIN)/python -m benchmarks.kitchen_frames

icons: $(VENV)/.dev
	@$(BIN)/python -m tests.icons

check: $(VENV)/.dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python scripts/check_language.py
	@$(BIN)/python scripts/check_browser_features.py
	@$(BIN)/hadolint Dockerfile
	@$(BIN)/docker-compose --env-file .env.example config --quiet
	@$(BIN)/python scripts/check_manifests.py

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "restaurant-system needs Python 3.11 or newer; name one with: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
		|| { rm -rf $(VENV); echo "Python cannot make a virtual environment; install its venv module (python3-venv on Debian)."; exit 1; }

$(VENV)/.run: requirements.lock requirements-build.lock pyproject.toml | $(VENV)/bin/python
	@echo "Installing restaurant-system into $(VENV) ..."
	@$(PINNED) -r requirements.lock -r requirements-build.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.run
	@echo "Installing what the tests and checks need ..."
	@$(PINNED) -r requirements-dev.lock
	@touch $@

wheel: $(VENV)/.run
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .

sbom: $(VENV)/.dev
	@mkdir -p dist
	@$(BIN)/python scripts/make_sbom.py dist/sbom.cdx.json

# Each file takes the versions of the one before it, because they are installed together.
lock: $(VENV)/.dev
	@$(PIN) --output-file requirements.lock pyproject.toml
	@$(PIN) --extra telemetry --constraint requirements.lock --output-file requirements-telemetry.lock \
		pyproject.toml
	@$(PIN) --extra dev --extra telemetry --constraint requirements-telemetry.lock \
		--output-file requirements-dev.lock pyproject.toml
	@$(BIN)/python -c 'import tomllib; \
		print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' \
		| $(PIN) --constraint requirements-dev.lock --output-file requirements-build.lock -

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
