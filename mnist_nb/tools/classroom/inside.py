"""Execute a learner's notebooks in the sandbox, and call the functions that they define.

`grading` starts this module in the sandbox, with a socket as its standard input. It imports what
notebooks import, then forks a process for each notebook of the learner, which talks with the
process of the tests (`examiner`) over a socket of its own. No hidden test ever gets here.
"""

import importlib
import os
import signal
import socket
import sys
import time

MODULES = ("torch", "torchvision", "IPython.core.interactiveshell", "matplotlib.pyplot",
           "matplotlib.backends.backend_agg", "pandas", "mnist_nb.loading", "mnist_nb.model",
           "mnist_nb.training", "mnist_nb.evaluation", "mnist_nb.exercises",
           "mnist_nb.tools.classroom.cell_runner", "mnist_nb.tools.classroom.canary")  # fmt: skip
_MOST = 2_000  # files that are looked at


def main() -> None:
    """Fork a process for each socket that comes, until the grader has gone."""
    control = socket.socket(fileno=os.dup(0))
    with open(os.devnull, "rb") as null:
        os.dup2(null.fileno(), 0)
    for name in MODULES:
        importlib.import_module(name)
    import torch

    torch.set_num_threads(1)
    os.makedirs(os.environ.setdefault("IPYTHONDIR", os.path.abspath(".ipython")), exist_ok=True)
    if not (child := os.fork()):  # it leaves what every notebook leaves
        _first_shell()
    os.waitpid(child, 0)
    before, children = _left(), []
    with open(os.devnull, "r+b") as null:  # the grader's log is on the machine's disk
        for stream in (1, 2):
            os.dup2(null.fileno(), stream)
    control.sendall(b"r")
    while True:
        asked, numbers, *_ = socket.recv_fds(control, 1, 1)
        if not asked:
            return
        if asked == b"?":
            control.sendall(b"y" if _ended(children) and _left() == before else b"n")
            continue
        child = os.fork()
        if not child:
            control.close()
            _serve(socket.socket(fileno=numbers[0]))
        os.close(numbers[0])
        children.append(child)


def _first_shell() -> None:
    from mnist_nb.tools.classroom.cell_runner import new_shell

    try:
        new_shell(None)
    finally:
        os._exit(0)


def _serve(channel: socket.socket) -> None:
    """Answer the process of the tests until it has gone; never return."""
    from mnist_nb.tools.classroom.cell_runner import Runner

    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        Runner(channel).serve()
    finally:
        os._exit(0)


def _ended(children: list[int]) -> bool:
    """Return whether the notebooks so far, and all that they started, have ended."""
    end = time.monotonic() + 1
    while True:
        for child in list(children):
            if os.waitpid(child, os.WNOHANG)[0]:
                children.remove(child)
        others = {int(name) for name in os.listdir("/proc") if name.isdecimal()}
        if others <= {1, os.getpid(), os.getppid()}:
            return True
        if time.monotonic() > end:
            return False
        time.sleep(0.005)


def _left() -> list:
    """Return what is in the places that can be written, to see whether a notebook left more."""
    found = []
    for place in (os.getcwd(), "/dev/shm"):
        for folder, _, names in os.walk(place):
            found += [(folder, name, os.lstat(f"{folder}/{name}").st_mtime_ns) for name in names]
            found.append((folder, os.lstat(folder).st_mtime_ns))
            if len(found) > _MOST:
                return [found]  # equal to nothing
    for kind in ("shm", "msg", "sem"):
        with open(f"/proc/sysvipc/{kind}") as file:
            found.append(file.read())
    return sorted(map(repr, found))


if __name__ == "__main__":
    sys.path[:1] = [path for path in sys.path[:1] if path]
    main()
