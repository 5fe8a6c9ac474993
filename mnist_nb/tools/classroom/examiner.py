"""Run the tests of the exercises, in a process that none of the learner's code can reach.

`grading` starts this module once. It forks a process for each exercise, which executes what stands
before the first task, then forks a process for each notebook. That process has the learner's
process run the learner's cells, and runs the original's test cells itself (`exam`), with stand-ins
for the learner's functions. Only data goes between the two.
"""

import contextlib
import gc
import os
import signal
import socket
import sys
import traceback
from collections.abc import Iterator
from typing import NoReturn

import torch
import torch._dynamo  # optimizers need it: imported here, no notebook imports it again

from mnist_nb.tools.classroom.channel import WireError, receive, send
from mnist_nb.tools.classroom.entrance import die_with_parent
from mnist_nb.tools.classroom.exam import Exam
from mnist_nb.tools.classroom.originals import Prepared, prepare
from mnist_nb.tools.classroom.stand_in import Learner
from mnist_nb.tools.classroom.wire import set_random_state

_AFTER = 30  # seconds that the tests may take beyond a notebook's limit


def main() -> None:
    """Serve the grader: the originals first, then a process for each socket that comes."""
    control = socket.socket(fileno=os.dup(0))
    with open(os.devnull, "rb") as null:
        os.dup2(null.fileno(), 0)
    torch.set_num_threads(1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    originals, _ = receive(control)
    own = os.getpid()
    while numbers := socket.recv_fds(control, 1, 1)[1]:
        if not os.fork():
            control.close()
            _serve(socket.socket(fileno=numbers[0]), originals, own)
        os.close(numbers[0])


@contextlib.contextmanager
def _all_that_a_fork_does() -> Iterator[None]:
    """End this process after the block; print the traceback of an error in it."""
    try:
        yield
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _serve(control: socket.socket, originals: dict[str, list[dict]], parent: int) -> NoReturn:
    """Prepare the exercise that the grader names, then serve a notebook for each pair of sockets.

    With a process of its own, no exercise waits for another, and a fork has little to copy.
    """
    with _all_that_a_fork_does():
        die_with_parent(parent)
        cells, prepared, wrong = originals[receive(control)[0]["exercise"]], None, ""
        try:
            prepared = prepare(cells)
        except Exception as error:
            wrong = f"{type(error).__name__}: {error}"
        gc.collect()
        gc.freeze()
        children: set[int] = set()
        while numbers := socket.recv_fds(control, 1, 2)[1]:
            channel, answers = (socket.socket(fileno=number) for number in numbers)
            with channel, answers, contextlib.suppress(EOFError, OSError, WireError):
                job, _ = receive(answers, 60)
                if wrong:
                    send(answers, {"wrong": wrong})
                    continue
                child = os.fork()
                if not child:
                    control.close()
                    _examine(prepared, channel, answers, job)
                children.add(child)
            children -= {pid for pid in children if os.waitpid(pid, os.WNOHANG)[0]}


def _examine(
    prepared: Prepared, channel: socket.socket, answers: socket.socket, job: dict
) -> NoReturn:
    with _all_that_a_fork_does():
        set_random_state(prepared.random)
        signal.alarm(5 * job["seconds"] + _AFTER)  # ends a test that the answers made endless
        learner = Learner(channel, job["seconds"])
        send(answers, Exam(prepared, learner).run(job["cells"]))


if __name__ == "__main__":
    main()
