# Two commands matter to a newcomer: `make demo` and `make test`. Both set up .venv themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Data of the demo lives in the checkout and is thrown away with it; each book has a home of its own.
export CREDIT_HOME ?= $(CURDIR)/.credit_assets$(if $(LOANS),/lending_club)
export DAGSTER_HOME ?= $(CREDIT_HOME)/dagster
# Lenders often sit behind a proxy with a certificate of its own: trust what the machine trusts.
export UV_SYSTEM_CERTS ?= true
export DO_NOT_TRACK := 1
export MLFLOW_DISABLE_TELEMETRY := true

.DEFAULT_GOAL := help
.PHONY: help setup demo dev test test-all canary lint bench e2e-k8s lock clean

help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

setup: $(READY) ## Install the locked dependencies into .venv

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 14) else \
		f"credit_assets needs Python 3.11 to 3.14, {sys.executable} is {v[0]}.{v[1]}: run make PYTHON=/path/to/python3.11")'
	@test -x $(BIN)/python || { echo "Creating $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "Installing the locked dependencies into $(VENV)"
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9'
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $(READY)
	@echo "Ready: $$($(BIN)/python --version), $$($(BIN)/uv pip list --python $(BIN)/python 2>/dev/null | tail -n +3 | wc -l) packages"

demo: $(READY) ## Main job: load loans, train, register, promote, score (LOANS=file for the real LendingClub file)
	@$(BIN)/credit-assets demo $(if $(LOANS),--loans $(LOANS))

dev: $(READY) ## Dagster UI and daemon (port 3000) and MLflow (port 5000) on what the demo made
	@$(BIN)/credit-assets dev

test: $(READY) ## Lint, types, import rules, and the tests that take minutes together
	@$(MAKE) --no-print-directory lint
	@$(BIN)/python -m pytest -q -n auto --dist loadfile -m "not slow"

test-all: $(READY) ## Every test, the slow ones too (MARK=slow: these alone)
	@$(BIN)/python -m pytest -q -n auto --dist loadfile $(if $(MARK),-m $(MARK))

canary: $(READY) ## The core of the tests on the newest release of every dependency
	@$(BIN)/python .ci/canary.py

lint: $(READY) ## ruff, mypy (strict on ml/), import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(READY) ## Measure speed and detection into benchmarks/results and docs/benchmarks.md (ONLY=names, QUICK=1)
	@$(BIN)/python -m benchmarks $(ONLY) $(if $(QUICK),--quick)

e2e-k8s: $(READY) ## The daily run, and what clusters do to pods, on the cluster of KUBECONFIG (ONLY=scenarios)
	@$(BIN)/python -m e2e $(ONLY)

lock: ## Resolve the dependencies again into requirements.lock, and what the image needs of them
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --all-extras \
		--no-header --no-emit-index-url --no-emit-find-links pyproject.toml --output-file requirements.lock
	@$(BIN)/uv pip compile --quiet --python-version 3.11 --python-platform x86_64-manylinux_2_28 --generate-hashes \
		--extra cluster --extra s3 --extra gcs --extra dask --extra gpu --constraint requirements.lock \
		--no-header --no-emit-index-url --no-emit-find-links --no-annotate pyproject.toml \
		--output-file requirements-image.lock

clean: ## Remove .venv and the data of the demo
	rm -rf $(VENV) .canary $(CURDIR)/.credit_assets
