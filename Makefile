# What everyone can do with the notebooks. `make help` lists it.
# What only authors and instructors need is in authors.mk, which is not in the learners' zip.

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
# a kit's folder, with wheels and data: on a stick, or around this one; KIT= ignores it
KIT ?= ..
# expand ~ here, as the shell does not expand it in quotes
at_home = $(if $(filter ~/%,$(1)),$(subst ~/,$(HOME)/,$(1)),$(1))
ENVIRONMENT := "$(call at_home,$(VENV))"
BASE := "$(call at_home,$(PYTHON))"
# start programs with -m, as the first line of a script fails if a path is long or has spaces
PY := $(ENVIRONMENT)/bin/python
COMMAND := $(PY) -m mnist_nb.tools.cli
MADE := build/environment.txt
# one more than the number of cores, as some tests only wait for a process
JOBS ?= $(shell $(PY) -c "import os; print(1 + (len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()))")
ARGS ?=

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
export MNIST_NB_KIT := $(call at_home,$(KIT))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup data lab run original nbval clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(MADE)  ## create or complete the environment (TORCH=cpu or cuda)

# Rewritten when the environment or its pins change; then nbgrader in build/ is reinstalled.
$(MADE): FORCE
	@command -v $(PY) >/dev/null || command -v $(BASE) >/dev/null || \
	  { echo "Cannot find $(PYTHON). Name a Python 3.11 or newer: make setup PYTHON=python3.12" >&2; exit 1; }
	@test -x $(PY) || $(BASE) -I mnist_nb/tools/environment.py new $(ENVIRONMENT) "$(MNIST_NB_KIT)"
	@$(PY) -I mnist_nb/tools/environment.py fill "$(TORCH)" "$(TORCH_CPU)" "$(MNIST_NB_KIT)"

FORCE:

data: $(MADE)  ## download MNIST and verify each file's checksum
	@$(COMMAND) data

# jupyter/labconfig/ has defaults, which settings that users make in JupyterLab override.
# jupyter/jupyter_lab_config.py takes precedence over the user's own file of that name.
lab: data build/lab/default-37a8.jupyterlab-workspace  ## open JupyterLab on the walkthrough
	JUPYTER_CONFIG_PATH="$(CURDIR)/jupyter$${JUPYTER_CONFIG_PATH:+:$$JUPYTER_CONFIG_PATH}" \
	JUPYTERLAB_WORKSPACES_DIR="$(CURDIR)/build/lab" \
	$(PY) -m jupyterlab --ServerApp.root_dir=. --ip=127.0.0.1 $(if $(filter 0,$(shell id -u)),--allow-root) $(ARGS)

# the initial window layout; JupyterLab saves changes in this copy
build/lab/default-37a8.jupyterlab-workspace: jupyter/first.jupyterlab-workspace
	@mkdir -p $(@D) && cp $< $@

run: data  ## run the walkthrough (ARGS="-p epochs 1" sets parameters)
	@$(COMMAND) run $(ARGS)

original: $(MADE)  ## bring back a notebook (NOTEBOOK=exercises/01_architecture), keep yours
	@test -n "$(NOTEBOOK)" || { echo "NOTEBOOK is not set. Give one: make original NOTEBOOK=exercises/01_architecture" >&2; exit 1; }
	@$(COMMAND) original "$(NOTEBOOK)"

nbval: data  ## execute the chapters and the solutions again and compare all outputs
	$(PY) -m pytest -n $(JOBS) --dist loadfile notebooks $(ARGS)

clean:  ## remove build/ and caches; keep the environment, the data and runs/
	rm -rf build mutants .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

-include authors.mk
