# make demo: set up, run the comparison on the embedded data set, print the table
# make experiments: every other experiment on the embedded data sets, with tables and pictures in output/results.html
# make figures: the pictures alone
# make test: set up, run the whole suite; LOCKED=1 sets up exactly the versions of requirements/locked.txt, as CI does
# make docs: build the pages into site/, and check their links
# make test-oldest PYTHON=python3.10: the suite with the oldest versions that setup.py allows, in .venv-oldest
# make harden: look for mistakes, with 10,000 wrong inputs and 200 kills (INPUTS=, KILLS= for other numbers); prints counts
# make wheel-test: build the wheel and try it, installed, from an empty folder
# make lock: choose the versions of requirements/ anew, keeping what setup.py still allows (UPGRADE=--upgrade: the newest)
# make audit: ask for known flaws of the locked versions; where PyPI's advisories are out of reach, one sentence says so
PYTHON ?= python3
INPUTS ?= 10000
KILLS ?= 200
VENV := .venv
READY := $(VENV)/.ready
TEST_READY := $(VENV)/.ready-test
OLDEST := .venv-oldest
TOOLS := .venv-tools
# Byte code is kept also where the environment forbids it, as containers do: else each of the many processes that tests start
# compiles the library anew, in a second.
TESTING := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1

.PHONY: demo experiments figures test docs harden test-oldest wheel-test lint lock audit clean

demo: $(READY)
	PYTHON=$(VENV)/bin/python bash scripts/ship/base2new.sh

experiments: $(READY)
	PYTHON=$(VENV)/bin/python bash scripts/ship/experiments.sh

figures: $(READY)
	PYTHON=$(VENV)/bin/python bash scripts/ship/figures.sh

# One thread a worker: two workers on two cores do more than threads that wait for each other. Each begins with a half of
# the files, so that what the tests of a file share is made once.
test: $(TEST_READY)
	$(TESTING) $(VENV)/bin/python -m pytest -n 2 --dist worksteal

docs: $(TEST_READY)
	$(VENV)/bin/python -m mkdocs build --strict

test-oldest: $(OLDEST)/.ready-test
	$(TESTING) $(OLDEST)/bin/python -m pytest -n 2 --dist worksteal

harden: $(TEST_READY)
	$(TESTING) $(VENV)/bin/python -m tests.harden --inputs $(INPUTS) --kills $(KILLS)

wheel-test: $(TEST_READY)
	PYTHON=$(VENV)/bin/python bash scripts/wheel_test.sh

lint: $(TEST_READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

# Universal: one file for every system and Python; the other is for Linux and Python 3.10, the oldest that is allowed.
lock: $(TOOLS)/.ready
	$(TOOLS)/bin/uv pip compile setup.py --extra test --universal --python-version 3.10 --generate-hashes --quiet \
		--custom-compile-command 'make lock' $(UPGRADE) --output-file requirements/locked.txt
	$(TOOLS)/bin/uv pip compile setup.py --extra test --resolution lowest-direct --python-version 3.10 \
		--python-platform linux --generate-hashes --quiet --custom-compile-command 'make lock' $(UPGRADE) \
		--output-file requirements/oldest.txt

audit: $(TOOLS)/.ready
	@$(TOOLS)/bin/python requirements/audit.py $(TOOLS)/bin/pip-audit

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "error: Python 3.10 or newer is needed, and $(PYTHON) is older: make PYTHON=/path/to/python3" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(READY): setup.py | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --editable .
	@touch $@

$(TEST_READY): setup.py requirements/locked.txt | $(VENV)/bin/python
ifdef LOCKED
	$(VENV)/bin/python -m pip install --quiet --require-hashes --requirement requirements/locked.txt
	$(VENV)/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
else
	$(VENV)/bin/python -m pip install --quiet --editable '.[test]'
endif
	@touch $@ $(READY)

$(OLDEST)/.ready-test: setup.py requirements/oldest.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 10))' || \
		{ echo "error: the oldest versions are for Python 3.10: make test-oldest PYTHON=/path/to/python3.10" >&2; exit 2; }
	$(PYTHON) -m venv --clear $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --require-hashes --requirement requirements/oldest.txt
	$(OLDEST)/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(TOOLS)/.ready:
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet uv pip-audit
	@touch $@

clean:
	rm -rf $(VENV) $(OLDEST) $(TOOLS) build site *.egg-info
