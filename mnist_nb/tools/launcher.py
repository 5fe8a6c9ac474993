"""Import the modules that notebooks need once, then fork a kernel for each request.

`launcher_client.py` starts this script, with a socket to the client, a listening socket, and the
modules to import. Linux only. A forked kernel is like a freshly started one: it has its own
session, environment, working folder, standard streams, signal handlers and random state.

Protocol: to start a kernel, the client sends one byte with four file descriptors, the kernel's
standard streams and a socket. So does any other process, a guest, over the listening socket. The
kernel's socket takes one line of JSON (arguments, environment, folder, limits), and gives the
process id and later the exit code; it is closed if the kernel cannot be started. Closing it kills
the kernel, so a client's kernels end with it.
"""

import atexit
import builtins
import contextlib
import ctypes
import gc
import importlib.util
import io
import itertools
import json
import os
import resource
import runpy
import selectors
import shutil
import signal
import socket
import sys
import threading
from types import SimpleNamespace

BASE = (  # what ipykernel and IPython import before a kernel is ready
    "ipykernel.kernelapp", "ipykernel.ipkernel", "ipykernel.debugger", "sqlite3",
    "tornado.platform.asyncio", "IPython.core.interactiveshell", "IPython.core.completerlib",
    "IPython.core.debugger", "IPython.core.oinspect", "IPython.extensions.storemagic",
)  # fmt: skip
PR_SET_PDEATHSIG = 1


def import_all(modules: list[str], client: socket.socket) -> dict[str, str]:
    """Import BASE and `modules`, warm up; return the environment variables that they set.

    Skip modules that are not installed. Stop early if the client has ended.
    """
    # ipykernel and Matplotlib read these when imported; each kernel has the same values
    os.environ["JPY_PARENT_PID"] = str(os.getpid())
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    # pandas checks when imported whether it is in a kernel, and otherwise shows plain tables
    builtins.get_ipython = lambda: SimpleNamespace(kernel=None)
    before = dict(os.environ)
    for name in (*BASE, *modules):
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(name)
        with contextlib.suppress(BlockingIOError):
            if not client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                break
    else:
        runpy.run_path(os.path.join(os.path.dirname(__file__), "warm_up.py"))
    del builtins.get_ipython
    gc.collect()
    gc.freeze()  # so that a kernel's garbage collector does not copy every page
    return {name: value for name, value in os.environ.items() if before.get(name) != value}


