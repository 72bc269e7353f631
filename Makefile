# Two commands need nothing but python3 (3.11 or newer, with venv) and make:
#   make run    sets up the runtime and runs the main job (ARGS="--exit --json")
#   make test   sets up the development tools and runs all tests
PYTHON ?= python3
TOOLS := .tools
UV := $(or $(shell command -v uv 2>/dev/null),$(TOOLS)/bin/uv)
RUN := $(UV) run --locked --no-sync
export UV_PYTHON_DOWNLOADS := never

.DEFAULT_GOAL := help
.PHONY: help run serve test check k8s-check format generate clean

help:
	@sed -n 's/^#   //p' Makefile
	@echo "make check  formats, lints, types, layers, generated files"
	@echo "make k8s-check  builds every overlay of k8s/ and holds it to what it promises"
	@echo "make format / make generate  mend what check finds"

$(TOOLS)/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Limner needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V). Name another with PYTHON=…"; exit 1; }
	@$(PYTHON) -m venv $(TOOLS)
	@$(TOOLS)/bin/pip install --quiet --disable-pip-version-check uv

# The runtime has an environment of its own, so that `make run` neither needs nor disturbs the other.
run: export UV_PROJECT_ENVIRONMENT := .venv-run
run: $(UV)
	@[ -x .venv-run/bin/limner ] || echo "Installing what Limner needs into .venv-run (once)…" >&2
	@$(UV) sync --quiet --locked --no-dev --compile-bytecode --python $(PYTHON)
	@.venv-run/bin/limner demo $(ARGS)

.venv/.synced: $(UV) pyproject.toml uv.lock
	@$(UV) sync --quiet --locked --python $(PYTHON)
	@touch $@

test: .venv/.synced
	$(RUN) pytest -n auto $(ARGS)

check: .venv/.synced
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy
	$(RUN) lint-imports
	$(RUN) python -m pipeline.publish --check

# Part of `make test` as well.
k8s-check: .venv/.synced
	$(RUN) pytest tests/k8s -q $(ARGS)

format: .venv/.synced
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

generate: .venv/.synced
	$(RUN) python -m pipeline.publish

clean:
	rm -rf .venv .venv-run .tools .mypy_cache .pytest_cache .ruff_cache
