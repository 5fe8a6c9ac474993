"""Execute learners' notebooks in sandboxes, and call the functions that they define.

`sandbox` starts this module, with a socket as its standard input. It imports what notebooks
import, and then forks two processes for each notebook. The first is the keeper: it has bubblewrap
make the notebook's sandbox, enters it (`entrance`), and waits. The second runs the notebook, all
inside, and talks over a socket with the process of the tests (`examiner`). What an exercise has
before its first task runs once, in a process that then forks these two (`opening`). No hidden
test and nothing of a learner ever gets into a process that forks.
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
from typing import NoReturn

MODULES = ("torch", "torchvision", "IPython.core.interactiveshell", "matplotlib.pyplot",
           "matplotlib.backends.backend_agg", "matplotlib_inline.backend_inline", "pandas",
           "mnist_nb.loading", "mnist_nb.model", "mnist_nb.training", "mnist_nb.evaluation",
           "mnist_nb.exercises", "mnist_nb.figures", "mnist_nb.tools.classroom.entrance",
           "mnist_nb.tools.classroom.cell_runner", "mnist_nb.tools.classroom.canary",
           "mnist_nb.tools.classroom.opening", "torch._dynamo")  # fmt: skip


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
    _serve(control)


def _serve(control: socket.socket, opening=None) -> None:
    """Fork a keeper for each pair of sockets, and for a single one what runs an opening."""
    children: set[int] = set()
    own = os.getpid()
    while True:
        asked, numbers, *_ = socket.recv_fds(control, 1, 2)
        if not asked:
            return
        child = os.fork()
        if not child:
            control.close()
            given = [socket.socket(fileno=number) for number in numbers]
            _open(*given, own) if asked == b"o" else _keep(*given, own, opening)
        for number in numbers:
            os.close(number)
        children.add(child)
        children -= {pid for pid in children if os.waitpid(pid, os.WNOHANG)[0]}


def _open(control: socket.socket, parent: int) -> NoReturn:
    """Run an opening, then fork the notebooks that go on from there."""
    from mnist_nb.tools.classroom import entrance
    from mnist_nb.tools.classroom.channel import receive, send
    from mnist_nb.tools.classroom.opening import Opening

    try:
        entrance.die_with_parent(parent)
        job, _ = receive(control)
        _as_after_a_start()
        opening = Opening(job["opening"], job["seconds"])
        gc.collect()
        gc.freeze()
        send(control, {})
        _serve(control, opening)
    except BaseException as error:
        with contextlib.suppress(OSError):
            send(control, {"failed": f"{type(error).__name__}: {error}"})
    finally:
        os._exit(0)


def _make_ready() -> None:
    """Do once what each notebook would do again; each gets a copy of its own."""
    from PIL import Image

    from mnist_nb import data, loading
    from mnist_nb.figures import showing

    Image.init()  # imports what can write pictures
    showing.SHARP = 1  # only the PNG of a figure goes to the learner's page
    load, images = loading.load, []
    raw = data.data_folder() / "MNIST" / "raw"
    if all((raw / name).is_file() for name in data.CHECKSUMS["MNIST"]):
        with contextlib.suppress(Exception):  # a notebook that loads them says what is wrong
            images.append(load())

    @functools.wraps(load)
    def first(*given, **named):
        return images.pop() if images and not given and not named else load(*given, **named)

    loading.load = first


def _keep(channel: socket.socket, grader: socket.socket, parent: int, opening) -> NoReturn:
    """Keep a notebook's sandbox until the grader closes its socket."""
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
            _run(channel, writing, above, opening)
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


def _run(channel: socket.socket, ready: int, above: int, opening) -> NoReturn:
    """Run a notebook; answer the process of the tests until it has gone."""
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
        from mnist_nb.tools.classroom.opening import resumed, started

        if not opening:
            _as_after_a_start()
        os.write(ready, b"r")
        os.close(ready)
        channel = socket.socket(fileno=number)
        (resumed(opening, channel) if opening else started(channel)).serve()
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
