# Every everyday action. `make help` lists them.

# Where things are installed: an activated conda environment, else .venv here.
# Another place: make setup VENV=/path/to/environment
ifneq ($(filter-out base,$(CONDA_DEFAULT_ENV)),)
VENV ?= $(CONDA_PREFIX)
else
VENV ?= .venv
endif
PYTHON ?= python3
BIN := $(VENV)/bin
PY := $(BIN)/python
READY := $(VENV)/.mnist-nb-ready
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb notebooks/exercises/*.ipynb))
JOBS ?= $(shell $(PYTHON) -c "import os; print(len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count())")
ARGS ?=
# absolute, as nbgrader is started in other folders
WITH_NBGRADER := PYTHONPATH="$(CURDIR)/build/nbgrader"


.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup data lab run test test-all nbval lint refresh student grade site slides bench kernel-starts seed-study experiments mutants mutmut portability stability lock clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(READY)  ## make the environment, if there is none

$(READY): environment.yml pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than Python 3.11; name another one: make setup PYTHON=python3.12"; exit 1; }
	@test -x $(PY) || $(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "$(PYTHON) cannot make environments; on Debian: apt-get install python3-venv"; exit 1; }
	@echo "Installing the exact versions of environment.yml into $(VENV); minutes, the first time."
	@sed -n 's/^ *- \([A-Za-z0-9_.-]*==.*\)/\1/p' environment.yml > $(VENV)/mnist-nb-pins.txt
	$(PY) -m pip install --quiet --disable-pip-version-check -r $(VENV)/mnist-nb-pins.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

data: $(READY)  ## get MNIST and check it, file by file
	@$(BIN)/mnist-nb data

# The project's defaults for JupyterLab lie in jupyter/; users' own settings stay theirs.
lab: data build/lab/default-37a8.jupyterlab-workspace  ## open JupyterLab on the walkthrough
	JUPYTER_CONFIG_PATH="$(CURDIR)/jupyter$${JUPYTER_CONFIG_PATH:+:$$JUPYTER_CONFIG_PATH}" \
	JUPYTERLAB_WORKSPACES_DIR="$(CURDIR)/build/lab" \
	$(BIN)/jupyter lab --ServerApp.root_dir=notebooks --ip=127.0.0.1 $(if $(filter 0,$(shell id -u)),--allow-root) $(ARGS)

# how the window is arranged at first; JupyterLab keeps its changes in the copy
build/lab/default-37a8.jupyterlab-workspace: jupyter/first.jupyterlab-workspace
	@mkdir -p $(@D) && cp $< $@

run: data  ## run the walkthrough (ARGS="-p epochs 1" gives parameters)
	@$(BIN)/mnist-nb run $(ARGS)

test: lint data build/nbgrader/.ready  ## check every number, and the rest of the project
	$(PY) -m pytest -n $(JOBS) --dist loadfile -m "not whole" $(ARGS)

test-all: lint data build/nbgrader/.ready  ## the same, and a closer look that takes longer
	$(PY) -m pytest -n $(JOBS) --dist loadfile $(ARGS)

nbval: data  ## execute the notebooks again and compare every output
	$(PY) -m pytest -n $(JOBS) --dist loadfile notebooks $(ARGS)

lint: $(READY)  ## ruff, and what nbval would let pass in a notebook
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --quiet --check .
	$(BIN)/mnist-nb lint $(NOTEBOOKS)

refresh: data  ## execute all notebooks again, store them in normal form
	$(BIN)/mnist-nb refresh $(NOTEBOOKS)

student: build/nbgrader/.ready  ## the exercises for learners, and a zip with all they need
	@$(WITH_NBGRADER) $(BIN)/mnist-nb student $(ARGS)

grade: data build/nbgrader/.ready $(filter build/submissions,$(SUBMISSIONS))  ## grade SUBMISSIONS=folder, with LEARNER/EXERCISE.ipynb in it
	@test -n "$(SUBMISSIONS)" || { echo "say which: make grade SUBMISSIONS=folder"; exit 1; }
	@$(WITH_NBGRADER) $(BIN)/mnist-nb grade "$(SUBMISSIONS)" $(ARGS)

build/submissions: tests/submissions.py build/nbgrader/.ready
	@$(WITH_NBGRADER) $(PY) tests/submissions.py $@

# nbgrader and what it needs beyond the environment, aside: it would change everyone's JupyterLab
build/nbgrader/.ready: $(READY)
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target build/nbgrader \
	  nbgrader==0.9.6 alembic==1.20.1 mako==1.4.3 rapidfuzz==3.14.6 sqlalchemy==2.1.9
	@touch $@

site: $(READY)  ## the notebooks as pages that need no network, in build/site
	@$(BIN)/mnist-nb site $(ARGS)

slides: $(READY)  ## the notebooks as slides that need no network, in build/slides
	@$(BIN)/mnist-nb slides $(ARGS)

bench: data build/peers/.ready  ## what things cost, side by side in one run
	PYTHONPATH=build/peers $(PY) studies/bench.py

# the peers and what they need beyond the environment: --no-deps leaves its torch alone
build/peers/.ready: pyproject.toml
	@mkdir -p build/peers
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target build/peers \
	  scikit-learn scipy joblib cloudpickle threadpoolctl narwhals pytorch-lightning torchmetrics lightning-utilities
	@touch $@

kernel-starts: data  ## many kernels at once on a busy machine: how many die, how fast
	$(PY) studies/kernel_starts.py

seed-study: data  ## the source's run for 128 seeds, 13 epochs, with dropout and without
	$(PY) studies/seed_study.py

experiments: data  ## the 265 runs that chapter 08 compares; goes on where it was stopped
	$(PY) studies/experiments.py

mutants: data  ## make the mistakes of tests/mutants.yaml, see what catches them; hours
	$(PY) tests/mutants.py $(ARGS)

# mutmut and what it needs beyond the environment, aside; it works on a copy in mutants/
build/mutmut/.ready: pyproject.toml
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target build/mutmut \
	  mutmut libcst textual rich setproctitle markdown-it-py mdurl mdit-py-plugins linkify-it-py
	@touch $@

mutmut: data build/mutmut/.ready  ## let mutmut change mnist_nb everywhere, see what the unit tests catch
	@mkdir -p mutants  # Python passes over a path that is not there when it starts
	OMP_NUM_THREADS=1 PYTHONPATH=$(CURDIR)/mutants:$(CURDIR)/build/mutmut $(PY) -m mutmut run $(ARGS)

portability: data  ## the notebooks verified as on other machines, with a table; hours
	$(PY) studies/portability.py

stability: data  ## what is committed, refreshed in a clone by another user, twice
	$(PY) studies/stability.py

lock:  ## renew environment.yml from pyproject.toml
	@$(PYTHON) -m venv build/lock && build/lock/bin/python -m pip install --quiet uv
	@build/lock/bin/uv pip compile --quiet --exclude-newer "7 days" --universal --python-version 3.11 --fork-strategy fewest \
	  --extra dev --no-annotate --no-header pyproject.toml \
	  | grep -vE '^(nvidia|cuda|triton)' > build/pins.txt
	@sed '/- pip:/q' environment.yml > build/environment.yml
	@sed 's/^/      - /' build/pins.txt >> build/environment.yml
	@mv build/environment.yml environment.yml
	@echo "environment.yml is renewed: read the difference, then make setup test"

clean:  ## remove what was made here; the environment and the data stay
	rm -rf build mutants .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
