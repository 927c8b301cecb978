# Everything runs from .venv, made from the hashed lock file; nothing is fetched while the lock is unchanged.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup demo up test check format proto lock soak chaos crash simulate leases load bench bench-peers growth growth-picture clean

setup: $(READY)

$(READY): requirements-dev.lock pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "Replicator wants Python 3.11, which '$(PYTHON)' is not. Run: make PYTHON=/path/to/python3.11"; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	@echo "Fetching the pinned dependencies"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
	@touch $(READY)

demo: $(READY) ## the main job on real input, from nothing to a proven copy
	@$(BIN)/python scripts/demo.py

up: $(READY) ## a control plane and two nodes, until Ctrl-C
	@$(BIN)/python scripts/up.py

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check ## every check
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n 2 tests/unit
	$(BIN)/python scripts/coverage_gate.py
	$(BIN)/pytest -n 2 --ignore tests/unit

load: $(READY) ## the load tests in full: 20 GiB, 1 M objects, 10,000 connections; half an hour and 10 GB of disk
	REPLICATOR_TEST_LOAD=full $(BIN)/pytest tests/load -n0 -s

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) ## figures beside their limits; see benchmarks/README.md
	$(BIN)/python -m benchmarks $(ARGS)

PEERS := .venv-peers

bench-peers: $(READY) $(PEERS)/.ready ## the same data moved by others and by us; needs root; half an hour and 20 GB of disk
	$(BIN)/python -m benchmarks.peers --binaries $(PEERS)/bin $(ARGS)

$(PEERS)/.ready: requirements-peers.lock
	"$(PYTHON)" -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-peers.lock
	@touch $@

growth: $(READY) ## what an operation costs in stores of up to 50 M chunks; half an hour and 20 GB of disk
	$(BIN)/python -m benchmarks.growth $(ARGS)

PLOTS := .venv-plots

growth-picture: $(PLOTS)/.ready ## docs/growth.svg from what `make growth` wrote
	$(PLOTS)/bin/python -m benchmarks.growth.picture benchmarks/results/growth.json docs/growth.svg

$(PLOTS)/.ready: requirements-plots.lock
	"$(PYTHON)" -m venv $(PLOTS)
	$(PLOTS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-plots.lock
	@touch $@

DURATION ?= 300
STRIDE ?= 1

soak: $(READY) ## every kind of fault on a node under traffic, and on jobs between nodes, for DURATION seconds in all; SEED=… replays a run
	$(BIN)/python scripts/soak.py --duration $(DURATION) $(if $(SEED),--seed $(SEED))

chaos: $(READY) ## replicas over Postgres under every kind of fault for DURATION seconds; ARGS="--database sqlite" or "--real-nodes"; SEED=… replays
	$(BIN)/python scripts/chaos.py --duration $(DURATION) $(if $(SEED),--seed $(SEED)) $(ARGS)

crash: $(READY) ## a fault at every call with which a store changes its files; STRIDE=n takes every nth
	REPLICATOR_TEST_STRIDE=$(STRIDE) $(BIN)/python -m pytest -n 2 --timeout 3600 tests/fault/test_fault_at_each_call.py tests/fault/test_bits_flip.py

SCHEDULES ?= 10000

simulate: $(READY) ## seeded schedules of lost, late and repeated messages, crashes and users' changes; SEED=… is the first
	$(BIN)/python scripts/simulate.py --schedules $(SCHEDULES) $(if $(SEED),--seed $(SEED))

leases: $(READY) ## the models of the leases of duties and tasks, explored in full; a minute
	$(BIN)/python scripts/explore_leases.py $(ARGS)

proto: $(READY) ## generate src/replicator/wire/pb from proto/
	$(BIN)/python -m grpc_tools.protoc -Ireplicator/wire/pb=proto/replicator/v1 --python_out=src --pyi_out=src --grpc_python_out=src replicator/wire/pb/replication.proto

lock: ## resolve the dependencies anew; needs uv
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url --quiet --output-file requirements.lock
	uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url --quiet --output-file requirements-dev.lock
	uv pip compile --group plots --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url --quiet --output-file requirements-plots.lock
	uv pip compile --group peers --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url --quiet --output-file requirements-peers.lock
	echo hatchling | uv pip compile - --constraint requirements-dev.lock --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url --quiet --output-file docker/requirements-build.lock

clean:
	rm -rf $(VENV) $(PLOTS) $(PEERS) .mypy_cache .ruff_cache .pytest_cache .hypothesis
