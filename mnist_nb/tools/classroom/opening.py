"""Run an exercise's opening once for a class: the cells that stand before its first task.

They are the same in each notebook, and often train a network. `inside` forks a process that runs
them as the exercise's author wrote them, and from it a process for each notebook. What a learner
wrote is never in the first. A notebook whose opening is different runs it itself, and so do all
if the opening fails, or leaves more than variables.
"""

import contextlib
import os
import random
import socket
from pathlib import Path

import numpy as np
import torch
from IPython.core.profiledir import ProfileDir

from mnist_nb.tools.classroom.cell_runner import Runner
from mnist_nb.tools.classroom.entrance import shared_mappings
from mnist_nb.tools.classroom.wire import random_state


def started(channel: socket.socket | None) -> Runner:
    """Return a notebook in which nothing has run."""
    folder = os.environ.setdefault("IPYTHONDIR", os.path.abspath(".ipython"))
    os.makedirs(folder, exist_ok=True)
    return Runner(channel)


class Opening:
    """A notebook in which the opening of an exercise has run; each fork goes on with its own."""

    def __init__(self, sources: list[str], seconds: int):
        """Run the cells with these sources, each for at most `seconds`.

        Raises:
            OSError: one fails, or they leave what a fork would not have or would share.
        """
        self.runner = started(None)
        before, left = _random(), _surroundings()
        for source in sources:
            answer = self.runner._cell({"source": source, "seconds": seconds}, b"")
            outputs, late = answer[0]["outputs"], answer[0]["late"]
            if late or any(output["output_type"] == "error" for output in outputs):
                raise OSError("a cell of the opening fails")
            self.runner.answered.append((source, answer))
        if _surroundings() != left:
            raise OSError("the opening leaves files, processes or threads")
        # where no cell drew or set a seed, each notebook has random numbers of its own
        self.unused = [name for name, state in _random().items() if state == before[name]]
        self.python = random.getstate()  # Python sets a new seed in a forked process


def resumed(opening: Opening, channel: socket.socket) -> Runner:
    """Return the notebook as it is after its opening, for this process alone."""
    runner = opening.runner
    runner.connect(channel)
    ProfileDir.create_profile_dir(runner.shell.profile_dir.location)  # in this sandbox's files
    seeds = {"python": random.seed, "numpy": np.random.seed, "torch": torch.default_generator.seed}
    random.setstate(opening.python)
    for name in opening.unused:
        seeds[name]()
    return runner


def _random() -> dict[str, object]:
    """Return the states of the common generators."""
    return {
        "python": random.getstate(),
        "numpy": repr(np.random.get_state(legacy=False)),
        "torch": random_state(),
    }


def _surroundings() -> tuple:
    """Return what this process has outside its own memory: files, processes and threads."""
    files = [path for place in (".", "/dev/shm") for path in Path(place).rglob("*")]
    with contextlib.suppress(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
        raise OSError("the opening leaves a process")
    return (
        os.getcwd(),
        sorted(path for path in files if ".ipython" not in path.parts),
        os.listdir("/dev/fd"),
        len(os.listdir("/proc/self/task")),
        shared_mappings(),
    )
