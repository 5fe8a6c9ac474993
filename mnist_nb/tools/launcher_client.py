"""This process's side of launcher.py: start it, and ask it for kernels."""

import asyncio
import contextlib
import hashlib
import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mnist_nb.tools.settings import isolated

SCRIPT = Path(__file__).with_name("launcher.py")
PATIENCE = 120  # seconds for the launcher's imports
KILLED = -9  # the exit code of a kernel that ended with its launcher
# Variables that nothing reads while it is imported.
_HARMLESS = re.compile(
    r"(JPY|PYTEST|MNIST_NB|(__)?DASK)_\w+|PWD|OLDPWD|SHLVL|_|TMPDIR|COLUMNS|LINES"
)


class ForkedKernel:
    """A kernel that the launcher forked, with what jupyter_client uses of a `Popen`."""

    stdin = stdout = stderr = None

    def __init__(self, life: socket.socket):
        self.pid: int | None = None
        self.returncode: int | None = None
        self._life, self._said = life, b""
        life.setblocking(False)

    def poll(self) -> int | None:
        """Return the exit code, None while the kernel runs or is being started."""
        while self.returncode is None:
            try:
                said = self._life.recv(100)
            except BlockingIOError:
                return None
            except OSError:
                said = b""
            self._said += said
            pid, *code = self._said.split(b"\n")[:-1] or [None]
            self.pid = pid and int(pid)
            if code or not said:
                self.returncode = int(code[0]) if code else KILLED
                self._life.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code once the kernel has ended; raise TimeoutExpired if it does not."""
        deadline = time.monotonic() + (timeout or 0)
        while self.poll() is None:
            if timeout is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("kernel", timeout)
            time.sleep(0.01)
        return self.returncode

    def send_signal(self, signum: int) -> None:
        """Send a signal, unless the kernel has ended."""
        if self.poll() is None and self.pid:
            os.kill(self.pid, signum)


class Launcher:
    """The process that forks this process's kernels, and the folder with their sockets.

    With a `host`, the folder of another process's, this one is its guest as long as it can be.
    """

    def __init__(self, modules: Sequence[str], isolate: bool = True, host: str | None = None):
        self.modules, self.isolate, self.host = modules, isolate, host
        self.owner = os.getpid()
        place = host if host and os.path.isdir(host) else None  # which removes it all at its end
        self.folder = tempfile.mkdtemp(prefix="mnist-nb-", dir=place)
        self._settings = Path(host or self.folder, "settings")
        self.numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._process: subprocess.Popen | None = None
        self._client: socket.socket | None = None  # open as long as there is a launcher
        self._imported: dict[str, Any] = {}
        self._outdated: list[tuple] = []  # launchers whose kernels may still run
        self._works = sys.platform == "linux" and os.environ.get("MNIST_NB_WARM") != "0"

    def environment_for(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of a kernel: that given, or one without people's settings."""
        if not self.isolate:
            return dict(environment)
        self._settings.mkdir(parents=True, exist_ok=True)  # a cleaner of /tmp may have been there
        return isolated(environment, self._settings)

    def start(self, environment: Mapping[str, str]) -> None:
        """Start the launcher unless it runs; its imports go on while this process does."""
        with self._lock:
            wanted = {"installed": _installed(), "modules": list(self.modules)}
            if self._client and (_has_ended(self._client) or not self._has_imported(wanted)):
                self._outdated.append((self._process, self._client))
                self._process = self._client = self.host = None
            if self._client or not self._works:
                return
            wanted["environment"] = _read_at_import(environment)
            if self.host and (client := _visit(self.host, wanted)):
                self._client, self._imported = client, wanted
                return
            self._client, theirs = socket.socketpair()
            self.host, self._imported = None, wanted
            with theirs, _door(self.folder, wanted) as door:
                numbers = theirs.fileno(), door.fileno()
                with open(Path(self.folder, "launcher.log"), "ab") as log:
                    self._process = subprocess.Popen(
                        [sys.executable, SCRIPT, *map(str, numbers), self.folder, *self.modules],
                        env=dict(environment), cwd=self.folder, pass_fds=numbers,
                        start_new_session=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    )  # fmt: skip

    def _has_imported(self, wanted: Mapping[str, Any]) -> bool:
        return all(self._imported[name] == value for name, value in wanted.items())

    async def fork(
        self, arguments: list[str], environment: dict[str, str], cwd: str, streams: list[int]
    ) -> ForkedKernel | None:
        """Return a running kernel, or None where it has to be started in the ordinary way."""
        self.start(environment)
        if not self._works or self._imported["environment"] != _read_at_import(environment):
            return None
        request = {
            "arguments": arguments,
            "environment": environment,
            "cwd": cwd,
            **_limits(),
        }
        life, theirs = socket.socketpair()
        kernel, deadline = ForkedKernel(life), time.monotonic() + PATIENCE
        try:
            life.settimeout(PATIENCE)
            with theirs, self._lock:
                socket.send_fds(self._client, [b"k"], [*streams, theirs.fileno()])
            life.sendall(json.dumps(request).encode() + b"\n")
            life.setblocking(False)
        except OSError:  # the launcher has just ended
            life.close()
        while kernel.poll() is None and kernel.pid is None and time.monotonic() < deadline:
            await asyncio.sleep(0.005)
        if kernel.pid is None:
            life.close()
            self._works = time.monotonic() < deadline  # not worth another wait
            return None
        return kernel

    def stop(self) -> None:
        """End the launcher and its kernels, and remove the folder."""
        if self.owner != os.getpid():  # in a fork of the process whose they are
            return
        for process, client in [*self._outdated, (self._process, self._client)]:
            if client:
                client.close()
            if not process:  # none, or its host's
                continue
            try:
                process.wait(timeout=2)  # it kills its kernels, and what these have started
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def _door(folder: str, imported: Mapping[str, Any]) -> socket.socket:
    """Return a socket at which guests may knock who want just what is `imported`.

    It does not listen where its path would be too long.
    """
    door = socket.socket(socket.AF_UNIX)
    path = Path(folder, "door")
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        door.bind(str(path))
        door.listen()
        Path(folder, "imported").write_text(_sha256(imported))
    return door


def _visit(host: str, wanted: Mapping[str, Any]) -> socket.socket | None:
    """Return a socket to the launcher in the folder `host`, if it has imported what is wanted."""
    guest = socket.socket(socket.AF_UNIX)
    try:
        if Path(host, "imported").read_text() == _sha256(wanted):
            guest.connect(str(Path(host, "door")))
            return guest
    except OSError:  # it has ended, or is about to
        pass
    guest.close()
    return None


def _sha256(wanted: Mapping[str, Any]) -> str:
    """Return a hash, which tells nobody what the environment holds."""
    return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()


def _has_ended(client: socket.socket) -> bool:
    """Has the launcher at the other end of a socket ended? It never says anything."""
    try:
        return not client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _read_at_import(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that may change what a module does when it is imported."""
    return {name: v for name, v in environment.items() if not _HARMLESS.fullmatch(name)}


def _installed() -> list[int]:
    """Return what changes when a package is installed, so that its new version is imported."""
    folders = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    return [os.stat(folder).st_mtime_ns for folder in sorted(folders)]


def _limits() -> dict[str, Any]:
    """Return this process's limits and umask, which a kernel has from who starts it."""
    import resource  # not on Windows

    names = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    limits = {name: resource.getrlimit(getattr(resource, name)) for name in names}
    umask = re.search(r"^Umask:\s*(\d+)$", Path("/proc/self/status").read_text(), re.M)
    return {"limits": limits, "umask": int(umask[1], 8)}
