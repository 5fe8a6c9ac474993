"""Hold the learners' processes (`inside`) and the process of the tests (`examiner`) for `grading`.

Each notebook has a sandbox of its own, so that nothing it is asked can reach the next one. Both
fork a process per notebook, so they import nothing twice. What forks the learners' processes runs
no code of a learner, and gets nothing of a learner or a test.
"""

import contextlib
import logging
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, NamedTuple

import mnist_nb
from mnist_nb.errors import Problem
from mnist_nb.tools.classroom.channel import WireError, receive, send
from mnist_nb.tools.classroom.containment import (
    QUIET,
    bwrap_prefix,
    outer_prefix,
    prlimit_prefix,
    watch,
)

log = logging.getLogger("mnist_nb")
_START = 120  # seconds in which a process has to be ready
_AFTER = 30  # seconds that the tests may take beyond a notebook's limit


class SandboxError(Problem):
    """A process that grading needs has ended, or one that it watches takes too much."""


def _started(module: str, prefix: list[str], log: IO, **options) -> tuple:
    """Start a module of this package with a socket as its standard input; return both."""
    ours, theirs = socket.socketpair()
    with theirs:
        command = [*prlimit_prefix(), *prefix, sys.executable, "-m", f"{__package__}.{module}"]
        process = subprocess.Popen(command, stdin=theirs, stdout=log, stderr=log, **options)
    return process, ours


def _environment() -> dict[str, str]:
    """Return the environment of a process outside the sandbox, which has to find this package."""
    path = [str(Path(mnist_nb.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return os.environ | QUIET | {"PYTHONPATH": os.pathsep.join(filter(None, path))}


def _last_line(log: IO) -> str:
    log.seek(max(0, log.seek(0, os.SEEK_END) - 10_000))
    lines = log.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it gave no reason"


class Examiner:
    """The process of the tests: one for a whole grading."""

    def __init__(self, originals: dict[str, list[dict]]):
        self._lock = threading.Lock()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115, closed by stop
        environment = _environment() | {"MPLBACKEND": "agg"}
        self._process, self._control = _started("examiner", [], self._log, env=environment)
        send(self._control, originals)

    def start(self, channel: socket.socket, job: dict) -> socket.socket:
        """Have a notebook examined over `channel`; return the socket on which the result comes."""
        ours, theirs = socket.socketpair()
        try:
            with self._lock:
                with theirs:
                    socket.send_fds(self._control, [b"k"], [channel.fileno(), theirs.fileno()])
                ours.settimeout(_AFTER)
                send(ours, job)
                ours.settimeout(None)
        except OSError as error:
            raise SandboxError(
                f"the process of the tests ended: {_last_line(self._log)}"
            ) from error
        return ours

    def stop(self) -> None:
        """End the process and what it has forked."""
        self._control.close()
        self._process.terminate()
        self._process.wait()
        self._log.close()


class _Inside:
    """A process that forks one for each notebook."""

    def __init__(self, prefix: list[str], **options):
        self._lock = threading.Lock()
        self._folder = tempfile.TemporaryDirectory(prefix="mnist-nb-")
        with tempfile.TemporaryFile() as file:
            self.process, self._control = _started(
                "inside", prefix, file, cwd=self._folder.name, **options
            )
            self._control.settimeout(_START)
            try:
                ready = self._control.recv(1)
            except OSError:
                ready = b""
            if ready != b"r":
                said = _last_line(file)
                self.stop()
                raise SandboxError(f"the sandbox does not start: {said}")

    def fork(self, channel: socket.socket, sandbox: list[str]) -> tuple[socket.socket, int]:
        """Start a notebook's process; return its keeper's socket and id.

        The keeper makes the notebook's sandbox with the command `sandbox`, and ends it when the
        socket is closed.

        Raises:
            SandboxError: it does not start.
        """
        ours, theirs = socket.socketpair()
        try:
            with self._lock, theirs:
                numbers = [channel.fileno(), theirs.fileno()]
                socket.send_fds(self._control, [b"k"], numbers)
            send(ours, {"sandbox": sandbox})
            said, _ = receive(ours, _START)
            if "pid" not in said:
                raise SandboxError(f"the sandbox does not start: {said.get('failed')}")
            return ours, said["pid"]
        except (EOFError, OSError, WireError) as error:
            raise SandboxError("the sandbox does not start: its process ended") from error

    def stop(self) -> None:
        """End the process and all that it has forked."""
        self._control.close()
        self.process.kill()
        self.process.wait()
        self._folder.cleanup()


class _Notebook(NamedTuple):
    """The process of a notebook: its keeper's socket, the process whose family is watched.

    `own` is what forked it, if that forks no others.
    """

    keeper: socket.socket
    pid: int
    own: _Inside | None = None

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

    def __init__(self, contained: bool):
        self._contained, self._lock = contained, threading.Lock()
        self._forking: _Inside | None = None  # one for all notebooks
        self._cold = not contained

    def run(self, examiner: Examiner, job: dict) -> dict:
        """Return what `examiner` says of a notebook.

        Raises:
            SandboxError: the learner's process cannot start, or takes too much.
        """
        tests, learners = socket.socketpair()
        with tests:
            with learners:
                notebook = self._start(learners)
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

    def _start(self, channel: socket.socket) -> _Notebook:
        """Fork a notebook's process; where that does not work, start one for it alone."""
        if not self._cold:
            try:
                with self._lock:
                    self._forking = self._forking or _Inside(outer_prefix())
                return _Notebook(*self._forking.fork(channel, bwrap_prefix()))
            except SandboxError as error:
                self._cold = True
                log.warning("each notebook imports PyTorch anew, which takes longer: %s", error)
        own = _Inside(bwrap_prefix()) if self._contained else _Inside([], env=_environment())
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
