# Everything starts here, in a fresh clone, with CPython >= 3.11, gcc and make: `make demo`, `make test`, `make check`.
#
#   PYTHON=python3.12      the interpreter (default: the first of python3, python3.15 ... python3.11 that will do)
#   DEBUG=1                a core compiled with -O0 -g, in an environment of its own
#   ARGS="..."             arguments for `make demo` and `make bench`
#   PYTEST_ARGS="..."      arguments for pytest
#   SYSTEM_TOOLS=0         do not try to apt-get what some tests and benchmarks use (they skip without it)

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build
.DELETE_ON_ERROR:
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

ifndef PYTHON
PYTHON := $(shell for python in python3 python3.15 python3.14 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)
endif
TAG := $(shell "$(PYTHON)" .ci/tag 2>/dev/null)
ifeq ($(TAG),)
$(error gopark needs CPython 3.11 or newer: say which with `make PYTHON=/path/to/python3`)
endif

ifdef DEBUG
export GOPARK_DEBUG := 1
SUFFIX := -debug
endif
VENV := .venv/$(TAG)$(SUFFIX)
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
SOURCES := setup.py pyproject.toml $(shell find src/gopark ! -name __pycache__ \( -type d -o -name '*.p*' -o -name '*.h' \))

.PHONY: build debug demo test drivers test-drivers test-cpython check bench docs test-all test-newer clean system-tools tag
build: $(VENV)/installed
	@$(BIN)/gopark --version

debug:
	@$(MAKE) build DEBUG=1
	@echo "run it with .venv/$(TAG)-debug/bin/python, or the tests with: make test DEBUG=1"

demo: $(VENV)/installed
	$(BIN)/gopark demo $(ARGS)

# Both cores, one after the other. GOPARK_EXPECT_CORE is what tests/packaging checks that the run really had.
# What fails is run once more, alone, and must pass then: these tests are about races, on machines whose load is not ours. Both
# outcomes are printed; a test that needs its second chance often is a bug to be found.
define run_tests
	@echo "=== $(TAG)$(SUFFIX): $(1) core"
	@rm -rf .pytest_cache/v/cache/lastfailed
	@GOPARK_PURE=$(2) GOPARK_EXPECT_CORE=$(1) $(BIN)/python -m pytest $(PYTEST_ARGS) 2>&1 | tee $(VENV)/test-$(1).log \
	|| { echo "=== once more, alone: what has failed"; GOPARK_PURE=$(2) GOPARK_EXPECT_CORE=$(1) $(BIN)/python -m pytest \
	--last-failed --last-failed-no-failures none $(PYTEST_ARGS) 2>&1 | tee -a $(VENV)/test-$(1).log; }
endef

test: $(VENV)/installed $(VENV)/group-test system-tools drivers
	$(call run_tests,compiled,)
	$(call run_tests,interpreted,1)

# The tests of C drivers against real servers, with all that they ask.
test-drivers: $(VENV)/installed $(VENV)/group-test system-tools drivers
	GOPARK_DRIVERS_QUESTIONS=200 $(BIN)/python -m pytest tests/hook/drivers $(PYTEST_ARGS)

# Optional: the tests of what cannot be installed are skipped, and say so.
drivers: | $(VENV)/created
	@[ -e $(VENV)/drivers ] || for group in drivers drivers-built servers; do \
	timeout 120 $(PIP) install --group $$group >/dev/null 2>&1 </dev/null || \
	echo "the group $$group cannot be installed: the tests of what is missing are skipped"; done; touch $(VENV)/drivers

# `make test` with every CPython >= 3.11 of this machine; SKIP="tag..." leaves out those that have just been tested.
test-all:
	@MAKE="$(MAKE)" .ci/test-all "$(PYTHON)" $(SKIP)

# ... and with CPython 3.14 and 3.15 in a folder with Debian sid, as root; some minutes.
test-newer:
	@.ci/test-newer $(ARGS)

# CPython's own tests, without gopark and under `gopark run`; long. ARGS="--tier 1 ..." and module names: see the program.
test-cpython: $(VENV)/installed
	@$(BIN)/python tests/cpython/run.py $(ARGS)

check: $(VENV)/group-build $(VENV)/group-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=tests $(BIN)/python -m tidy

bench: $(VENV)/installed $(VENV)/group-bench system-tools
	$(BIN)/gopark bench $(ARGS)

docs: $(VENV)/installed
	@if [ -f docs/build.py ]; then $(BIN)/python docs/build.py $(ARGS); else echo "there is no docs/build.py"; fi

clean:
	rm -rf build dist .venv .mypy_cache .pytest_cache .ruff_cache src/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A regular installation, so that the tests see what users get. Without isolation: only what has changed is compiled.
$(VENV)/installed: $(SOURCES) | $(VENV)/group-build
	@echo "building gopark for $(TAG)$(SUFFIX)"
	@GOPARK_PURE= GOPARK_REQUIRE_EXT=1 $(PIP) install --no-build-isolation --no-deps --force-reinstall .
	@touch $@

$(VENV)/group-%: pyproject.toml | $(VENV)/created
	@echo "installing the packages of the group $*"
	@$(PIP) install --group $*
	@touch $@

$(VENV)/created:
	@"$(PYTHON)" -m venv --clear $(VENV)
	@$(PIP) install --upgrade 'pip>=25.1'
	@touch $@

tag: # what SKIP of test-all takes
	@echo $(TAG)$(SUFFIX)

# Optional: what is missing after this makes tests skip, not fail.
system-tools:
	@.ci/system-tools
