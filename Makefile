# make demo: set up, run the comparison on the embedded data set, print the table
# make experiments: every other experiment on the embedded data sets, with tables and pictures in output/results.html
# make figures: the pictures alone
# make test: set up, run the whole suite
# make harden: look for mistakes, with 10,000 wrong inputs and 200 kills (INPUTS=, KILLS= for other numbers); prints counts
# make wheel-test: build the wheel and try it, installed, from an empty folder
PYTHON ?= python3
INPUTS ?= 10000
KILLS ?= 200
VENV := .venv
READY := $(VENV)/.ready
TEST_READY := $(VENV)/.ready-test

.PHONY: demo experiments figures test harden wheel-test lint clean

demo: $(READY)
	PYTHON=$(VENV)/bin/python bash scripts/ship/base2new.sh

experiments: $(READY)
	PYTHON=$(VENV)/bin/python bash scripts/ship/experiments.sh

figures: $(READY)
	PYTHON=$(VENV)/bin/python bash scripts/ship/figures.sh

# One thread a worker: two workers on two cores do more than threads that wait for each other.
test: $(TEST_READY)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2

harden: $(TEST_READY)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m tests.harden --inputs $(INPUTS) --kills $(KILLS)

wheel-test: $(TEST_READY)
	PYTHON=$(VENV)/bin/python bash scripts/wheel_test.sh

lint: $(TEST_READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "error: Python 3.10 or newer is needed, and $(PYTHON) is older: make PYTHON=/path/to/python3" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(READY): setup.py | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --editable .
	@touch $@

$(TEST_READY): setup.py | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --editable '.[test]'
	@touch $@ $(READY)

clean:
	rm -rf $(VENV) build *.egg-info
