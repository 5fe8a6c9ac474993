"""Start the two processes of a grading that fork one for each notebook, and ask them for forks.

`sandbox` uses them: `Inside` forks the learners' processes, `Examiner` those of the tests.
"""

import os
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO

import mnist_nb
from mnist_nb.errors import Problem
from mnist_nb.tools.classroom.channel import WireError, receive, send
from mnist_nb.tools.classroom.containment import QUIET, prlimit_prefix

_START = 120  # seconds in which a process has to be ready
_AFTER = 30  # seconds in which one that is ready has to take what it is sent


class SandboxError(Problem):
    """A process that grading needs has ended, or one that it watches takes too much."""


def _started(module: str, prefix: list[str], log: IO, **options) -> tuple:
    """Start a module of this package with a socket as its standard input; return both."""
    ours, theirs = socket.socketpair()
    with theirs:
        command = [*prlimit_prefix(), *prefix, sys.executable, "-m", f"{__package__}.{module}"]
        process = subprocess.Popen(command, stdin=theirs, stdout=log, stderr=log, **options)
    return process, ours


def environment() -> dict[str, str]:
    """Return the environment of a process outside the sandbox, which has to find this package."""
    path = [str(Path(mnist_nb.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return os.environ | QUIET | {"PYTHONPATH": os.pathsep.join(filter(None, path))}


def _last_line(log: IO) -> str:
    log.seek(max(0, log.seek(0, os.SEEK_END) - 10_000))
    lines = log.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it gave no reason"


class Examiner:
    """The process of the tests: one for a whole grading, which forks one for each exercise."""

    def __init__(self, originals: dict[str, list[dict]]):
        self._lock = threading.Lock()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115, closed by stop
        variables = environment() | {"MPLBACKEND": "agg"}
        self._process, self._control = _started("examiner", [], self._log, env=variables)
        self._exercises: dict[str, socket.socket] = {}
        send(self._control, originals)

    def start(self, channel: socket.socket, job: dict) -> socket.socket:
        """Have a notebook examined over `channel`; return the socket on which the result comes."""
        ours, theirs = socket.socketpair()
        try:
            with self._lock, theirs:
                numbers = [channel.fileno(), theirs.fileno()]
                socket.send_fds(self._exercise(job["exercise"]), [b"k"], numbers)
            ours.settimeout(_AFTER)
            send(ours, job)
            ours.settimeout(None)
        except OSError as error:
            raise SandboxError(
                f"the process of the tests ended: {_last_line(self._log)}"
            ) from error
        return ours

    def _exercise(self, name: str) -> socket.socket:
        """Return the socket to the process of an exercise; fork that for its first notebook."""
        if name not in self._exercises:
            ours, theirs = socket.socketpair()
            with theirs:
                socket.send_fds(self._control, [b"e"], [theirs.fileno()])
            send(ours, {"exercise": name})
            self._exercises[name] = ours
        return self._exercises[name]

    def stop(self) -> None:
        """End the process and what it has forked."""
        for control in (self._control, *self._exercises.values()):
            control.close()
        self._process.terminate()
        self._process.wait()
        self._log.close()


class _Forking:
    """A process that forks one for each notebook: what asks it, over the socket `control`."""

    def __init__(self, control: socket.socket):
        self._lock, self.control = threading.Lock(), control

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
                socket.send_fds(self.control, [b"k"], numbers)
            send(ours, {"sandbox": sandbox})
            said, _ = receive(ours, _START)
            if "pid" not in said:
                raise SandboxError(f"the sandbox does not start: {said.get('failed')}")
            return ours, said["pid"]
        except (EOFError, OSError, WireError) as error:
            raise SandboxError("the sandbox does not start: its process ended") from error

    def opened(self, sources: list[str], seconds: int) -> "_Forking | None":
        """Have it fork one that runs an opening, and then forks what goes on from there.

        Return None if the opening has to run in each notebook again.
        """
        ours, theirs = socket.socketpair()
        try:
            with self._lock, theirs:
                socket.send_fds(self.control, [b"o"], [theirs.fileno()])
            send(ours, {"opening": sources, "seconds": seconds})
            said, _ = receive(ours, _START + len(sources) * seconds)
            if "failed" not in said:
                return _Forking(ours)
        except (EOFError, OSError, WireError):
            pass
        ours.close()
        return None


class Inside:
    """A process that forks one for each notebook, and one for each opening of an exercise."""

    def __init__(self, prefix: list[str], **options):
        self._openings: dict[tuple[str, ...], tuple[threading.Lock, list[_Forking | None]]] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="mnist-nb-")
        with tempfile.TemporaryFile() as file:
            self.process, control = _started(
                "inside", prefix, file, cwd=self._folder.name, **options
            )
            self._plain = _Forking(control)
            control.settimeout(_START)
            try:
                ready = control.recv(1)
            except OSError:
                ready = b""
            if ready != b"r":
                said = _last_line(file)
                self.stop()
                raise SandboxError(f"the sandbox does not start: {said}")

    def fork(self, channel: socket.socket, sandbox: list[str]) -> tuple[socket.socket, int]:
        """Start a notebook's process in which nothing has run; see `_Forking.fork`."""
        return self._plain.fork(channel, sandbox)

    def fork_opened(
        self, channel: socket.socket, sandbox: list[str], opening: list[str], seconds: int
    ) -> tuple[socket.socket, int] | None:
        """Start one in which the cells of `opening` have run; None if they have to run again."""
        key = tuple(opening)
        lock, made = self._openings.setdefault(key, (threading.Lock(), []))
        with lock:  # one thread has it run, the others wait
            if not made:
                made.append(self._plain.opened(opening, seconds))
        try:
            return made[0].fork(channel, sandbox) if made[0] else None
        except SandboxError:
            made[0] = None
            return None

    def stop(self) -> None:
        """End the process and all that it has forked."""
        opened = [one for _, made in self._openings.values() for one in made if one]
        for forking in (self._plain, *opened):
            forking.control.close()
        self.process.kill()
        self.process.wait()
        self._folder.cleanup()