class Launcher:
    """Fork kernels on request, and report to their clients when they end."""

    def __init__(self, client: socket.socket, listener: socket.socket):
        self.client, self.listener, self.clients = client, listener, {client}
        self.pids: dict[socket.socket, int] = {}
        self.selector = selectors.DefaultSelector()
        self.selector.register(client, selectors.EVENT_READ)
        if listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            self.selector.register(listener, selectors.EVENT_READ)
        self.woken, self.waker = socket.socketpair()  # woken receives a byte per SIGCHLD
        self.waker.setblocking(False)
        self.selector.register(self.woken, selectors.EVENT_READ)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.waker.fileno(), warn_on_full_buffer=False)

    def serve(self) -> dict | None:
        """Serve requests until the client ends; return None, or in a forked kernel its request."""
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is self.woken:
                    self.woken.recv(1000)
                    self.reap()
                elif key.fileobj is self.listener:
                    with contextlib.suppress(OSError):  # too many open files; the guest waits
                        guest, _ = self.listener.accept()
                        self.clients.add(guest)
                        self.selector.register(guest, selectors.EVENT_READ)
                elif key.fileobj in self.clients:
                    streams = []
                    try:
                        message, streams, *_ = socket.recv_fds(key.fileobj, 1, 4)
                        if message and (request := self.fork(streams)) is not None:
                            return request
                    except (OSError, ValueError) as error:  # too many files, or processes
                        message = b"no"
                        print(f"cannot start a kernel: {error}", file=sys.stderr, flush=True)
                    for stream in streams:
                        with contextlib.suppress(OSError):
                            os.close(stream)
                    if not message and key.fileobj is self.client:
                        return None
                    if not message:
                        self.selector.unregister(key.fileobj)
                        self.clients.remove(key.fileobj)
                        key.fileobj.close()
                elif key.fileobj in self.pids:  # the client closed this kernel's socket
                    self.selector.unregister(key.fileobj)
                    self.kill(self.pids[key.fileobj])

    def fork(self, streams: list[int]) -> dict | None:
        """Fork one kernel; return its request in the kernel, None in the launcher.

        Raises:
            OSError, ValueError: the kernel cannot be started; its socket is closed.
        """
        *streams, number = streams
        own = socket.socket(fileno=os.dup(number))
        own.settimeout(5)  # ValueError or TimeoutError if the client ends or stops half-way
        with own.makefile("r", encoding="utf-8") as lines:
            request = json.loads(lines.readline())
        own.settimeout(None)
        own_pid, pid = os.getpid(), os.fork()
        if pid == 0:
            return self.become_kernel(request, streams, number, own_pid)
        self.pids[own] = pid
        self.selector.register(own, selectors.EVENT_READ)
        self.tell(own, pid)
        return None

    def become_kernel(self, request: dict, streams: list[int], number: int, parent: int) -> dict:
        """Turn the forked process into a kernel: drop all that belongs to the launcher."""
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)  # the launcher ended before prctl took effect
        request["environment"]["JPY_PARENT_PID"] = str(parent)
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()
        self.selector.close()
        self.waker.close()
        os.close(number)
        for target, stream in enumerate(streams):
            os.dup2(stream, target)
            os.close(stream)
        if os.isatty(1):
            sys.stdout.reconfigure(line_buffering=True)
        return request

    def reap(self) -> None:
        """Send the exit codes of all kernels that have ended to their clients."""
        for kernel, pid in list(self.pids.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del self.pids[kernel]
                self.tell(kernel, os.waitstatus_to_exitcode(status))
                with contextlib.suppress(KeyError):
                    self.selector.unregister(kernel)
                kernel.close()

    def kill(self, pid: int) -> None:
        """Kill a kernel and the processes that it has started."""
        for kill in (os.killpg, os.kill):  # right after the fork it has no group yet
            with contextlib.suppress(ProcessLookupError):
                kill(pid, signal.SIGKILL)

    def tell(self, kernel: socket.socket, number: int) -> None:
        """Send a number to the kernel's client; ignore a client that has ended."""
        with contextlib.suppress(OSError):
            kernel.sendall(f"{number}\n".encode())


def set_up_as_fresh(request: dict, set_by_modules: dict[str, str]) -> None:
    """Set arguments, environment and state as in a kernel that was started without fork."""
    os.environ.clear()
    os.environ.update(request["environment"] | set_by_modules)
    os.chdir(request["cwd"])
    os.umask(request["umask"])
    for name, limit in request["limits"].items():
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(getattr(resource, name), limit)
    sys.argv[:] = [importlib.util.find_spec("ipykernel_launcher").origin, *request["arguments"]]
    sys.orig_argv[:] = [sys.orig_argv[0], "-m", "ipykernel_launcher", *request["arguments"]]
    del sys.modules["__main__"].__file__
    threading._counter = itertools.count(1).__next__  # thread names start at 1
    if tempfile := sys.modules.get("tempfile"):
        tempfile.tempdir = None
    # Python reseeds its own generator after a fork, NumPy and torch do not
    if random := sys.modules.get("numpy.random"):
        random.seed()
    if torch := sys.modules.get("torch"):
        torch.default_generator.seed()


def end() -> None:
    """Exit with code 0 after Python's usual clean-up, but do not destroy the modules.

    Destroying all that was imported would take half a second.
    """
    from ipykernel.control import ControlThread

    threading._shutdown()
    for thread in threading.enumerate():
        # Stop this thread before ipykernel's exit handler closes its sockets: with a message
        # left to send, the thread would never end.
        if isinstance(thread, ControlThread):
            thread.stop()
            thread.join(1)
    atexit._run_exitfuncs()  # IPython's clears the notebook's variables
    for thing in gc.get_objects():
        if issubclass(type(thing), io.IOBase.__base__):
            with contextlib.suppress(Exception):  # closed, or not writable
                thing.flush()
    os._exit(0)


def main() -> None:
    """Serve a client. Arguments: descriptors of its socket and of a listener, folder, modules."""
    number, listener, folder, *modules = sys.argv[1:]
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:1] = [] if os.path.abspath(sys.path[0]) == here else sys.path[:1]
    os.set_inheritable(int(number), False)
    os.set_inheritable(int(listener), False)
    client = socket.socket(fileno=int(number))
    set_by_modules = import_all(modules, client)
    launcher = Launcher(client, socket.socket(fileno=int(listener)))
    request = launcher.serve()
    if request is None:
        for pid in launcher.pids.values():
            launcher.kill(pid)
        shutil.rmtree(folder, ignore_errors=True)
        return
    set_up_as_fresh(request, set_by_modules)
    from ipykernel.kernelapp import launch_new_instance

    launch_new_instance(argv=request["arguments"])
    end()


if __name__ == "__main__":
    main()
