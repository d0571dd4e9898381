# Everything from a fresh clone: each goal sets up .venv for itself first. Needs Python 3.10-3.13, git and make.
#
#   PYTHON=python3.12   the interpreter that .venv is made with
#   TORCH=              leave torch out; the tests that need it are then skipped, by name

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

PYTHON ?= python3
VENV ?= .venv
TORCH ?= 2.13.0
# How many tests run side by side: they wait more than they compute.
JOBS ?= $(shell expr $$(nproc 2>/dev/null || echo 1) + 1)
# Debian packages that tests need; installed by `make test` where that is allowed, and named where it is not.
DEBIAN_PACKAGES ?= chromium docker-registry gcc openssl skopeo strace
# And the campaign's.
CAMPAIGN_PACKAGES ?= buildah debootstrap
# Versions that are promised beside the installed one: tests/modal_clients.py, tests/runpods.py.
OLDER := modal==1.5.5 modal==1.4.3 runpod==2.0.0rc2

BIN := $(VENV)/bin
# One stamp for each set of extras, interpreter and torch: another choice sets up anew, the same one is quick.
stamp = $(VENV)/ready-$(1)-$(subst /,_,$(PYTHON))$(if $(2),-torch-$(2))
READY_DEMO := $(call stamp,demo)
READY_TEST := $(call stamp,test,$(TORCH))
READY_BENCH := $(call stamp,bench,$(TORCH))
# The examples' libraries pin what others do not want, so they have an environment of their own.
EXAMPLES_VENV ?= $(VENV)-examples
READY_EXAMPLES := $(EXAMPLES_VENV)/ready-$(subst /,_,$(PYTHON))
SETUP := sh tools/setup.sh
SETUP_NEEDS := pyproject.toml tools/setup.sh

CHECKS := lint format types layers tests
BENCHMARKS := overlap overhead imports fetch

.PHONY: help
help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' Makefile | awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'

.PHONY: demo
demo: $(READY_DEMO) ## start a small speech model cold, twice, and show where the time went
	@$(BIN)/python -m examples.demo

.PHONY: test
test: $(READY_TEST) debian ## run every check and every test; name each group that was skipped, and why
	@failed=; \
	for check in $(CHECKS); do \
	  $(MAKE) --no-print-directory $$check || failed="$$failed $$check"; \
	done; \
	if [ -n "$$failed" ]; then echo "failed:$$failed"; exit 1; fi; \
	echo "passed: $(CHECKS)"

.PHONY: lint
lint: $(READY_TEST) ## ruff's rules
	@echo "== lint"
	@$(BIN)/ruff check

.PHONY: format
format: $(READY_TEST) ## ruff's format, compared only
	@echo "== format"
	@$(BIN)/ruff format --check

.PHONY: types
types: $(READY_TEST) ## mypy, strict
	@echo "== types"
	@$(BIN)/mypy

.PHONY: layers
layers: $(READY_TEST) ## which room may import which
	@echo "== layers"
	@$(BIN)/lint-imports --no-logo

.PHONY: tests
tests: $(READY_TEST) ## pytest with branch coverage
	@echo "== tests"
	@$(BIN)/python -m pytest -q -n $(JOBS) --maxprocesses 8 -m "not slow and not examples" --cov

.PHONY: campaign
campaign: $(READY_TEST) debian ## the long sweeps alone: a kill at every change of a fetch, an image built (minutes)
	@$(SETUP) debian $(CAMPAIGN_PACKAGES)
	@echo "== campaign"
	@$(BIN)/python -m pytest -q -n $(JOBS) --maxprocesses 8 -m slow

.PHONY: examples
examples: $(READY_EXAMPLES) ## each example with its real library, under both platforms' workers (minutes, 2 GB; Python 3.11)
	@$(SETUP) debian ffmpeg
	@echo "== examples"
	@$(EXAMPLES_VENV)/bin/python -m pytest -q -m examples tests/loopback/test_examples.py

.PHONY: bench
bench: $(READY_BENCH) ## each benchmark against its peers, as ratios (minutes; wants a quiet machine)
	@$(SETUP) debian nginx-light openssl
	@set -e; for name in $(BENCHMARKS); do \
	  echo "== $$name"; $(BIN)/python -m benchmarks.$$name; \
	done

.PHONY: clean
clean: ## remove .venv and everything that a run has left behind
	rm -rf $(VENV) $(EXAMPLES_VENV) build dist .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis \
	  .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: debian
debian:
	@$(SETUP) debian $(DEBIAN_PACKAGES)

$(READY_DEMO): $(SETUP_NEEDS)
	@$(SETUP) venv "$(PYTHON)" "$(VENV)" "" demo
	@touch $@

$(READY_TEST): $(SETUP_NEEDS)
	@$(SETUP) venv "$(PYTHON)" "$(VENV)" "$(TORCH)" dev,demo,hf,s3,modal,runpod
	@$(SETUP) beside "$(VENV)" $(OLDER)
	@touch $@

$(READY_EXAMPLES): $(SETUP_NEEDS) examples/setup.sh examples/requirements.txt
	@sh examples/setup.sh "$(PYTHON)" "$(EXAMPLES_VENV)" "$(TORCH)"
	@touch $@

$(READY_BENCH): $(SETUP_NEEDS)
	@$(SETUP) venv "$(PYTHON)" "$(VENV)" "$(TORCH)" bench,demo,hf
	@touch $@
