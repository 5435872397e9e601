# Two commands for a user: `make run` and `make test`. Both make .venv by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Tests of the network mostly wait: two workers halve the time even where there is one core.
# A worker that crashes ends the run by name: pytest-xdist may wait for ever for the tests of its group.
PROCESSES := 2
WORKERS := --numprocesses=$(PROCESSES) --dist=loadgroup --max-worker-restart=0 --timeout=300

HAS_NATIVE := FASTNET_IMPL=native $(BIN)/fastnet --version >/dev/null 2>&1
NATIVE_SOURCES := $(shell find csrc fastnet/_native -name '*.[ch]' -o -name '*.px[di]' -o -name '*.pyx')

.PHONY: run test stress stress-sanitized distributed-histories test-c test-python test-essential test-pure lint bench clean

run: $(VENV)/installed
	$(BIN)/fastnet tour

# The C by itself, and the suite on what was built. Where that is native, the features and the command on pure as well:
# tests/core and tests/conformance are on both implementations in one run.
test: test-c test-python test-pure

test-c:
	$(MAKE) -C csrc --jobs=2 test

test-python: $(VENV)/test-extras
	$(BIN)/pytest $(WORKERS)

# What can differ on another Python.
test-essential: $(VENV)/essential-extras
	$(BIN)/pytest $(WORKERS) @tests/essential

test-pure: $(VENV)/test-extras
	if $(HAS_NATIVE); then FASTNET_IMPL=pure $(BIN)/pytest $(WORKERS) tests/features tests/cli; fi

# Random lives around a forwarder: make stress SECONDS=600 STRESS="--target pure --seed 7"
SECONDS := 60
SANITIZED_CC := gcc
stress: $(VENV)/test-extras
	PYTHONPATH=tests:tests/support $(BIN)/python -m stress --seconds $(SECONDS) $(STRESS)

# The same against a build of its own with ASan, UBSan and the relay's own checks (-DFN_CHECKED), by gcc.
SANITIZED := build/sanitized
SANITIZE := -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -DFN_CHECKED
stress-sanitized: $(VENV)/test-extras
	CC="$(SANITIZED_CC)" CFLAGS="$(SANITIZE)" LDFLAGS="$(SANITIZE)" FASTNET_BUILD=native $(BIN)/python -W ignore setup.py -q \
		build --build-temp $(SANITIZED)/objects --build-lib $(SANITIZED)/library --parallel 2
	$(MAKE) stress STRESS='--library $(SANITIZED)/library --preload "$(shell gcc -print-file-name=libasan.so)" $(STRESS)'

# Random histories of a Dask cluster in namespaces, of which CI runs two: make distributed-histories HISTORIES=50
HISTORIES := 20
HISTORY_SEED := 5
distributed-histories: $(VENV)/test-extras
	HISTORIES=$(HISTORIES) HISTORY_SEED=$(HISTORY_SEED) $(BIN)/pytest -x -rP --timeout=300 tests/features/test_distributed_histories.py

lint: $(VENV)/test-extras
	$(BIN)/mypy
	$(BIN)/mypy --python-version 3.15
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: $(VENV)/bench-extras
	$(BIN)/python -m bench

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed: set PYTHON=")'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Python's venv is missing: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip

# setuptools warns at length that an editable installation is one.
$(VENV)/installed: $(VENV)/bin/pip setup.py pyproject.toml $(NATIVE_SOURCES)
	PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --editable .
	@$(HAS_NATIVE) || echo "no native implementation, only pure Python:" \
		"it needs a C compiler and Python's headers (apt-get install gcc python3-dev)"
	@touch $@

# Installs a list of pyproject.toml's one by one: netifaces has no wheels, and without a compiler the others still serve.
define install_each
	@$(BIN)/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))$(1), sep='\n')" | \
		while read -r package; do $(BIN)/pip install --quiet "$$package" 2>/dev/null || \
		echo "left out: $$package, which does not install here"; done
endef

$(VENV)/essential-extras: $(VENV)/installed pyproject.toml
	$(BIN)/pip install --quiet --group wheel
	$(call install_each,['project']['optional-dependencies']['reference'])
	@touch $@

$(VENV)/test-extras: $(VENV)/essential-extras
	$(BIN)/pip install --quiet --group test --group lint
	$(call install_each,['dependency-groups']['compat'])
	@touch $@

$(VENV)/bench-extras: $(VENV)/installed pyproject.toml
	$(call install_each,['dependency-groups']['bench'])
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info fastnet/_native/*.so
