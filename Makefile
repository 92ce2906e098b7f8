# Two commands matter to a newcomer: `make demo` and `make test`. Both set up .venv themselves.

# `make -f` from another folder would set up, and clean, whatever lies there.
ifeq ($(filter Makefile ./Makefile,$(lastword $(MAKEFILE_LIST))),)
$(error run make in the folder of this Makefile, or give that folder: make -C FOLDER)
endif
# `make clean` deletes it: another folder is made and deleted by whoever wants one.
ifeq ($(origin VENV),command line)
$(error VENV is no setting: the environment of this checkout is .venv; leave VENV out)
endif
override VENV := .venv
override BIN := $(VENV)/bin
# A line that names MAKE itself is run by `make -n` too.
override SELF := $(MAKE)
override READY := $(VENV)/.ready

# What a user may set. Recipes read it from their environment, as "$$NAME", so that blanks, quotes and semicolons stay
# what they are; taken as it was written, since make would read a dollar in it as a variable of its own.
override SET := $(sort PYTHON LOANS ONLY MARK QUICK PICTURES PORT MLFLOW_PORT ADVISORIES CREDIT_HOME DAGSTER_HOME MLFLOW_TRACKING_URI \
	$(filter CREDIT_%,$(.VARIABLES)))
$(foreach name,$(SET),$(eval override $(name) := $$(value $(name))))
override PYTHON := $(if $(PYTHON),$(PYTHON),python3)
# Data of the demo lives in the checkout and is thrown away with it; each book has a home of its own.
override CREDIT_HOME := $(if $(CREDIT_HOME),$(CREDIT_HOME),$(CURDIR)/.credit_assets$(if $(LOANS),/lending_club))
export $(foreach name,$(SET),$(if $($(name)),$(name)))
# Lenders often sit behind a proxy with a certificate of its own: trust what the machine trusts.
export UV_SYSTEM_CERTS ?= true
export DO_NOT_TRACK := 1
export MLFLOW_DISABLE_TELEMETRY := true
# Images set it; the hundreds of processes of the tests would compile the package each for itself.
unexport PYTHONDONTWRITEBYTECODE

# Scripts and the editable install name the folder that they were made in: moved or copied, they would run the old one's
# code, or none. An environment of an earlier version does not say where it was made, but its scripts do.
override MOVED := $(shell test ! -e $(READY) || test "$$(cat $(READY))" = "$$(pwd -P)" || { \
	test ! -s $(READY) && grep -qsF -- "$$(pwd -P)/$(BIN)/" $(BIN)/credit-assets; } || echo moved)

# Packages that pyproject.toml overrides away (`tool.uv`), and what the image for GPUs needs of them nevertheless.
override UNUSED := nvidia-nccl-cu12 plotly graphviz
override NCCL := nvidia-nccl-cu12>=2.28

.DEFAULT_GOAL := help
.PHONY: help setup demo dev test test-all test-browser test-orchestrators canary lint bench docs sbom licenses advisories e2e-k8s lock clean moved

help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 10

setup: $(READY) ## Install the locked dependencies into .venv

$(READY): requirements.lock pyproject.toml $(MOVED)
	@case "$$PYTHON" in "~/"*) PYTHON="$$HOME/$${PYTHON#??}";; esac; \
	command -v -- "$$PYTHON" >/dev/null || { echo "PYTHON=$$PYTHON cannot be run: give the path of a Python 3.11 to 3.14" >&2; exit 1; }; \
	"$$PYTHON" -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 14) else \
		f"credit_assets needs Python 3.11 to 3.14, {sys.executable} is {v[0]}.{v[1]}: run make PYTHON=/path/to/python3.11")' || exit; \
	$(BIN)/python -c '' 2>/dev/null || { echo "Creating $(VENV)"; mark=$$(ls $(VENV)/pyvenv.cfg 2>/dev/null); \
		"$$PYTHON" -m venv $${mark:+--clear} $(VENV) && touch $(VENV)/.made; }
	@$(if $(MOVED),echo "This checkout was moved or copied: its scripts are made anew"; \
		$(BIN)/python -m pip uninstall --quiet --yes pip 2>/dev/null; $(BIN)/python -m venv $(VENV),:)
	@echo "Installing the locked dependencies into $(VENV)"
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9'
	@# Without dependencies: the lock has all of them that are used.
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode $(if $(MOVED),--reinstall) \
		--require-hashes --no-deps -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@pwd -P > $(READY)
	@echo "Ready: $$($(BIN)/python --version), $$($(BIN)/uv pip list --python $(BIN)/python 2>/dev/null | tail -n +3 | wc -l) packages"

demo: $(READY) ## Main job: load loans, train, register, promote, score (LOANS=file for the real LendingClub file)
	@$(BIN)/credit-assets demo $${LOANS:+"--loans=$$LOANS"}

dev: $(READY) ## Dagster UI and daemon (PORT=3000) and MLflow (MLFLOW_PORT=5000) on what the demo made
	@$(BIN)/credit-assets dev $${PORT:+"--port=$$PORT"} $${MLFLOW_PORT:+"--mlflow-port=$$MLFLOW_PORT"}

