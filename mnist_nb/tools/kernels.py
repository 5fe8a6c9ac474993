"""Start kernels quickly: fork them from a launcher process that has already imported torch.

After a call of `use`, papermill, nbclient, nbval and JupyterLab start this process's kernels
through `Provisioner`, which jupyter_client loads as a plugin. Kernels communicate over Unix
sockets, not ports. If a kernel cannot be forked (macOS, Windows, a different interpreter or
environment, or `MNIST_NB_WARM=0`), Jupyter starts it in its usual, slower way.
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

NAME = "mnist-nb"  # the provisioner's name in pyproject.toml
# The notebooks' imports, and the modules needed for the first table and figure.
MODULES = (
    "torch", "torchvision", "numpy.ctypeslib", "pandas", "pandas.io.formats.html",
    "pandas.io.formats.string", "matplotlib.pyplot", "matplotlib.backends.backend_agg", "filelock",
    "safetensors.torch", "PIL.BmpImagePlugin", "PIL.GifImagePlugin", "PIL.JpegImagePlugin",
    "PIL.PngImagePlugin", "PIL.PpmImagePlugin", "PIL.WebPImagePlugin",
)  # fmt: skip
HOST = "MNIST_NB_LAUNCHER"  # variable with the folder of a launcher to share
LONGEST_SOCKET = 100  # bytes in a socket's path: Linux allows 107, macOS 103
_launcher: Launcher | None = None


class Provisioner(LocalProvisioner):
    """Start a kernel with sockets in a private folder, forked if possible."""

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Use sockets instead of ports, if their paths are short enough."""
        manager, launcher = self.parent, _running_launcher()
        kwargs["env"] = launcher.environment_for(kwargs.get("env") or os.environ)
        python = "ipykernel_launcher" in self.kernel_spec.argv  # other kernels may not support ipc
        if manager and python and manager.transport == "tcp" and os.name != "nt":
            folder = os.path.join(launcher.folder, str(next(launcher.numbers)))
            if len(os.fsencode(folder)) + len("/kernel-12345") <= LONGEST_SOCKET:
                os.makedirs(folder, 0o700, exist_ok=True)
                manager.transport, manager.ip = "ipc", os.path.join(folder, "kernel")
                manager.cache_ports = False
                if launcher.isolate:  # not in JupyterLab, where other programs look for it
                    manager.connection_file = os.path.join(folder, "kernel.json")
        return await super().pre_launch(**kwargs)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any):
        """Fork the kernel that `cmd` would start; if that is impossible, run `cmd` instead."""
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
            return None  # Matplotlib reads it when imported, so the launcher's would be wrong
        paths = (environment.get("PYTHONPATH") or os.sep).split(os.pathsep)
        if not all(map(os.path.isabs, paths)):  # in JupyterLab, or from the kernel's specification
            return None  # they count from the kernel's working folder
        with contextlib.ExitStack() as stack:
            null = stack.enter_context(open(os.devnull, "r+b"))
            try:
                streams = [null.fileno(), _fileno(stdout, 1, null), _fileno(stderr, 2, null)]
            except (OSError, ValueError):  # a pipe, or a closed stream
                return None
            return await _running_launcher().fork(cmd[3:], environment, cwd, streams)

    async def send_signal(self, signum: int) -> None:
        """Send a signal to the kernel and its children, unless the kernel has ended."""
        if self.process and self.process.poll() is None:
            await super().send_signal(signum)

    async def cleanup(self, restart: bool = False) -> None:
        """Remove the kernel's sockets, except before a restart, which uses them again."""
        await super().cleanup(restart)
        if self.parent and self.parent.transport == "ipc" and not restart:
            folder = os.path.dirname(self.parent.ip)
            if os.path.dirname(folder) == _running_launcher().folder:
                shutil.rmtree(folder, ignore_errors=True)


class Client(AsyncKernelClient):
    """Notice sooner than Jupyter's client that a new kernel is ready.

    It waits for the kernel's idle message, and Jupyter's for 0.2 s without any message.
    """

    async def wait_for_ready(self, timeout: float | None = None) -> None:
        """Return when the kernel has answered and all its messages until then are read.

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
                while said.get("execution_state") != "idle":  # the last message of a request
                    said = (await self.get_iopub_msg(timeout=0.05))["content"]
                return self._handle_kernel_info_reply(reply)
            if not await self.is_alive():
                raise RuntimeError("Kernel died before replying to kernel_info")
            if time.monotonic() > deadline:
                raise RuntimeError(f"Kernel didn't respond in {timeout:g} seconds")


class Manager(AsyncKernelManager):
    """Start kernels of this Python, even if the kernel spec `python3` names a different one.

    It polls the kernel ten times as often as Jupyter does, which saves up to a tenth of a second
    when a kernel starts or ends.
    """

    client_factory = Type(Client)

    @default("kernel_spec_manager")
    def _specs_of_this_python(self) -> KernelSpecManager:
        return KernelSpecManager(kernel_dirs=[])

    @default("context")
    def _quick_context(self) -> zmq.asyncio.Context:
        context = self._context_default()
        context.reconnect_ivl = 10  # milliseconds between attempts
        return context

    async def _async_finish_shutdown(self, waittime=None, pollinterval=0.01, restart=False):
        return await super()._async_finish_shutdown(waittime, pollinterval, restart)


def use(notebook: Mapping | None = None, isolate: bool = True) -> None:
    """Make this process fork its kernels from a launcher from now on.

    The launcher starts now and imports `MODULES` in the background, unless `notebook` needs none
    of them. With `isolate`, kernels start without the user's personal settings.
    """
    global _launcher
    factory = KernelProvisionerFactory.instance()
    place = EntryPoint(NAME, f"{__name__}:Provisioner", factory.GROUP_NAME)
    factory.provisioners.setdefault(NAME, place)  # if the installed package is older and lacks it
    factory.default_provisioner_name = NAME
    modules = _modules(notebook)
    if _launcher is None or _launcher.owner != os.getpid():
        _launcher = Launcher(modules, isolate, os.environ.get(HOST))
        atexit.register(_launcher.stop)
    _launcher.modules = modules or _launcher.modules  # keep them once a notebook has needed them
    _launcher.start(_launcher.environment_for(os.environ))


@contextlib.contextmanager
def shared(notebook: Mapping | None, environment: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Start a launcher that several processes with this `environment` share.

    Yield the variables to add to their environment. Its imports run while the processes start.
    """
    launcher = Launcher(_modules(notebook))
    try:
        launcher.start(launcher.environment_for(environment))
        yield {HOST: launcher.folder}
    finally:
        launcher.stop()


def _modules(notebook: Mapping | None) -> tuple[str, ...]:
    """Return the modules to import for `notebook`: none if no cell uses torch or mnist_nb."""
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"] if notebook else []
    code = ["".join(cell["source"]) for cell in cells]
    needed = notebook is None or any(re.search(r"\b(torch|mnist_nb)\b", c) for c in code)
    return MODULES if needed else ()


def _running_launcher() -> Launcher:
    if _launcher is None or _launcher.owner != os.getpid():
        use()
    return _launcher


def _fileno(stream: Any, default: int, null) -> int:
    """Return the file descriptor that Popen would use for `stream`; ValueError for a pipe."""
    if stream == subprocess.DEVNULL:
        return null.fileno()
    number = default if stream is None else stream if isinstance(stream, int) else stream.fileno()
    if number < 0:
        raise ValueError("a pipe cannot be passed to a forked kernel")
    os.fstat(number)
    return number
