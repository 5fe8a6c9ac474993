"""Execute learners' notebooks in sandboxes, and call the functions that they define.

`sandbox` starts this module, with a socket as its standard input. It imports what notebooks
import, and then forks two processes for each notebook. The first is the keeper: it has bubblewrap
make the notebook's sandbox, enters it (`entrance`), and waits. The second runs the notebook, all
inside, and talks over a socket with the process of the tests (`examiner`). No hidden test and
nothing of a learner ever gets into the process that forks.
"""

import contextlib
import functools
import gc
import importlib
import os
import random
import signal
import socket
import sys
import tempfile

MODULES = ("torch", "torchvision", "IPython.core.interactiveshell", "matplotlib.pyplot",
           "matplotlib.backends.backend_agg", "matplotlib_inline.backend_inline", "pandas",
           "mnist_nb.loading", "mnist_nb.model", "mnist_nb.training", "mnist_nb.evaluation",
           "mnist_nb.exercises", "mnist_nb.figures", "mnist_nb.tools.classroom.entrance",
           "mnist_nb.tools.classroom.cell_runner", "mnist_nb.tools.classroom.canary",
           "torch._dynamo")  # fmt: skip


def main() -> None:
    """Fork a keeper for each pair of sockets that the grader sends, until it has gone."""
    from mnist_nb.tools.classroom import entrance

    entrance.leave_keyring()  # here already, as a learner may leave no room for more keyrings
    control = socket.socket(fileno=os.dup(0))
    with open(os.devnull, "rb") as null:
        os.dup2(null.fileno(), 0)
    for name in MODULES:
        importlib.import_module(name)
    import torch

    torch.set_num_threads(1)
    _make_ready()
    with open(os.devnull, "r+b") as null:  # the grader's log is on the machine's disk
        for stream in (1, 2):
            os.dup2(null.fileno(), stream)
    gc.collect()
    gc.freeze()  # so that a notebook's garbage collector does not copy every page
    control.sendall(b"r")
    keepers: set[int] = set()
    own = os.getpid()
    while True:
        asked, numbers, *_ = socket.recv_fds(control, 1, 2)
        if not asked:
            return
        keeper = os.fork()
        if not keeper:
            control.close()
            _keep(*(socket.socket(fileno=number) for number in numbers), own)
        for number in numbers:
            os.close(number)
        keepers.add(keeper)
        keepers -= {pid for pid in keepers if os.waitpid(pid, os.WNOHANG)[0]}


def _make_ready() -> None:
    """Do once what each notebook would do again; each gets a copy of its own."""
    from PIL import Image

    from mnist_nb import data, loading
    from mnist_nb.figures import showing

    Image.init()  # imports what can write pictures
    showing.SHARP = 1  # only the PNG of a figure goes to the learner's page, and it stays the same
    load, images = loading.load, []
    raw = data.data_folder() / "MNIST" / "raw"
    if all((raw / name).is_file() for name in data.CHECKSUMS["MNIST"]):
        with contextlib.suppress(Exception):  # a notebook that loads them says what is wrong
            images.append(load())

    @functools.wraps(load)
    def first(*given, **named):
        return images.pop() if images and not given and not named else load(*given, **named)

    loading.load = first


def _keep(channel: socket.socket, grader: socket.socket, parent: int) -> None:
    """Keep a notebook's sandbox until the grader closes its socket; never return."""
    from mnist_nb.tools.classroom import entrance
    from mnist_nb.tools.classroom.channel import receive, send

    made = None
    try:
        entrance.die_with_parent(parent)
        job, _ = receive(grader)
        # a process in the sandbox cannot see its parent outside
        above = 0 if job["sandbox"] else os.getpid()
        if job["sandbox"]:
            made = entrance.enter(job["sandbox"])
        reading, writing = os.pipe()
        notebook = os.fork()
        if not notebook:
            _run(channel, writing, above)
        channel.close()
        os.close(writing)
        if os.read(reading, 1) != b"r":
            raise OSError("its process did not start")
        send(grader, {"pid": os.getpid()})
        with contextlib.suppress(OSError):
            grader.recv(1)  # if the notebook ends its process, the copies for the tests live on
    except BaseException as error:
        with contextlib.suppress(OSError):
            send(grader, {"failed": f"{type(error).__name__}: {error}"})
    finally:
        if made:
            made.kill()
            made.wait()
        os._exit(0)


def _run(channel: socket.socket, ready: int, above: int) -> None:
    """Run a notebook; answer the process of the tests until it has gone; never return."""
    from mnist_nb.tools.classroom import entrance

    try:
        entrance.die_with_parent(above)
        if not above:
            entrance.give_up_rights()
            os.chdir("/tmp")
            # opened anew: processes that share one opening also share its flags and its SIGIO
            with open(os.devnull, "r+b") as null:
                for stream in (0, 1, 2):
                    os.dup2(null.fileno(), stream)
        number = _only(channel, ready)
        entrance.keep_apart()
        _as_after_a_start()
        from mnist_nb.tools.classroom.cell_runner import Runner

        folder = os.environ.setdefault("IPYTHONDIR", os.path.abspath(".ipython"))
        os.makedirs(folder, exist_ok=True)
        os.write(ready, b"r")
        os.close(ready)
        Runner(socket.socket(fileno=number)).serve()
    finally:
        os._exit(0)


def _only(channel: socket.socket, ready: int) -> int:
    """Close every file but the standard streams and these two; return the channel's number."""
    number = channel.detach()
    for name in os.listdir("/dev/fd"):
        if int(name) not in (0, 1, 2, number, ready):
            with contextlib.suppress(OSError):  # listdir's own, which is closed already
                os.close(int(name))
    return number


def _as_after_a_start() -> None:
    """Set what a process has for itself when it starts, but not when it is forked."""
    import numpy as np
    import torch

    signal.signal(signal.SIGINT, signal.default_int_handler)
    importlib.invalidate_caches()
    tempfile.tempdir = None
    random.seed()
    np.random.seed()
    torch.default_generator.seed()


if __name__ == "__main__":
    sys.path[:1] = [path for path in sys.path[:1] if path]
    main()
