"""Start kernels in one way: forked from a launcher that has imported torch, sockets but no ports.

`use` makes this process start its kernels so, whoever asks for one: papermill, nbclient, nbval or
JupyterLab. `Provisioner` is an extension point of jupyter_client. Where a kernel cannot be forked
(macOS, Windows, another interpreter, another environment than the launcher's, or
`MNIST_NB_WARM=0`) Jupyter starts it as ever, which only takes longer.
"""

import asyncio
import atexit
import contextlib
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
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner
from traitlets import default

from mnist_nb.tools.settings import isolated

NAME = "mnist-nb"  # of the provisioner, in pyproject.toml
# What this project's notebooks import.
MODULES = (
    "torch", "torchvision", "pandas", "matplotlib.pyplot", "matplotlib.backends.backend_agg",
)  # fmt: skip
SCRIPT = Path(__file__).with_name("launcher.py")
LONGEST_SOCKET = 100  # bytes in a socket's path: Linux allows 107, macOS 103
PATIENCE = 120  # seconds for the launcher's imports
KILLED = -9  # the exit code of a kernel that ended with its launcher
# Variables that nothing reads while it is imported.
_HARMLESS = re.compile(r"(JPY|PYTEST|MNIST_NB)_\w+|PWD|OLDPWD|SHLVL|_|TMPDIR|COLUMNS|LINES")
_launcher: "Launcher | None" = None


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
    """The process that forks this process's kernels, and the folder with their sockets."""

    def __init__(self, modules: Sequence[str], isolate: bool = True):
        self.modules, self.isolate = modules, isolate
        self.owner = os.getpid()
        self.folder = tempfile.mkdtemp(prefix="mnist-nb-")
        self.numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._process: subprocess.Popen | None = None
        self._environment: dict[str, str] = {}
        self._outdated: list[tuple] = []  # launchers whose kernels may still run
        self._works = sys.platform == "linux" and os.environ.get("MNIST_NB_WARM") != "0"

    def environment_for(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of a kernel: that given, or one without people's settings."""
        if not self.isolate:
            return dict(environment)
        settings = Path(self.folder, "settings")
        settings.mkdir(parents=True, exist_ok=True)  # a cleaner of /tmp may have been there
        return isolated(environment, settings)

    def start(self, environment: Mapping[str, str]) -> None:
        """Start the launcher unless it runs; its imports go on while this process does."""
        with self._lock:
            if self._process and self._process.poll() is not None:
                self._process = None
            wanted = _installed(), self.modules
            if self._process and self._imported != wanted:
                self._outdated.append((self._process, self._client))
                self._process = None
            if self._process or not self._works:
                return
            self._imported = wanted
            self._environment = _read_at_import(environment)
            self._client, theirs = socket.socketpair()
            with theirs, open(Path(self.folder, "launcher.log"), "ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, SCRIPT, str(theirs.fileno()), self.folder, *self.modules],
                    env=dict(environment), cwd=self.folder, pass_fds=[theirs.fileno()],
                    start_new_session=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                )  # fmt: skip

    async def fork(
        self, arguments: list[str], environment: dict[str, str], cwd: str, streams: list[int]
    ) -> ForkedKernel | None:
        """Return a running kernel, or None where it has to be started in the ordinary way."""
        self.start(environment)
        if not self._works or self._environment != _read_at_import(environment):
            return None
        process = self._process
        request = {
            "arguments": arguments,
            "environment": environment | {"JPY_PARENT_PID": str(process.pid)},
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
        running = [*self._outdated, *([(self._process, self._client)] if self._process else [])]
        for process, client in running:
            client.close()
            try:
                process.wait(timeout=2)  # it kills its kernels, and what these have started
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Provisioner(LocalProvisioner):
    """Starts a kernel with sockets in a private folder, forked if it can be."""

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Choose sockets in place of ports, wherever their paths are short enough."""
        manager, launcher = self.parent, _started()
        kwargs["env"] = launcher.environment_for(kwargs.get("env") or os.environ)
        python = "ipykernel_launcher" in self.kernel_spec.argv  # others may not know ipc
        if manager and python and manager.transport == "tcp" and os.name != "nt":
            folder = os.path.join(launcher.folder, str(next(launcher.numbers)))
            if len(os.fsencode(folder)) + len("/kernel-12345") <= LONGEST_SOCKET:
                os.makedirs(folder, 0o700, exist_ok=True)
                manager.transport, manager.ip = "ipc", os.path.join(folder, "kernel")
                manager.cache_ports = False
                if launcher.isolate:  # in JupyterLab, others find it where such files always are
                    manager.connection_file = os.path.join(folder, "kernel.json")
        return await super().pre_launch(**kwargs)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any):
        """Fork the kernel that `cmd` starts; start it as Jupyter does where that cannot be."""
        kernel = await self._forked(cmd, **kwargs)
        if kernel is None:
            return await super().launch_kernel(cmd, **kwargs)
        self.process = kernel
        self.pid = self.pgid = kernel.pid
        self.cwd = kwargs.get("cwd") or Path.cwd()
        return self.connection_info

    async def _forked(
        self, cmd, env=None, cwd=None, stdout=None, stderr=None, kernel_id=None,
        extra_arguments=None, **more,
    ) -> ForkedKernel | None:  # fmt: skip
        environment, cwd = dict(os.environ if env is None else env), os.path.abspath(cwd or ".")
        own = [sys.executable, "-m", "ipykernel_launcher"]
        if more or cmd[:3] != own or not os.path.isdir(cwd):
            return None
        if "MATPLOTLIBRC" not in environment and os.path.exists(f"{cwd}/matplotlibrc"):
            return None  # Matplotlib looks for it in the working folder when it is imported
        if not all(map(os.path.isabs, environment.get("PYTHONPATH", "/").split(os.pathsep))):
            return None  # what is relative counts from the working folder
        with contextlib.ExitStack() as stack:
            null = stack.enter_context(open(os.devnull, "r+b"))
            try:
                streams = [null.fileno(), _number(stdout, 1, null), _number(stderr, 2, null)]
            except (OSError, ValueError):  # a pipe, or none
                return None
            return await _started().fork(cmd[3:], environment, cwd, streams)

    async def send_signal(self, signum: int) -> None:
        """Send a signal to the kernel and what it started, unless the kernel has ended."""
        if self.process and self.process.poll() is None:
            await super().send_signal(signum)

    async def cleanup(self, restart: bool = False) -> None:
        """Remove the kernel's sockets, which a restart uses again."""
        await super().cleanup(restart)
        if self.parent and self.parent.transport == "ipc" and not restart:
            folder = os.path.dirname(self.parent.ip)
            if os.path.dirname(folder) == _started().folder:
                shutil.rmtree(folder, ignore_errors=True)


class Manager(AsyncKernelManager):
    """Starts kernels of this Python, whatever else is installed as `python3`."""

    @default("kernel_spec_manager")
    def _own_python(self) -> KernelSpecManager:
        return KernelSpecManager(kernel_dirs=[])


def use(notebook: Mapping | None = None, isolate: bool = True) -> None:
    """Start this process's kernels here from now on, forked from a launcher.

    The launcher starts now and imports in the background: `MODULES`, unless there is a `notebook`
    that needs none of them. With `isolate`, people's own settings do not reach the kernels.
    """
    global _launcher
    factory = KernelProvisionerFactory.instance()
    place = EntryPoint(NAME, f"{__name__}:Provisioner", factory.GROUP_NAME)
    factory.provisioners.setdefault(NAME, place)  # where this version was not installed again
    factory.default_provisioner_name = NAME
    modules = MODULES if notebook is None or _needs_torch(notebook) else ()
    if _launcher is None or _launcher.owner != os.getpid():
        _launcher = Launcher(modules, isolate)
        atexit.register(_launcher.stop)
    _launcher.modules = modules or _launcher.modules  # once one notebook has needed them
    _launcher.start(_launcher.environment_for(os.environ))


def _needs_torch(notebook: Mapping) -> bool:
    code = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    return any(re.search(r"\b(torch|mnist_nb)\b", source) for source in code)


def _started() -> Launcher:
    if _launcher is None or _launcher.owner != os.getpid():
        use()
    return _launcher


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


def _number(stream: Any, default: int, null) -> int:
    """Return the descriptor that Popen would take for `stream`; ValueError for a pipe."""
    if stream == subprocess.DEVNULL:
        return null.fileno()
    number = default if stream is None else stream if isinstance(stream, int) else stream.fileno()
    if number < 0:
        raise ValueError("a pipe has two ends, and this process would keep one")
    os.fstat(number)
    return number
