"""Import what notebooks need once, then fork a kernel for each request.

Started by `launcher_client.py`, as a script of its own, with a socket to its client, one at which
guests may knock, and the modules to import. Linux only. A forked kernel is what a fresh one is:
its own session, environment, working folder, standard streams, signals and random state.

For each kernel the client sends one byte with four file descriptors: the kernel's standard
streams, and a socket. Through that socket come the arguments, the environment, the folder and the
limits, as a line of JSON; the kernel's process id and, when it has ended, its exit code go back.
Where the client closes it, the kernel is killed; where the client ends, all of them are. A request
that cannot be met is closed without an answer, and the other kernels go on.

A guest, a worker of the client's sweep, asks in the same way for kernels of its own.
"""

import atexit
import builtins
import contextlib
import ctypes
import gc
import importlib
import importlib.util
import io
import itertools
import json
import os
import resource
import selectors
import shutil
import signal
import socket
import sys
import threading
from types import SimpleNamespace

BASE = (  # what ipykernel and IPython import until a kernel is ready
    "ipykernel.kernelapp", "ipykernel.ipkernel", "ipykernel.debugger", "sqlite3",
    "tornado.platform.asyncio", "IPython.core.interactiveshell", "IPython.core.completerlib",
    "IPython.core.debugger", "IPython.core.oinspect", "IPython.extensions.storemagic",
)  # fmt: skip
PR_SET_PDEATHSIG = 1


def import_all(modules: list[str], client: socket.socket) -> dict[str, str]:
    """Import what each kernel will need; return the variables that the modules set.

    A module that is not installed is left to the kernel. Ends the process once the client has.
    """
    # read while ipykernel and Matplotlib are imported; a kernel's own environment says the same
    os.environ["JPY_PARENT_PID"] = str(os.getpid())
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    # pandas asks at its import whether it is in a kernel, and shows tables in another way if not
    builtins.get_ipython = lambda: SimpleNamespace(kernel=None)
    before = dict(os.environ)
    for name in (*BASE, *modules):
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(name)
        with contextlib.suppress(BlockingIOError):
            if not client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                break
    del builtins.get_ipython
    gc.collect()
    gc.freeze()  # so that a kernel's garbage collector does not copy every page
    return {name: value for name, value in os.environ.items() if before.get(name) != value}


class Launcher:
    """The kernels that run, and the sockets through which their clients speak."""

    def __init__(self, client: socket.socket, door: socket.socket):
        self.client, self.door = client, door
        self.clients = {client}
        self.pids: dict[socket.socket, int] = {}
        self.selector = selectors.DefaultSelector()
        self.selector.register(client, selectors.EVENT_READ)
        if door.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            self.selector.register(door, selectors.EVENT_READ)
        self.woken, self.waker = socket.socketpair()  # a byte each time that a kernel has ended
        self.waker.setblocking(False)
        self.selector.register(self.woken, selectors.EVENT_READ)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.waker.fileno(), warn_on_full_buffer=False)

    def serve(self) -> dict | None:
        """Fork a kernel for each request: its request in the kernel, None once the client ends."""
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is self.woken:
                    self.woken.recv(1000)
                    self.reap()
                elif key.fileobj is self.door:
                    guest, _ = self.door.accept()
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
                        print(f"no kernel: {error}", file=sys.stderr, flush=True)
                    for stream in streams:
                        with contextlib.suppress(OSError):
                            os.close(stream)
                    if not message and key.fileobj is self.client:
                        return None
                    if not message:
                        self.selector.unregister(key.fileobj)
                        self.clients.remove(key.fileobj)
                        key.fileobj.close()
                elif key.fileobj in self.pids:  # the client of one kernel is gone
                    self.selector.unregister(key.fileobj)
                    self.kill(self.pids[key.fileobj])

    def fork(self, streams: list[int]) -> dict | None:
        """Start one kernel; return its request there, None here.

        Raises:
            OSError, ValueError: that is not possible; its client sees its socket closed.
        """
        *streams, number = streams
        with socket.socket(fileno=os.dup(number)) as kernel:
            with kernel.makefile("r", encoding="utf-8") as lines:
                line = lines.readline()
            request = json.loads(line)  # half a line, if the client ended while it was asking
            own_pid, pid = os.getpid(), os.fork()
            if pid == 0:
                return self.become_kernel(request, streams, number, own_pid)
            own = kernel.dup()
        self.pids[own] = pid
        self.selector.register(own, selectors.EVENT_READ)
        self.tell(own, pid)
        return None

    def become_kernel(self, request: dict, streams: list[int], number: int, parent: int) -> dict:
        """Leave behind, in the forked process, all that is the launcher's."""
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)  # the launcher ended before this kernel could notice
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
        """Tell the clients of the kernels that have ended how they did."""
        for kernel, pid in list(self.pids.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del self.pids[kernel]
                self.tell(kernel, os.waitstatus_to_exitcode(status))
                with contextlib.suppress(KeyError):
                    self.selector.unregister(kernel)
                kernel.close()

    def kill(self, pid: int) -> None:
        """Kill a kernel and what it has started."""
        for kill in (os.killpg, os.kill):  # in its first moment it has no group of its own
            with contextlib.suppress(ProcessLookupError):
                kill(pid, signal.SIGKILL)

    def tell(self, kernel: socket.socket, number: int) -> None:
        """Send a number to the kernel's client, if it still listens."""
        with contextlib.suppress(OSError):
            kernel.sendall(f"{number}\n".encode())


def set_up_as_fresh(request: dict, set_by_modules: dict[str, str]) -> None:
    """Give this process the arguments, environment and state of a kernel started by Python."""
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
    threading._counter = itertools.count(1).__next__  # for the names of threads
    if tempfile := sys.modules.get("tempfile"):
        tempfile.tempdir = None
    # Python's own generator is seeded anew by each fork
    if random := sys.modules.get("numpy.random"):
        random.seed()
    if torch := sys.modules.get("torch"):
        torch.default_generator.seed()


def end() -> None:
    """End this kernel as Python does, but leave its memory to the system.

    To take everything that was imported apart, as Python would, takes half a second.
    """
    from ipykernel.control import ControlThread

    threading._shutdown()
    for thread in threading.enumerate():
        # It may have a last message to send. ipykernel closes what it sends through before it
        # waits for this thread, which then waits for ever.
        if isinstance(thread, ControlThread):
            thread.stop()
            thread.join()
    atexit._run_exitfuncs()  # IPython's empties the notebook's names
    for thing in gc.get_objects():
        if issubclass(type(thing), io.IOBase.__base__):
            with contextlib.suppress(Exception):  # a file that is closed, or cannot be written
                thing.flush()
    os._exit(0)


def main() -> None:
    """Serve the client that the command line names: two sockets' numbers, a folder, modules."""
    number, door, folder, *modules = sys.argv[1:]
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:1] = [] if os.path.abspath(sys.path[0]) == here else sys.path[:1]
    os.set_inheritable(int(number), False)
    os.set_inheritable(int(door), False)
    client = socket.socket(fileno=int(number))
    set_by_modules = import_all(modules, client)
    launcher = Launcher(client, socket.socket(fileno=int(door)))
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
