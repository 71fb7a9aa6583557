# Every target sets up what it needs. Needs git, make and Python 3.11 or newer.
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PYTHONUNBUFFERED := 1
export DO_NOT_TRACK := 1
unexport PYTHONDONTWRITEBYTECODE  # a process that finds its modules compiled starts in half the time
PYTHON ?= python3
IN_PARALLEL = -n $(ONE_MORE) --maxprocesses 4 --dist loadgroup --no-loadscope-reorder
# One process more than there are cores: a test waits now and then, for servers and browsers most of all.
ONE_MORE := $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))
DATA ?= breastmnist

.PHONY: help setup demo test test-slow test-docker lint ui stack lock audit

help:            ## this list
	@sed -n 's/^\([a-z-]*\):.*##  */\1\t/p' $(MAKEFILE_LIST) | expand -t 12

setup: $(VENV)/.ready   ## install the locked environment into .venv

$(VENV)/.ready: requirements.lock pyproject.toml
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@test -x $(VENV)/bin/uv || $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check uv
	@echo "installing the locked environment (about 6 GB on disk, mostly torch) …"
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(VENV)/bin/uv pip sync --quiet requirements.lock
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(VENV)/bin/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup      ## the whole method on an embedded data set: BreastMNIST, or DATA=phantom
	@dcube data add $(DATA)
	@dcube params use $(DATA)
	@dvc repro
	@dcube results
	@dcube report

test: setup      ## the tests that take a few seconds each at most
	@pytest $(IN_PARALLEL)

test-slow: setup ## the other tests: real pipelines, servers, browsers
	@pytest -m slow --timeout 900 $(IN_PARALLEL)

test-docker:     ## the documented commands of docs/platform.md, with a Docker daemon; COMPOSE_FILES names further files
	@docker info >/dev/null 2>&1 || { echo "error: no Docker daemon answers: start one, or set DOCKER_HOST" >&2; exit 2; }
	@$(MAKE) --no-print-directory setup
	@pytest -m docker tests/docker

lint: setup      ## style, types and the direction of imports
	@ruff check . && ruff format --check . && mypy && lint-imports

ui: setup        ## MLflow on http://127.0.0.1:5000, and the addresses that compare models
	@exec dcube ui

stack: setup     ## the whole platform on this machine: PostgreSQL, S3, MLflow, Prefect and a worker, until Ctrl-C
	@exec python -m flows.stack

lock: setup      ## renew requirements.lock
	@uv pip compile --quiet --no-emit-index-url --universal --python-version 3.11 --extra dev \
		--output-file requirements.lock pyproject.toml requirements-build.in

audit: setup     ## known vulnerabilities of the locked packages, as PyPI lists them (needs pypi.org)
	@uv tool run pip-audit --requirement requirements.lock --no-deps --disable-pip