# Lint and types beside the tests: mypy alone would leave all cores but one idle. What it says is shown in the end. In
# the background it would not hear of an interrupt.
test: $(READY) ## Lint, types, import rules, and the tests that take minutes together
	@said=$$(mktemp); trap 'kill $$lint 2>/dev/null; rm -f "$$said"' EXIT; trap 'exit 130' INT TERM; \
	$(SELF) --no-print-directory lint >"$$said" 2>&1 & lint=$$!; \
	$(BIN)/python -m pytest -q -n auto --dist loadfile --no-loadscope-reorder -m "not slow"; tests=$$?; \
	wait $$lint; lint_failed=$$?; cat "$$said"; [ $$tests = 0 ] && [ $$lint_failed = 0 ]

test-all: $(READY) ## Every test but the browser's, the slow ones too (MARK=slow: these alone)
	@$(BIN)/python -m pytest -q -n auto --dist loadfile --no-loadscope-reorder --ignore=credit_assets_tests/browser $${MARK:+"-m$$MARK"}

fuzz: $(READY) ## Inputs that nobody wrote, others each time, for everything that reads some (EXAMPLES=2000 of each target)
	@FUZZ_EXAMPLES=$${EXAMPLES:-2000} $(BIN)/python -m pytest -q -n auto --timeout 0 -m fuzz --hypothesis-show-statistics

test-orchestrators: $(READY) ## The examples for Airflow and Prefect with the real packages, against the pipeline
	@$(BIN)/python .ci/orchestrators.py

test-browser: $(READY) ## The main ways through the pages, in a Chromium (PICTURES=folder: with pictures of them)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python -r credit_assets_tests/browser/requirements.txt
	@$(BIN)/python -m pytest -q -m browser credit_assets_tests/browser

canary: $(READY) ## The core of the tests on the newest release of every dependency
	@$(BIN)/python .ci/canary.py

lint: $(READY) ## ruff, mypy (strict on ml/), import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(READY) ## Measure speed and detection into benchmarks/results and docs/benchmarks.md (ONLY=names, QUICK=1)
	@set -f; $(BIN)/python -m benchmarks $${QUICK:+--quick} -- $$ONLY

docs: $(READY) ## The pages as a site with search: build/site/index.html; a link that leads nowhere fails it
	@$(BIN)/python -m docs_site

sbom: $(READY) ## What is installed, as CycloneDX: build/supply/sbom.cdx.json
	@$(BIN)/python .ci/supply.py sbom

licenses: $(READY) ## The licences of what is installed: build/supply/licenses.md
	@$(BIN)/python .ci/supply.py licenses

advisories: $(READY) ## The locked versions held against known faults, without a network (ADVISORIES=all.zip of OSV, or a folder)
	@$(BIN)/python .ci/supply.py advisories "$$ADVISORIES"

e2e-k8s: $(READY) ## The daily run, and what clusters do to pods, on the cluster of KUBECONFIG (ONLY=scenarios)
	@set -f; $(BIN)/python -m e2e -- $$ONLY

lock: ## Resolve the dependencies again into requirements.lock, and what the image needs of them
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --all-extras \
		$(foreach name,$(UNUSED),--no-emit-package $(name)) \
		--no-header --no-emit-index-url --no-emit-find-links pyproject.toml --output-file requirements.lock
	@echo '$(NCCL)' | $(BIN)/uv pip compile --quiet --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
		--extra cluster --extra s3 --extra gcs --extra dask --extra gpu --constraint requirements.lock --override - \
		--generate-hashes --no-header --no-emit-index-url --no-emit-find-links --no-annotate pyproject.toml \
		--output-file requirements-image.lock

# Names without a blank, relative to this folder, and nothing that a user can set. A book of somebody's own in the
# default home has models and a record of decisions that nothing brings back: it stays.
override BOOKS := .credit_assets/lending_club .credit_assets
override MADE := warehouse.duckdb warehouse.duckdb.wal warehouse.tables.json store mlflow dagster logs cache rejected simulations settings.env

clean: ## Remove .venv and the data of the demo
	@for mark in $(VENV)/.made $(READY) .canary/requirements.in .orchestrators/requirements.in .supply/requirements.in; do \
		venv=$${mark%/*}; if [ -e $$mark ] || [ -L $$venv ]; then rm -rf $$venv; fi; \
	done; \
	for venv in $(VENV) .canary .orchestrators .supply; do \
		rmdir $$venv 2>/dev/null || [ ! -e $$venv ] || echo "$$venv stays: it was not made here; delete it by hand"; \
	done
	@if [ -d build/docs/doctrees ]; then rm -rf build/docs build/site build/.site-new; fi; \
	rm -f build/supply/sbom.cdx.json build/supply/licenses.md; \
	rmdir build/supply build 2>/dev/null || :
	@for book in $(BOOKS); do \
		if [ -L $$book ]; then rm $$book; continue; fi; \
		if grep -q '^# Settings of the demo' $$book/settings.env 2>/dev/null; then \
			for made in $(MADE); do rm -rf $$book/$$made; done; \
		fi; \
		rmdir $$book 2>/dev/null || [ ! -e $$book ] || \
			echo "$$book stays: it holds what the demo did not make (a book of your own?); delete it by hand"; \
	done
