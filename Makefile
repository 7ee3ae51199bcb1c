# make help lists the commands. Each sets up what it needs in .venv and reinstalls only what changed.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

export GATEWISE_REQUIRE_NATIVE := 1

# The install is editable: a change in src/ is live. What follows is built, so a change installs again.
BUILT_FROM := pyproject.toml constraints.txt CMakeLists.txt $(shell find native -type f)
CODE := src tests benchmarks examples tools
CUDA := src/gatewise/kernels/cuda/source

.PHONY: help
help:  ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## /\1 \t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 10

.PHONY: demo
demo: $(VENV)/installed  ## train, measure and ask two models on real data (under three minutes)
	$(BIN)/gatewise demo

# A worker for each processor. Threads of several workers would wait for one another, so each has one
# thread but where a test asks for more.
.PHONY: test
test: $(VENV)/developing  ## run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

.PHONY: test-slow
test-slow: $(VENV)/developing  ## run the tests that take minutes
	$(BIN)/python -m pytest -m slow
	for isa in $$($(BIN)/python -c 'from gatewise.kernels import cpu; print(*cpu.available_isas()[:-1])'); do \
	  GATEWISE_ISA=$$isa $(BIN)/python -m pytest -m slow tests/kernels/test_cpu_activations.py; \
	done

# The instrumented kernels of build/sanitize take the place of the installed ones. Python and torch
# keep memory to their end, so leaks are not looked for; what the kernels allocate they release in
# destructors.
SANITIZED := $(CURDIR)/build/sanitize
.PHONY: sanitize
sanitize: $(VENV)/developing  ## run the kernels' tests under AddressSanitizer and UBSan
	$(BIN)/cmake -S . -B $(SANITIZED) -G Ninja -DGATEWISE_SANITIZE=ON \
	  -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python
	$(BIN)/cmake --build $(SANITIZED)
	for isa in $$($(BIN)/python -c 'from gatewise.kernels import cpu; print(*cpu.available_isas())'); do \
	  echo "$$isa"; \
	  LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libstdc++.so)" \
	  ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 GATEWISE_ISA=$$isa \
	  PYTHONPATH=$(CURDIR)/tools/sanitized GATEWISE_SANITIZED=$(SANITIZED) \
	  $(BIN)/python -m pytest -q -x tests/kernels/test_cpu.py tests/kernels/test_cpu_activations.py \
	    tests/kernels/test_any_call.py tests/kernels/test_int8.py tests/kernels/test_variants.py \
	    tests/kernels/test_norms.py tests/kernels/test_bfloat16.py tests/kernels/test_traces.py \
	    tests/kernels/test_trace_chunk.py tests/kernels/test_segments.py \
	    tests/kernels/test_past_caches.py tests/layers/test_stream.py tests/optimizers/test_rmsprop.py \
	    tests/training/test_finite.py; \
	done

.PHONY: arm
arm: $(VENV)/developing  ## run the kernels' tests on an emulated ARM processor (Debian, as root)
	tools/arm/test

.PHONY: lint
lint: $(VENV)/developing  ## ruff, clang-format, pyright and the import rules
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/clang-format --dry-run -Werror native/*.h native/*.cpp $(CUDA)/*.cu $(CUDA)/*.cuh
	$(BIN)/pyright
	$(BIN)/lint-imports

.PHONY: format
format: $(VENV)/developing  ## let ruff and clang-format lay out the code
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)
	$(BIN)/clang-format -i native/*.h native/*.cpp $(CUDA)/*.cu $(CUDA)/*.cuh

.PHONY: bench
bench: $(VENV)/developing  ## measure the kernels, fit's overhead, and verse or scripture against Keras
	$(BIN)/python benchmarks/recurrent.py
	$(BIN)/python benchmarks/fit_overhead.py
	$(BIN)/python benchmarks/verse_or_scripture.py --peer keras-torch

.PHONY: native
native: $(VENV)/developing  ## compile the kernels into the development install

.PHONY: wheel
wheel: $(VENV)/made  ## build a wheel into dist/
	rm -rf dist
	$(PIP) wheel --no-deps --wheel-dir dist -c constraints.txt .

.PHONY: clean
clean:  ## remove .venv, builds and caches
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests benchmarks examples tools -name __pycache__ -prune -exec rm -rf {} +

# Stamps, one for each state of .venv.

$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "gatewise needs Python 3.11 or newer, but $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
	       "Name a newer one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	touch $@

$(VENV)/installed: $(VENV)/made $(BUILT_FROM)
	$(PIP) install -c constraints.txt -e .
	touch $@

$(VENV)/developing: $(VENV)/made $(BUILT_FROM)
	$(PIP) install -c constraints.txt -e '.[dev]'
	touch $(VENV)/installed $@
