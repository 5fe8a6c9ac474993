"""Start kernels in one way: forked from a launcher that has imported torch, sockets but no ports.

`use` makes this process start its kernels so, whoever asks for one: papermill, nbclient, nbval or
JupyterLab. `Provisioner` is an extension point of jupyter_client. Where a kernel cannot be forked
(macOS, Windows, another interpreter, another environment than the launcher's, or
`MNIST_NB_WARM=0`) Jupyter starts it as ever, which only takes longer.
"""

import atexit
import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from queue import Empty
from typing import Any

import zmq.asyncio
from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner
from traitlets import Type, default

from mnist_nb.tools.launcher_client import ForkedKernel, Launcher

NAME = "mnist-nb"  # of the provisioner, in pyproject.toml
# What this project's notebooks import, and what these import for a first table and figure.
MODULES = (
    "torch", "torchvision", "pandas", "pandas.io.formats.html", "matplotlib.pyplot",
    "matplotlib.backends.backend_agg", "PIL.BmpImagePlugin", "PIL.GifImagePlugin",
    "PIL.JpegImagePlugin", "PIL.PngImagePlugin", "PIL.PpmImagePlugin",
)  # fmt: skip
HOST = "MNIST_NB_LAUNCHER"  # the folder of the launcher whose guest this process may be
LONGEST_SOCKET = 100  # bytes in a socket's path: Linux allows 107, macOS 103
_launcher: Launcher | None = None


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


class Client(AsyncKernelClient):
    """Sees that a kernel is ready from what it says, not from a fifth of a second of silence."""

    async def wait_for_ready(self, timeout: float | None = None) -> None:
        """Return once the kernel answers, and what it said until then is read.

        Raises:
            RuntimeError: the kernel has ended, or does not answer within `timeout` seconds.
        """
        deadline = time.monotonic() + (timeout or float("inf"))
        reply = None
        while True:
            self.kernel_info()
            with contextlib.suppress(Empty):
                reply = reply or await self.get_shell_msg(timeout=1)
                said = {}
                while said.get("execution_state") != "idle":  # the last thing it says of a request
                    said = (await self.get_iopub_msg(timeout=0.05))["content"]
                return self._handle_kernel_info_reply(reply)
            if not await self.is_alive():
                raise RuntimeError("Kernel died before replying to kernel_info")
            if time.monotonic() > deadline:
                raise RuntimeError(f"Kernel didn't respond in {timeout:g} seconds")


class Manager(AsyncKernelManager):
    """Starts kernels of this Python, whatever else is installed as `python3`.

    It and its client look for the kernel ten times as often as Jupyter's do, and so lose less
    than a tenth of a second when one starts or ends.
    """

    client_factory = Type(Client)

    @default("kernel_spec_manager")
    def _own_python(self) -> KernelSpecManager:
        return KernelSpecManager(kernel_dirs=[])

    @default("context")
    def _impatient(self) -> zmq.asyncio.Context:
        context = self._context_default()
        context.reconnect_ivl = 10  # milliseconds, until the kernel has its sockets
        return context

    async def _async_finish_shutdown(self, waittime=None, pollinterval=0.01, restart=False):
        return await super()._async_finish_shutdown(waittime, pollinterval, restart)


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
    modules = _modules(notebook)
    if _launcher is None or _launcher.owner != os.getpid():
        _launcher = Launcher(modules, isolate, os.environ.get(HOST))
        atexit.register(_launcher.stop)
    _launcher.modules = modules or _launcher.modules  # once one notebook has needed them
    _launcher.start(_launcher.environment_for(os.environ))


@contextlib.contextmanager
def shared(notebook: Mapping | None, environment: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """A launcher for several processes with that `environment`; what to add to it.

    It starts now. So it is done with its imports when they are, and there is one for all.
    """
    launcher = Launcher(_modules(notebook))
    try:
        launcher.start(launcher.environment_for(environment))
        yield {HOST: launcher.folder}
    finally:
        launcher.stop()


def _modules(notebook: Mapping | None) -> tuple[str, ...]:
    """What a launcher imports for `notebook`: nothing where no cell needs torch."""
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"] if notebook else []
    code = ["".join(cell["source"]) for cell in cells]
    needed = notebook is None or any(re.search(r"\b(torch|mnist_nb)\b", c) for c in code)
    return MODULES if needed else ()


def _started() -> Launcher:
    if _launcher is None or _launcher.owner != os.getpid():
        use()
    return _launcher


def _number(stream: Any, default: int, null) -> int:
    """Return the descriptor that Popen would take for `stream`; ValueError for a pipe."""
    if stream == subprocess.DEVNULL:
        return null.fileno()
    number = default if stream is None else stream if isinstance(stream, int) else stream.fileno()
    if number < 0:
        raise ValueError("a pipe has two ends, and this process would keep one")
    os.fstat(number)
    return number
