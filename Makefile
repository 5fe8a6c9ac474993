# All common tasks. `make help` lists them.

# The environment: an activated conda environment, or else .venv in this folder.
# To use a different one: make setup VENV=/path/to/environment
ifneq ($(filter-out base,$(CONDA_DEFAULT_ENV)),)
VENV ?= $(CONDA_PREFIX)
else
VENV ?= .venv
endif
PYTHON ?= python3
# the build of torch, cpu or cuda; by default it depends on the machine
TORCH ?=
# torch's index of CPU builds, or a mirror of it
TORCH_CPU ?= https://download.pytorch.org/whl/cpu
# expand ~ here, as the shell does not expand it in quotes
at_home = $(if $(filter ~/%,$(1)),$(subst ~/,$(HOME)/,$(1)),$(1))
ENVIRONMENT := "$(call at_home,$(VENV))"
BASE := "$(call at_home,$(PYTHON))"
# start programs with -m, as the first line of a script fails if a path is long or has spaces
PY := $(ENVIRONMENT)/bin/python
COMMAND := $(PY) -m mnist_nb.tools.cli
# -I ignores packages in the user's home and in PYTHONPATH
PIP := $(PY) -I -m pip install --quiet --disable-pip-version-check
MADE := build/environment.txt
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb notebooks/solutions/*.ipynb))
# one more than the number of cores, as some tests only wait for a process
JOBS ?= $(shell $(PY) -c "import os; print(1 + (len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()))")
ARGS ?=
ZIP := $(if $(wildcard notebooks/solutions),build/student/mnist-nb-student.zip)
# absolute paths, as nbgrader runs in different folders
WITH_NBGRADER := PYTHONPATH="$(CURDIR)/build/nbgrader:$(CURDIR)"

# Override the user's pip settings about what to install, and drop variables about where to.
# Keep the settings about where packages come from.
export PIP_USER := 0
export PIP_REQUIRE_HASHES := 0
export PIP_REQUIRE_VIRTUALENV := 0
export PIP_NO_DEPS := 0
export PIP_DRY_RUN := 0
unexport PIP_TARGET PIP_PREFIX PIP_ROOT PIP_PYTHON PIP_PLATFORM PIP_PYTHON_VERSION PIP_ABI PIP_IMPLEMENTATION
# Import mnist_nb from this folder, even if several clones share an environment.
export PYTHONPATH := $(CURDIR)
export PYTHONNOUSERSITE := 1
unexport PYTHONHOME

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup data lab run test test-all nbval lint refresh docs exercises student grade site site-instructor slides bench kernel-starts seed-study experiments mutants mutmut portability stability lock clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(MADE)  ## create or complete the environment (TORCH=cpu or cuda)

# Rewritten when the environment or its pins change; then nbgrader in build/ is reinstalled.
$(MADE): FORCE
	@command -v $(PY) >/dev/null || command -v $(BASE) >/dev/null || \
	  { echo "Cannot find $(PYTHON). Name a Python 3.11 or newer: make setup PYTHON=python3.12" >&2; exit 1; }
	@test -x $(PY) || $(BASE) -I mnist_nb/tools/environment.py new $(ENVIRONMENT)
	@$(PY) -I mnist_nb/tools/environment.py fill "$(TORCH)" "$(TORCH_CPU)"

FORCE:

data: $(MADE)  ## download MNIST and verify each file's checksum
	@$(COMMAND) data

# jupyter/labconfig/ has defaults, which settings that users make in JupyterLab override.
# jupyter/jupyter_lab_config.py takes precedence over the user's own file of that name.
lab: data build/lab/default-37a8.jupyterlab-workspace  ## open JupyterLab on the walkthrough
	JUPYTER_CONFIG_PATH="$(CURDIR)/jupyter$${JUPYTER_CONFIG_PATH:+:$$JUPYTER_CONFIG_PATH}" \
	JUPYTERLAB_WORKSPACES_DIR="$(CURDIR)/build/lab" \
	$(PY) -m jupyterlab --ServerApp.root_dir=notebooks --ip=127.0.0.1 $(if $(filter 0,$(shell id -u)),--allow-root) $(ARGS)

# the initial window layout; JupyterLab saves changes in this copy
build/lab/default-37a8.jupyterlab-workspace: jupyter/first.jupyterlab-workspace
	@mkdir -p $(@D) && cp $< $@

run: data  ## run the walkthrough (ARGS="-p epochs 1" sets parameters)
	@$(COMMAND) run $(ARGS)

test: lint data build/nbgrader/.ready  ## run the tests, which execute every notebook
	$(PY) -m pytest -n $(JOBS) --dist loadfile -m "not whole" $(ARGS)

test-all: lint data build/nbgrader/.ready  ## run all tests, including slow ones
	$(PY) -m pytest -n $(JOBS) --dist loadfile $(ARGS)

nbval: data  ## execute the notebooks again and compare all outputs
	$(PY) -m pytest -n $(JOBS) --dist loadfile notebooks $(ARGS)

lint: $(MADE)  ## run ruff, and check the notebooks' format
	$(PY) -m ruff check --quiet .
	$(PY) -m ruff format --quiet --check .
	$(COMMAND) lint $(NOTEBOOKS)

refresh: data  ## execute all notebooks again and save them in normal form
	$(COMMAND) refresh $(NOTEBOOKS)

docs: $(MADE)  ## update the parameter table and picture in docs/
	@$(COMMAND) docs

exercises: build/nbgrader/.ready  ## write notebooks/exercises again, from notebooks/solutions
	@$(WITH_NBGRADER) $(COMMAND) exercises

student: build/nbgrader/.ready  ## make the exercises for learners, and a zip with all they need
	@$(WITH_NBGRADER) $(COMMAND) student $(ARGS)

grade: data build/nbgrader/.ready $(filter build/submissions,$(SUBMISSIONS))  ## grade SUBMISSIONS=folder with LEARNER/EXERCISE.ipynb in it
	@test -n "$(SUBMISSIONS)" || { echo "SUBMISSIONS is not set. Give the folder: make grade SUBMISSIONS=folder"; exit 1; }
	@$(WITH_NBGRADER) $(COMMAND) grade "$(SUBMISSIONS)" $(ARGS)

build/submissions: tests/classroom/submissions.py build/nbgrader/.ready
	@$(WITH_NBGRADER) $(PY) tests/classroom/submissions.py $@

# nbgrader and its additional requirements; in the environment it would add menus to JupyterLab
build/nbgrader/.ready: $(MADE)
	$(PIP) --no-deps --upgrade --target build/nbgrader \
	  nbgrader==0.9.6 alembic==1.20.1 mako==1.4.3 rapidfuzz==3.14.6 sqlalchemy==2.1.9
	@touch $@

site: $(MADE) $(ZIP)  ## write web pages for learners that work offline, in build/site
	@$(COMMAND) site $(ARGS)

site-instructor: $(MADE) $(ZIP)  ## the same with solutions and the guide, in build/site-instructor
	@$(COMMAND) site --instructor $(ARGS)

# the zip for learners, made anew; in the unpacked zip itself there is nothing to make it from
build/student/mnist-nb-student.zip: build/nbgrader/.ready FORCE
	@$(WITH_NBGRADER) $(COMMAND) student

slides: $(MADE)  ## write the notebooks as slides that work offline, in build/slides
	@$(COMMAND) slides $(ARGS)

bench: data build/peers/.ready  ## measure how long training, runs and sweeps take
	PYTHONPATH="build/peers:$(CURDIR)" $(PY) studies/bench.py

# scikit-learn and Lightning, to compare with; --no-deps keeps the environment's torch
build/peers/.ready: pyproject.toml
	@mkdir -p build/peers
	$(PIP) --no-deps --upgrade --target build/peers \
	  scikit-learn scipy joblib cloudpickle threadpoolctl narwhals pytorch-lightning torchmetrics lightning-utilities
	@touch $@

kernel-starts: data  ## measure kernel starts on a busy machine
	$(PY) studies/kernel_starts.py

seed-study: data  ## train the walkthrough's network with 128 seeds, with and without dropout
	$(PY) studies/seed_study.py

experiments: data  ## execute the 265 runs of chapter 08, or resume them
	$(PY) studies/experiments.py

mutants: data  ## plant each mistake of tests/verify/mutants.yaml, and see if its check catches it
	$(PY) tests/verify/mutants.py $(ARGS)

# mutmut and its additional requirements; it works on a copy in mutants/
build/mutmut/.ready: pyproject.toml
	$(PIP) --no-deps --upgrade --target build/mutmut \
	  mutmut libcst textual rich setproctitle markdown-it-py mdurl mdit-py-plugins linkify-it-py
	@touch $@

mutmut: data build/mutmut/.ready  ## let mutmut mutate mnist_nb, report which mutants the unit tests miss
	@mkdir -p mutants  # Python ignores paths that do not exist when it starts
	OMP_NUM_THREADS=1 PYTHONPATH="$(CURDIR)/mutants:$(CURDIR)/build/mutmut" $(PY) -m mutmut run $(ARGS)

portability: data  ## verify the notebooks under different conditions (takes hours)
	$(PY) studies/portability.py $(ARGS)

stability: data  ## check that refreshing in a clone as a different user changes no byte
	$(PY) studies/stability.py

lock:  ## update the pins in environment.yml from pyproject.toml
	@$(BASE) -m venv build/lock && build/lock/bin/python -m pip install --quiet uv
	@build/lock/bin/uv pip compile --quiet --exclude-newer "7 days" --universal --python-version 3.11 --fork-strategy fewest \
	  --extra dev --no-annotate --no-header pyproject.toml \
	  | grep -vE '^(nvidia|cuda|triton)' > build/pins.txt
	@sed '/- pip:/q' environment.yml > build/environment.yml
	@sed 's/^/      - /' build/pins.txt >> build/environment.yml
	@mv build/environment.yml environment.yml
	@echo "environment.yml is updated. Review the difference, then run make setup test"

clean:  ## remove build/, mutants/ and caches; keep the environment, the data and runs/
	rm -rf build mutants .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
