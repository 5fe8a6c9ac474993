"""Start `launcher.py` and request kernels from it; `kernels` is the only caller."""

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
START_TIMEOUT = 120  # seconds, including the launcher's imports
KILLED = -9  # exit code of a kernel whose launcher has ended
# Variables that may differ from the launcher's. No module reads them when imported, except that
# ipykernel reads JPY_PARENT_PID, which the launcher sets itself.
_HARMLESS = re.compile(
    r"(JPY|PYTEST|MNIST_NB|(__)?DASK)_\w+|PWD|OLDPWD|SHLVL|_|TMPDIR|COLUMNS|LINES"
)


class ForkedKernel:
    """A forked kernel, with the part of `Popen`'s interface that jupyter_client uses."""

    stdin = stdout = stderr = None

    def __init__(self, ours: socket.socket):
        self.pid: int | None = None
        self.returncode: int | None = None
        self._socket, self._received = ours, b""
        ours.setblocking(False)

    def poll(self) -> int | None:
        """Return the exit code, or None while the kernel starts or runs."""
        while self.returncode is None:
            try:
                said = self._socket.recv(100)
            except BlockingIOError:
                return None
            except OSError:
                said = b""
            self._received += said
            pid, *code = self._received.split(b"\n")[:-1] or [None]
            self.pid = pid and int(pid)
            if code or not said:
                self.returncode = int(code[0]) if code else KILLED
                self._socket.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the kernel to end; return its exit code, or raise TimeoutExpired."""
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
    """Manage the launcher process, and the folder for its kernels' sockets.

    `host` is the folder of another process's launcher, to be shared while its imports match.
    """

    def __init__(self, modules: Sequence[str], isolate: bool = True, host: str | None = None):
        self.modules, self.isolate, self.host = modules, isolate, host
        self.owner = os.getpid()
        place = host if host and os.path.isdir(host) else None  # its owner removes it
        self.folder = tempfile.mkdtemp(prefix="mnist-nb-", dir=place)
        self._home = place or self.folder  # the folder with the kernels' settings
        self.numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._process: subprocess.Popen | None = None
        self._client: socket.socket | None = None  # open while the launcher runs
        self._imported: dict[str, Any] = {}
        self._outdated: list[tuple] = []  # launchers whose kernels may still run
        self._works = sys.platform == "linux" and os.environ.get("MNIST_NB_WARM") != "0"

    def environment_for(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return `environment` for a kernel, without personal settings if `isolate` is set."""
        if not self.isolate:
            return dict(environment)
        with self._lock:
            if self._home != self.folder and not os.path.isdir(self._home):  # its owner has ended
                self.folder = self._home = tempfile.mkdtemp(prefix="mnist-nb-")
            os.makedirs(self._home, 0o700, exist_ok=True)  # /tmp may have been cleaned
            settings = Path(self._home, "settings")
            settings.mkdir(exist_ok=True)
            return isolated(environment, settings)

    def start(self, environment: Mapping[str, str]) -> None:
        """Start a launcher unless one with the same imports runs; do not wait for its imports."""
        with self._lock:
            wanted = {"installed": _installed(), "modules": list(self.modules)}
            if self._client and (_has_ended(self._client) or not self._has_imported(wanted)):
                self._outdated.append((self._process, self._client))
                self._process = self._client = self.host = None
            if self._client or not self._works:
                return
            wanted["environment"] = _import_variables(environment)
            if self.host and (client := _connect(self.host, wanted)):
                self._client, self._imported = client, wanted
                return
            self._client, theirs = socket.socketpair()
            self.host, self._imported = None, wanted
            with theirs, _listener(self.folder, wanted) as listener:
                numbers = theirs.fileno(), listener.fileno()
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
        """Return a running kernel, or None if it cannot be forked."""
        self.start(environment)
        if not self._works or self._imported["environment"] != _import_variables(environment):
            return None
        request = {
            "arguments": arguments,
            "environment": environment,
            "cwd": cwd,
            **_limits(),
        }
        ours, theirs = socket.socketpair()
        kernel, deadline = ForkedKernel(ours), time.monotonic() + START_TIMEOUT
        try:
            ours.settimeout(START_TIMEOUT)
            with theirs, self._lock:
                socket.send_fds(self._client, [b"k"], [*streams, theirs.fileno()])
            ours.sendall(json.dumps(request).encode() + b"\n")
            ours.setblocking(False)
        except OSError:  # the launcher has just ended
            ours.close()
        while kernel.poll() is None and kernel.pid is None and time.monotonic() < deadline:
            await asyncio.sleep(0.005)
        if kernel.pid is None:
            ours.close()
            self._works = time.monotonic() < deadline  # after a timeout, do not try again
            return None
        return kernel

    def stop(self) -> None:
        """End the launcher and its kernels, and remove the folder."""
        if self.owner != os.getpid():  # this is a fork of the owner
            return
        for process, client in [*self._outdated, (self._process, self._client)]:
            if client:
                client.close()
            if not process:  # never started, or shared with the host
                continue
            try:
                process.wait(timeout=2)  # it kills its kernels and their children first
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def _listener(folder: str, imported: Mapping[str, Any]) -> socket.socket:
    """Return a listening socket for guests that need exactly these imports.

    If its path would be too long, the socket does not listen.
    """
    listener = socket.socket(socket.AF_UNIX)
    path = Path(folder, "sock")
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        listener.bind(str(path))
        listener.listen()
        Path(folder, "imported").write_text(_sha256(imported))
    return listener


def _connect(host: str, wanted: Mapping[str, Any]) -> socket.socket | None:
    """Connect to the launcher in the folder `host`; None if its imports are not those wanted."""
    guest = socket.socket(socket.AF_UNIX)
    try:
        if Path(host, "imported").read_text() == _sha256(wanted):
            guest.connect(str(Path(host, "sock")))
            return guest
    except OSError:  # it has ended, or is ending
        pass
    guest.close()
    return None


def _sha256(wanted: Mapping[str, Any]) -> str:
    """Return a hash of `wanted`, which does not reveal the environment's values."""
    return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()


def _has_ended(client: socket.socket) -> bool:
    """Return whether the launcher at the other end has ended; it never sends anything here."""
    try:
        return not client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _import_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that may change what a module does when it is imported."""
    return {name: v for name, v in environment.items() if not _HARMLESS.fullmatch(name)}


def _installed() -> list[int]:
    """Return the times at which packages were last installed into this environment."""
    folders = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    return [os.stat(folder).st_mtime_ns for folder in sorted(folders)]


def _limits() -> dict[str, Any]:
    """Return this process's resource limits and umask, for the kernel to inherit."""
    import resource  # not on Windows

    names = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    limits = {name: resource.getrlimit(getattr(resource, name)) for name in names}
    umask = re.search(r"^Umask:\s*(\d+)$", Path("/proc/self/status").read_text(), re.M)
    return {"limits": limits, "umask": int(umask[1], 8)}
