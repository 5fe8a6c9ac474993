"""Hold a learner's process (`inside`) and the process of the tests (`examiner`), for `grading`.

Each notebook has a sandbox of its own, so that nothing it is asked can reach the next one. The
process of the tests forks a process per notebook, so it imports nothing twice.
"""

import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO

import mnist_nb
from mnist_nb.errors import Problem
from mnist_nb.tools.classroom.channel import WireError, receive, send
from mnist_nb.tools.classroom.containment import QUIET, bwrap_prefix, prlimit_prefix, watch

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


class Sandbox:
    """A learner's process, started anew for each notebook."""

    def __init__(self, contained: bool):
        self._contained, self._process = contained, None

    def run(self, examiner: Examiner, job: dict) -> dict:
        """Return what `examiner` says of a notebook.

        Raises:
            SandboxError: the learner's process cannot start, or takes too much.
        """
        try:
            return self._run(examiner, job)
        finally:
            self.stop()

    def _run(self, examiner: Examiner, job: dict) -> dict:
        tests, learners = socket.socketpair()
        with tests, learners:
            self._start()
            socket.send_fds(self._control, [b"k"], [learners.fileno()])
            answers = examiner.start(tests, job)
        with answers:
            wrong = self._waited(answers, time.monotonic() + 5 * job["seconds"] + _AFTER)
            if wrong:
                self.stop()
            if wrong and not select.select([answers], [], [], _AFTER)[0]:
                raise SandboxError(f"stopped: {wrong}")
            try:
                result, _ = receive(answers, _AFTER)
            except (EOFError, OSError, WireError) as error:
                raise SandboxError("stopped: its tests ended without a result") from error
        if wrong:
            result["stopped"] = wrong
        return result

    def _start(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="mnist-nb-")
        with tempfile.TemporaryFile() as log:
            prefix = bwrap_prefix() if self._contained else []
            options = {} if self._contained else {"env": _environment()}
            self._process, self._control = _started(
                "inside", prefix, log, cwd=self._folder.name, **options
            )
            self._control.settimeout(_START)
            try:
                ready = self._control.recv(1)
            except OSError:
                ready = b""
            if ready != b"r":
                said = _last_line(log)
                self.stop()
                raise SandboxError(f"the sandbox does not start: {said}")

    def _waited(self, answers: socket.socket, end: float) -> str:
        """Wait for the result; return why the learner's process has to end, or ""."""
        while not select.select([answers], [], [], 0.2)[0]:
            if self._contained and (wrong := watch(self._process.pid)):
                return wrong
            if time.monotonic() > end:
                return "it took too long"
        return ""

    def stop(self) -> None:
        """End the learner's process and all that it started."""
        if self._process:
            self._control.close()
            self._process.kill()
            self._process.wait()
            self._process = None
            self._folder.cleanup()
