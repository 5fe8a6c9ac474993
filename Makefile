# Every everyday action. `make help` lists them.

# Where things are installed: an activated conda environment, else .venv here.
# Another place: make setup VENV=/path/to/environment
ifneq ($(filter-out base,$(CONDA_DEFAULT_ENV)),)
VENV ?= $(CONDA_PREFIX)
else
VENV ?= .venv
endif
PYTHON ?= python3
# which build of torch: cpu, or cuda; left out, it depends on the machine
TORCH ?=
# torch's own index of CPU builds, or a copy of it
TORCH_CPU ?= https://download.pytorch.org/whl/cpu
# paths stand in quotes, where no shell expands ~
at_home = $(if $(filter ~/%,$(1)),$(subst ~/,$(HOME)/,$(1)),$(1))
ENVIRONMENT := "$(call at_home,$(VENV))"
BASE := "$(call at_home,$(PYTHON))"
# programs are started with -m: the first line of a script cannot hold every path
PY := $(ENVIRONMENT)/bin/python
COMMAND := $(PY) -m mnist_nb.tools.cli
# -I: packages of one's own are none of this environment
PIP := $(PY) -I -m pip install --quiet --disable-pip-version-check
MADE := build/environment.txt
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb notebooks/exercises/*.ipynb))
# one more than there are cores: a test that waits for a process leaves its core to others
JOBS ?= $(shell $(PY) -c "import os; print(1 + (len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()))")
ARGS ?=
# absolute, as nbgrader is started in other folders
WITH_NBGRADER := PYTHONPATH="$(CURDIR)/build/nbgrader:$(CURDIR)"

# Where pip looks is the user's to say; where it installs, and what, is not.
export PIP_USER := 0
export PIP_REQUIRE_HASHES := 0
export PIP_REQUIRE_VIRTUALENV := 0
export PIP_NO_DEPS := 0
export PIP_DRY_RUN := 0
unexport PIP_TARGET PIP_PREFIX PIP_ROOT PIP_PYTHON PIP_PLATFORM PIP_PYTHON_VERSION PIP_ABI PIP_IMPLEMENTATION
# This folder's package, in an environment that several share too, and no other packages.
export PYTHONPATH := $(CURDIR)
export PYTHONNOUSERSITE := 1
unexport PYTHONHOME

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup data lab run test test-all nbval lint refresh docs student grade site slides bench kernel-starts seed-study experiments mutants mutmut portability stability lock clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(MADE)  ## make the environment, if there is none (TORCH=cpu or cuda)

# Written when another environment is used, or it is made from other lists; what is aside follows.
$(MADE): FORCE
	@command -v $(PY) >/dev/null || command -v $(BASE) >/dev/null || \
	  { echo "There is no $(PYTHON). Name a Python of 3.11 or newer: make setup PYTHON=python3.12" >&2; exit 1; }
	@test -x $(PY) || $(BASE) -I mnist_nb/tools/environment.py new $(ENVIRONMENT)
	@$(PY) -I mnist_nb/tools/environment.py fill "$(TORCH)" "$(TORCH_CPU)"

FORCE:

data: $(MADE)  ## get MNIST and check it, file by file
	@$(COMMAND) data

# The project's defaults for JupyterLab lie in jupyter/; users' own settings stay theirs.
lab: data build/lab/default-37a8.jupyterlab-workspace  ## open JupyterLab on the walkthrough
	JUPYTER_CONFIG_PATH="$(CURDIR)/jupyter$${JUPYTER_CONFIG_PATH:+:$$JUPYTER_CONFIG_PATH}" \
	JUPYTERLAB_WORKSPACES_DIR="$(CURDIR)/build/lab" \
	$(PY) -m jupyterlab --ServerApp.root_dir=notebooks --ip=127.0.0.1 $(if $(filter 0,$(shell id -u)),--allow-root) $(ARGS)

# how the window is arranged at first; JupyterLab keeps its changes in the copy
build/lab/default-37a8.jupyterlab-workspace: jupyter/first.jupyterlab-workspace
	@mkdir -p $(@D) && cp $< $@

run: data  ## run the walkthrough (ARGS="-p epochs 1" gives parameters)
	@$(COMMAND) run $(ARGS)

test: lint data build/nbgrader/.ready  ## check every number, and the rest of the project
	$(PY) -m pytest -n $(JOBS) --dist loadfile -m "not whole" $(ARGS)

test-all: lint data build/nbgrader/.ready  ## the same, and a closer look that takes longer
	$(PY) -m pytest -n $(JOBS) --dist loadfile $(ARGS)

nbval: data  ## execute the notebooks again and compare every output
	$(PY) -m pytest -n $(JOBS) --dist loadfile notebooks $(ARGS)

lint: $(MADE)  ## ruff, and what nbval would let pass in a notebook
	$(PY) -m ruff check --quiet .
	$(PY) -m ruff format --quiet --check .
	$(COMMAND) lint $(NOTEBOOKS)

refresh: data  ## execute all notebooks again, store them in normal form
	$(COMMAND) refresh $(NOTEBOOKS)

docs: $(MADE)  ## write the table of parameters and the picture, from the notebooks
	@$(COMMAND) docs

student: build/nbgrader/.ready  ## the exercises for learners, and a zip with all they need
	@$(WITH_NBGRADER) $(COMMAND) student $(ARGS)

grade: data build/nbgrader/.ready $(filter build/submissions,$(SUBMISSIONS))  ## grade SUBMISSIONS=folder, with LEARNER/EXERCISE.ipynb in it
	@test -n "$(SUBMISSIONS)" || { echo "say which: make grade SUBMISSIONS=folder"; exit 1; }
	@$(WITH_NBGRADER) $(COMMAND) grade "$(SUBMISSIONS)" $(ARGS)

build/submissions: tests/submissions.py build/nbgrader/.ready
	@$(WITH_NBGRADER) $(PY) tests/submissions.py $@

# nbgrader and what it needs beyond the environment, aside: it would change everyone's JupyterLab
build/nbgrader/.ready: $(MADE)
	$(PIP) --no-deps --upgrade --target build/nbgrader \
	  nbgrader==0.9.6 alembic==1.20.1 mako==1.4.3 rapidfuzz==3.14.6 sqlalchemy==2.1.9
	@touch $@

site: $(MADE)  ## the notebooks as pages that need no network, in build/site
	@$(COMMAND) site $(ARGS)

slides: $(MADE)  ## the notebooks as slides that need no network, in build/slides
	@$(COMMAND) slides $(ARGS)

bench: data build/peers/.ready  ## what things cost, side by side in one run
	PYTHONPATH="build/peers:$(CURDIR)" $(PY) studies/bench.py

# the peers and what they need beyond the environment: --no-deps leaves its torch alone
build/peers/.ready: pyproject.toml
	@mkdir -p build/peers
	$(PIP) --no-deps --upgrade --target build/peers \
	  scikit-learn scipy joblib cloudpickle threadpoolctl narwhals pytorch-lightning torchmetrics lightning-utilities
	@touch $@

kernel-starts: data  ## many kernels at once on a busy machine: how many die, how fast
	$(PY) studies/kernel_starts.py

seed-study: data  ## the source's run for 128 seeds, 13 epochs, with dropout and without
	$(PY) studies/seed_study.py

experiments: data  ## the 265 runs that chapter 08 compares; goes on where it was stopped
	$(PY) studies/experiments.py

mutants: data  ## make the mistakes of tests/mutants.yaml, see if their checks catch them
	$(PY) tests/mutants.py $(ARGS)

# mutmut and what it needs beyond the environment, aside; it works on a copy in mutants/
build/mutmut/.ready: pyproject.toml
	$(PIP) --no-deps --upgrade --target build/mutmut \
	  mutmut libcst textual rich setproctitle markdown-it-py mdurl mdit-py-plugins linkify-it-py
	@touch $@

mutmut: data build/mutmut/.ready  ## let mutmut change mnist_nb everywhere, see what the unit tests catch
	@mkdir -p mutants  # Python passes over a path that is not there when it starts
	OMP_NUM_THREADS=1 PYTHONPATH="$(CURDIR)/mutants:$(CURDIR)/build/mutmut" $(PY) -m mutmut run $(ARGS)

portability: data  ## the notebooks verified as on other machines, with a table; hours
	$(PY) studies/portability.py

stability: data  ## what is committed, refreshed in a clone by another user, twice
	$(PY) studies/stability.py

lock:  ## renew environment.yml from pyproject.toml
	@$(BASE) -m venv build/lock && build/lock/bin/python -m pip install --quiet uv
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
