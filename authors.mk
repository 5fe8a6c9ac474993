# What authors and instructors do, beyond what the Makefile has for everyone.

NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb notebooks/solutions/*.ipynb))
WALKTHROUGH := notebooks/00_walkthrough.ipynb
# -I ignores packages in the user's home and in PYTHONPATH
PIP := $(PY) -I -m pip install --quiet --disable-pip-version-check
# absolute paths, as nbgrader runs in different folders
WITH_NBGRADER := PYTHONPATH="$(CURDIR)/build/nbgrader:$(CURDIR)"

.PHONY: test test-all lint refresh docs exercises student kit kit-try grade site site-instructor slides bench kernel-starts seed-study exact-study exact-starts experiments mutants mutmut portability stability lock

# each module is compiled once, not by each of the hundreds of processes that tests start
test test-all: export PYTHONDONTWRITEBYTECODE :=

test: lint data build/nbgrader/.ready  ## run the tests, which execute every notebook
	$(PY) -m pytest -n $(JOBS) --dist loadfile -m "not whole" $(ARGS)

test-all: lint data build/nbgrader/.ready  ## run all tests, including slow ones
	$(PY) -m pytest -n $(JOBS) --dist loadfile $(ARGS)

lint: $(MADE)  ## run ruff, and check the notebooks' format
	$(PY) -m ruff check --quiet .
	$(PY) -m ruff format --quiet --check .
	$(COMMAND) lint $(NOTEBOOKS)

# The walkthrough first: it saves the network that other chapters load.
refresh: data  ## execute all notebooks again, and save them and the walkthrough's network
	$(COMMAND) refresh $(WALKTHROUGH)
	cp notebooks/network.safetensors mnist_nb/walkthrough.safetensors
	$(COMMAND) refresh $(filter-out $(WALKTHROUGH),$(NOTEBOOKS))

docs: $(MADE)  ## update the parameter table and picture in docs/
	@$(COMMAND) docs

exercises: build/nbgrader/.ready  ## write notebooks/exercises again, from notebooks/solutions
	@$(WITH_NBGRADER) $(COMMAND) exercises

student: build/nbgrader/.ready  ## make the exercises for learners, and a zip with all they need
	@$(WITH_NBGRADER) $(COMMAND) student $(ARGS)

# SYSTEMS="linux macos windows", PYTHONS="3.11 3.12"; by default what this machine has
kit: data build/nbgrader/.ready  ## make a folder for a stick: zip, data, site, wheels (SYSTEMS, PYTHONS)
	@$(WITH_NBGRADER) $(COMMAND) kit --systems "$(SYSTEMS)" --pythons "$(PYTHONS)" --torch "$(TORCH)" --torch-cpu "$(TORCH_CPU)" $(ARGS)

kit-try:  ## use build/kit as a learner does: no network, empty home (needs bubblewrap)
	@$(PY) studies/kit_try.py $(ARGS)

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

site: data build/student/mnist-nb-student.zip  ## write web pages for learners that work offline, in build/site
	@$(COMMAND) site $(ARGS)

site-instructor: data build/student/mnist-nb-student.zip  ## the same with solutions and the guide, in build/site-instructor
	@$(COMMAND) site --instructor $(ARGS)

# made anew each time
build/student/mnist-nb-student.zip: build/nbgrader/.ready FORCE
	@$(WITH_NBGRADER) $(COMMAND) student

slides: $(MADE)  ## write the notebooks as slides that work offline and as PDF, in build/slides
	@$(COMMAND) slides --pdf $(ARGS)

bench: data build/peers/.ready  ## measure how long training, runs and sweeps take
	PYTHONPATH="$(CURDIR)/build/peers:$(CURDIR)" $(PY) studies/bench.py

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

exact-study: data  ## train chapter 09's exact network with 32 seeds; ARGS=times: seconds per epoch
	$(PY) studies/exact.py $(ARGS)

exact-starts: data  ## do chapter 09's initial weights and splits spread losses as PyTorch's do?
	$(PY) studies/exact_starts.py

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
