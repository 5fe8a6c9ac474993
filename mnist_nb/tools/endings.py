"""How a command ends: by a signal that asks for it, or after its readers have left."""

import contextlib
import errno
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker

from mnist_nb.errors import Problem

# what batch systems, `timeout` and a terminal that is closed send
STOPS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
LEFT = (errno.EPIPE, errno.EIO)  # a pipe that nobody reads, a terminal that is gone

asked_to_stop = threading.Event()  # in a worker of a sweep: a signal came that is not for it


@contextlib.contextmanager
def like_ctrl_c() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end what is inside as Ctrl-C does, with a KeyboardInterrupt."""
    heard = [number for number in STOPS if signal.getsignal(number) is signal.SIG_DFL]
    with _handled(heard, signal.default_int_handler):
        yield


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Finish what is inside: Ctrl-C, SIGTERM and SIGHUP come too late for it."""
    with _handled([signal.SIGINT, *STOPS], lambda *_: None):
        yield


@contextlib.contextmanager
def _handled(signals: list[int], handler: Callable) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # where none can be handled
        yield
        return
    before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, signal.SIG_DFL if old is None else old)


@contextlib.contextmanager
def later() -> Iterator[None]:
    """Put signals off, here and for good in the processes that are started meanwhile."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # it would let them through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, *STOPS])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_to_parent() -> None:
    """Leave Ctrl-C and the like to the process that started this one, within `later`."""
    numbers = [signal.SIGINT, *STOPS]
    for number in numbers:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as after `nohup`
            signal.signal(number, lambda *_: asked_to_stop.set())
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


@contextlib.contextmanager
def read_or_not() -> Iterator[None]:
    """Let what is inside go on when what it prints cannot be written any more.

    Raises:
        Problem: at the end, if it is not that the reader has left, as in `… | head`.
    """
    lost: list[OSError] = []
    streams = [stream for stream in (sys.stdout, sys.stderr) if stream]
    for stream in streams:
        for name in ("write", "flush"):
            setattr(stream, name, _unfailing(stream, getattr(stream, name), lost))
    try:
        yield
        for stream in streams:
            stream.flush()
    finally:
        for stream in streams:
            with contextlib.suppress(AttributeError):
                del stream.write, stream.flush
    for error in lost:
        if error.errno not in LEFT:
            raise Problem(
                f"what is printed cannot be written ({error.strerror}); what was run is kept"
            )


def _unfailing(stream, method: Callable, lost: list[OSError]) -> Callable:
    """Return `method` of a stream that goes nowhere once it has failed; why is put into `lost`."""

    @functools.wraps(method)
    def call(*arguments):
        try:
            return method(*arguments)
        except OSError as error:
            lost.append(error)
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
            return len(arguments[0]) if arguments else None

    return call
