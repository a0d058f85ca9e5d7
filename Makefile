# Everything below works in a fresh clone with make, Python >= 3.11 (with venv) and Go; nothing is installed outside build/,
# .venv/ and the caches of uv, Go and ~/.cache/nodeset-provider; but `make e2e` installs packages of Debian, as root.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
UV_VERSION := 0.13.9
UV := build/uv/bin/uv
UV_INSTALLED := build/uv/.installed-$(UV_VERSION)
BIN := .venv/bin
# libvirt-python is built against the machine's libvirt: once that has been installed, the packages are looked at again.
SYNCED := .venv/.synced$(shell pkg-config --exists libvirt 2>/dev/null && echo -with-libvirt)
DOCS_ENV := build/docs-env
PROJECTS := pyproject.toml $(wildcard drivers/*/pyproject.toml) tools/testbed/pyproject.toml

PYTEST := $(BIN)/python -m pytest
# Each worker of the integration tests runs control planes of its own, half a gigabyte and most of a core each.
WORKERS ?= 2

.PHONY: help
help: ## Say what can be made
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- set-up, done by every target that needs it -----------------------------------------------------------------------
$(UV_INSTALLED):
	@command -v $(PYTHON) >/dev/null || { echo "error: no $(PYTHON) in PATH: install Python 3.11 or newer, or run make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $$($(PYTHON) --version) is too old: Python 3.11 or newer is needed (make PYTHON=/path/to/python)" >&2; exit 1; }
	@echo "uv $(UV_VERSION): installing into build/uv …"
	@$(PYTHON) -m venv --clear build/uv || { echo "error: $(PYTHON) has no working venv module (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@build/uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@

$(SYNCED): $(UV_INSTALLED) uv.lock $(PROJECTS)
	@echo "Python packages: installing what uv.lock names into .venv …"
	@pkg-config --exists libvirt 2>/dev/null || echo "no libvirt-dev here: the libvirt driver is left without its library (tools/install-libvirt.sh)"
	@$(UV) sync --quiet --frozen --all-packages --python $(PYTHON) \
		$$(pkg-config --exists libvirt 2>/dev/null || echo --no-install-package libvirt-python)
	@touch $@

.PHONY: setup
setup: $(SYNCED) ## Install the Python packages into .venv

.PHONY: controlplane
controlplane: $(SYNCED) ## Build the real control plane, kubelet and kwok, once per version (about 6 minutes)
	@$(BIN)/python -m testbed.build

.PHONY: ignition
ignition: $(SYNCED) ## Build Ignition itself, once per version, for the tests that configure machines by it (Debian, root)
	@tools/install-ignition.sh
	@$(BIN)/python -m testbed.build ignition

# --- what people come for ---------------------------------------------------------------------------------------------
.PHONY: demo
demo: controlplane ## Show pending pods becoming machines (KEEP=1 leaves it running; CLUSTER_AUTOSCALER=/path)
	@$(BIN)/python -m testbed.demo

.PHONY: test
test: test-unit test-integration ## Run all tests

.PHONY: test-unit
test-unit: $(SYNCED) ## Run the tests that need nothing but Python
	$(PYTEST) -n $(WORKERS) tests/unit

.PHONY: test-integration
test-integration: controlplane ## Run the tests on a real control plane
	$(PYTEST) -n $(WORKERS) --dist loadfile tests/integration

# Whatever is missing, the tests say so and are skipped; with CI=true nothing may be missing.
GO_ON := || { test -z "$${CI:-}" || exit 1; }

.PHONY: e2e
e2e: controlplane ## Real virtual machines join a real control plane (Debian, root; up to 20 minutes)
	@tools/install-libvirt.sh $(GO_ON)
	@tools/install-node-image.sh $(GO_ON)
	@$(MAKE) --no-print-directory setup
	@$(BIN)/python -m testbed.node_image $(GO_ON)
	@$(BIN)/python -m testbed.netns --or-without $(PYTEST) -v tests/e2e $(E2E)

.PHONY: bench
bench: controlplane ## Measure, into a table and build/bench.json (BENCH="--ramps 100" and such; PEERS=1 runs Karpenter too)
	@$(BIN)/python tests/bench/run.py $(BENCH)

.PHONY: check
check: $(SYNCED) ## Format, lint, types, layers, protocol, generated files, lock file
	@PATH="$(CURDIR)/$(BIN):$(CURDIR)/build/uv/bin:$$PATH" tools/check.sh

.PHONY: format
format: $(SYNCED) ## Format the sources and mend what ruff can mend
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

.PHONY: generate
generate: $(SYNCED) ## Write the generated files: protocol code, CRDs
	$(BIN)/python tools/generate-protocol.py
	$(BIN)/python -m nodeset_provider.api.crd

.PHONY: docs
docs: $(UV_INSTALLED) ## Build the documentation into build/site
	@UV_PROJECT_ENVIRONMENT=$(DOCS_ENV) $(UV) sync --quiet --frozen --only-group docs --python $(PYTHON)
	@NO_MKDOCS_2_WARNING=true $(DOCS_ENV)/bin/mkdocs build --strict --quiet
	@echo "build/site/index.html"

.PHONY: clean
clean: ## Remove what was made in the checkout (not the caches outside of it)
	rm -rf build dist .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
