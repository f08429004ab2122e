# Two commands do everything: `make rehearse` shows the product, `make test` passes its tests.
# Each sets up what it needs, on a machine with git, make and Python 3.11.

PYTHON ?= python3.11
BIN := .venv/bin
# Its package on PyPI downloads a binary at installation, so that it is on PATH, or comes from its Go module.
ACTIONLINT = $(shell command -v actionlint || echo go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12)
PIN = $(BIN)/pip-compile --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-find-links \
  --no-emit-trusted-host --no-header --no-annotate
export XDG_CACHE_HOME ?= $(HOME)/.cache

# Importing pulumi_aws without bytecode takes four times as long.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup rehearse test lint bench mutants pins schema mistakes docs

setup: .venv/ready

.venv/ready: requirements.txt policypack/requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r policypack/requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

# The Pulumi engine where it is on PATH or was built before; else its resources are applied in this process.
rehearse: setup
	$(BIN)/pilot rehearse

# Brings the Pulumi engine: on PATH, from the cache, or built with Go (four minutes, once a machine).
test: lint
	PILOT_PULUMI="$$(tools/pulumi-cli.sh)" $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python infra
	$(BIN)/shellcheck tools/*.sh .ci/run
	$(ACTIONLINT) -shellcheck $(BIN)/shellcheck -pyflakes=
	$(BIN)/zizmor --offline --quiet .github
	$(BIN)/check-jsonschema --builtin-schema vendor.gitlab-ci ci/gitlab-ci.yml

bench: setup
	$(BIN)/python -m bench

# The core changed in one place at a time, for its tests to notice; docs/mutants.md says which change they did not.
mutants: setup
	rm -rf mutants
	$(BIN)/mutmut run
	$(BIN)/python -m tools.mutants

pins:
	$(PIN) --output-file requirements.txt requirements.in
	$(PIN) --constraint requirements.txt --output-file image/requirements.txt image/requirements.in

schema: setup
	$(BIN)/pilot policy schema > rollout.schema.json

# The table of seeded mistakes; a test fails when it is not true.
mistakes: setup
	PILOT_PULUMI="$$(tools/pulumi-cli.sh)" $(BIN)/python -m tests.policypack.mistakes

# What docs/aws.md says of the program, written from it.
docs: setup
	$(BIN)/python -m tools.picture > docs/aws.svg
	$(BIN)/python -W ignore -m tools.permissions
