"""Handle what ends a command early: stop signals, and output that nobody reads any more.

The command line, `run` and `sweep` use these context managers.
"""

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

# sent by batch systems, by `timeout`, and when a terminal is closed
STOP_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
READER_GONE = (errno.EPIPE, errno.EIO)  # a closed pipe, a closed terminal

asked_to_stop = threading.Event()  # set in a sweep's worker when it receives a stop signal


@contextlib.contextmanager
def stop_like_ctrl_c() -> Iterator[None]:
    """Make SIGTERM and SIGHUP raise a KeyboardInterrupt in the `with` block, as Ctrl-C does."""
    heard = [number for number in STOP_SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    with _handled_by(heard, signal.default_int_handler):
        yield


@contextlib.contextmanager
def ignore_stop_signals() -> Iterator[None]:
    """Ignore Ctrl-C, SIGTERM and SIGHUP in the `with` block, so that it can finish."""
    with _handled_by([signal.SIGINT, *STOP_SIGNALS], lambda *_: None):
        yield


@contextlib.contextmanager
def _handled_by(signals: list[int], handler: Callable) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only that can set handlers
        yield
        return
    before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, signal.SIG_DFL if old is None else old)


@contextlib.contextmanager
def block_stop_signals() -> Iterator[None]:
    """Block stop signals in the `with` block; processes started in it keep them blocked."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # starting it inside the block would unblock the signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, *STOP_SIGNALS])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_stopping_to_parent() -> None:
    """Make this worker only note stop signals, as the process that started it handles them.

    Call it in a process that was started within `block_stop_signals`.
    """
    numbers = [signal.SIGINT, *STOP_SIGNALS]
    for number in numbers:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` sets it
            signal.signal(number, lambda *_: asked_to_stop.set())
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


@contextlib.contextmanager
def survive_lost_output() -> Iterator[None]:
    """Let the `with` block finish even if its output can no longer be written.

    Raises:
        Problem: after a block that raised nothing (not even SystemExit), if writing failed;
            not if only the reader has left, like `head`.
    """
    lost: list[OSError] = []
    streams = [stream for stream in (sys.stdout, sys.stderr) if stream]
    for stream in streams:
        for name in ("write", "flush"):
            setattr(stream, name, _never_failing(stream, getattr(stream, name), lost))
    try:
        yield
        for stream in streams:
            stream.flush()
    finally:
        for stream in streams:
            with contextlib.suppress(AttributeError):
                del stream.write, stream.flush
    for error in lost:
        if error.errno not in READER_GONE:
            raise Problem(
                f"the output of this command cannot be written ({error.strerror}); the files "
                "that it made are kept, so look at them before you give the command again, with "
                "its output sent elsewhere"
            )


def _never_failing(stream, method: Callable, lost: list[OSError]) -> Callable:
    """Return `method` of `stream`, but on an OSError add it to `lost` and discard all output."""

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
