"""Hold the learners' processes (`inside`) and the process of the tests (`examiner`) for `grading`.

Each notebook has a sandbox of its own, so that nothing it is asked can reach the next one. Both
fork a process per notebook, so they import nothing twice. What forks the learners' processes runs
no code of a learner, and gets nothing of a learner or a test. What an exercise has before its
first task is the same in all notebooks, and runs once (`opening`).
"""

import contextlib
import logging
import select
import socket
import threading
import time
from typing import NamedTuple

from mnist_nb.tools.classroom.channel import WireError, receive
from mnist_nb.tools.classroom.containment import bwrap_prefix, outer_prefix, watch
from mnist_nb.tools.classroom.forking import Examiner, Inside, SandboxError, environment

log = logging.getLogger("mnist_nb")
_AFTER = 30  # seconds that the tests may take beyond a notebook's limit


class _Notebook(NamedTuple):
    """The process of a notebook: its keeper's socket, the process whose family is watched.

    `own` is what forked it, if that forks no others.
    """

    keeper: socket.socket
    pid: int
    own: Inside | None = None

    def stop(self) -> None:
        """End the process and all that it started; return when they have ended."""
        with self.keeper, contextlib.suppress(OSError):
            self.keeper.shutdown(socket.SHUT_WR)
            self.keeper.settimeout(_AFTER)
            self.keeper.recv(1)
        if self.own:
            self.own.stop()


class Sandbox:
    """Run learners' notebooks, each in a process and a sandbox of its own."""

    def __init__(self, contained: bool, openings: dict[str, list[str]] | None = None):
        """Take the sources of the code cells that open each exercise, as learners get them."""
        self._openings = openings or {}
        self._contained, self._lock = contained, threading.Lock()
        self._forking: Inside | None = None  # one for all notebooks
        self._cold = not contained

    def run(self, examiner: Examiner, job: dict) -> dict:
        """Return what `examiner` says of a notebook.

        Raises:
            SandboxError: the learner's process cannot start, or takes too much.
        """
        tests, learners = socket.socketpair()
        with tests:
            with learners:
                notebook = self._start(learners, self._opening(job), job["seconds"])
            try:
                return self._run(examiner, job, tests, notebook)
            finally:
                notebook.stop()

    def _run(
        self, examiner: Examiner, job: dict, tests: socket.socket, notebook: _Notebook
    ) -> dict:
        with examiner.start(tests, job) as answers:
            end = time.monotonic() + 5 * job["seconds"] + _AFTER
            if wrong := self._waited(answers, notebook.pid, end):
                notebook.stop()
            if wrong and not select.select([answers], [], [], _AFTER)[0]:
                raise SandboxError(f"stopped: {wrong}")
            try:
                result, _ = receive(answers, _AFTER)
            except (EOFError, OSError, WireError) as error:
                raise SandboxError("stopped: its tests ended without a result") from error
        if wrong:
            result["stopped"] = wrong
        return result

    def _opening(self, job: dict) -> list[str]:
        """Return the opening of an exercise if the notebook's first cells are exactly these."""
        opening = self._openings.get(job["exercise"], [])
        code = [cell["source"] for cell in job["cells"] if cell["code"]]
        return opening if code[: len(opening)] == opening else []

    def _start(self, channel: socket.socket, opening: list[str], seconds: int) -> _Notebook:
        """Fork a notebook's process; where that does not work, start one for it alone."""
        if not self._cold:
            try:
                with self._lock:
                    self._forking = self._forking or Inside(outer_prefix())
                command = bwrap_prefix()
                opened = opening and self._forking.fork_opened(channel, command, opening, seconds)
                return _Notebook(*(opened or self._forking.fork(channel, command)))
            except SandboxError as error:
                self._cold = True
                log.warning("each notebook imports PyTorch anew, which takes longer: %s", error)
        own = Inside(bwrap_prefix()) if self._contained else Inside([], env=environment())
        try:
            keeper, _ = own.fork(channel, [])
        except SandboxError:
            own.stop()
            raise
        return _Notebook(keeper, own.process.pid, own)

    def _waited(self, answers: socket.socket, pid: int, end: float) -> str:
        """Wait for the result; return why the learner's process has to end, or ""."""
        while not select.select([answers], [], [], 0.2)[0]:
            if self._contained and (wrong := watch(pid)):
                return wrong
            if time.monotonic() > end:
                return "it took too long"
        return ""

    def stop(self) -> None:
        """End what forks the notebooks' processes."""
        if self._forking:
            self._forking.stop()
            self._forking = None
