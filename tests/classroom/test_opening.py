"""What stands before an exercise's first task runs once, and each notebook goes on from there."""

import pytest
from test_classroom import needs_bubblewrap
from test_sandbox import FILES, OTHERS, SEEN, started

from mnist_nb.tools.classroom.sandbox import Examiner, Sandbox

pytestmark = needs_bubblewrap
OPENING = """
import random, time, torch
import numpy as np
_ = torch.manual_seed(1), random.seed(1)
made = [time.monotonic_ns()]
print("opened")
"""
# openings that leave more than variables, or fail
LEAVING = {
    "a file": "open('left', 'w').close()",
    "an open file": "kept = open('/etc/passwd')",
    "a thread": "import threading\nthreading.Thread(target=time.sleep, args=(5,)).start()",
    "a process": "import subprocess\nchild = subprocess.Popen(['sleep', '5'])",
    "shared memory": "import mmap\nshared = mmap.mmap(-1, 4096)",
    "an error": "1 / 0",
}
OPENINGS = {"one": [OPENING, "made.append(2)"]} | {
    name: [f"{OPENING}{source}"] for name, source in LEAVING.items()
}


@pytest.fixture(scope="module")
def shown():
    """What the cells of a notebook print, below the opening of the exercise `name`."""
    learners, examiner = Sandbox(True, OPENINGS), Examiner({name: [] for name in OPENINGS})

    def run(source: str, name: str = "one", opening: list[str] | None = None) -> list[str]:
        sources = [*(opening or OPENINGS[name]), source]
        cells = [{"id": str(k), "source": text, "code": True} for k, text in enumerate(sources)]
        result = learners.run(examiner, {"exercise": name, "cells": cells, "seconds": 60})
        assert not learners._cold and not result["stopped"]
        return ["".join(str(o.get("text", "")) for o in outputs) for outputs in result["cells"]]

    yield run
    learners.stop()
    examiner.stop()


def test_it_runs_once_and_each_notebook_has_its_variables_outputs_and_seeds_for_itself(shown):
    draw = "made.append(3)\ndrawn = torch.rand(1), random.random()\n"
    draw += "print(made, drawn, np.random.rand(), sep='; ')"
    first, second = shown(draw), shown(draw)
    assert first[:2] == second[:2] == ["opened\n", ""]
    (made, drawn, own), (same, as_well, other) = (x[2].split("; ") for x in (first, second))
    assert made == same and made.endswith(", 2, 3]"), "it ran once, and no notebook sees the other"
    assert drawn == as_well, "the opening set these seeds"
    assert own != other, "it did not use this generator"


def test_a_notebook_whose_opening_is_different_runs_it_itself(shown):
    changed = ["made = ['mine']", "made.append(2)"]
    said = shown("print(made, 'time' in globals())", opening=changed)[-1]
    assert said == "['mine', 2] False\n"
    assert shown("print(made[1:])")[-1] == "[2]\n"


@pytest.mark.parametrize("name", LEAVING)
def test_an_opening_that_fails_or_leaves_more_than_variables_runs_in_each_notebook(shown, name):
    first, second = (shown("print(made)", name) for _ in range(2))
    assert first[0].startswith("opened") and first[1].startswith("[")
    assert first[1] != second[1], "each has its own time"


def test_a_process_that_goes_on_from_it_is_as_contained_as_one_that_bubblewrap_starts(shown):
    assert shown(SEEN)[-1].strip() == started(SEEN)
    kinds = [line.split()[1] for line in shown(FILES)[-1].splitlines()]
    assert sorted(kinds) == ["/dev/null", "/memfd", "/memfd", "/memfd", "socket"]
    assert {*shown(OTHERS)[-1].split()} <= {"pipe", "/dev/null", "anon_inode"}
