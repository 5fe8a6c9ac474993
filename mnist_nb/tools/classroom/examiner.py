"""Run the tests of the exercises, in a process that none of the learner's code can reach.

`grading` starts this module once. It executes what stands before the first task of an exercise,
then forks a process for each notebook. That process has the learner's process run the learner's
cells, and runs the original's test cells itself (`exam`), with stand-ins for the learner's
functions. Only data goes between the two.
"""

import contextlib
import gc
import os
import signal
import socket
import sys
import traceback

import torch
import torch._dynamo  # optimizers need it: imported here, no notebook imports it again

from mnist_nb.tools.classroom.channel import WireError, receive, send
from mnist_nb.tools.classroom.exam import Exam
from mnist_nb.tools.classroom.originals import Prepared, prepare
from mnist_nb.tools.classroom.stand_in import Learner
from mnist_nb.tools.classroom.wire import set_random_state

_AFTER = 30  # seconds that the tests may take beyond a notebook's limit


def main() -> None:
    """Serve the grader: the originals first, then a notebook for each pair of sockets."""
    control = socket.socket(fileno=os.dup(0))
    with open(os.devnull, "rb") as null:
        os.dup2(null.fileno(), 0)
    torch.set_num_threads(1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    originals, _ = receive(control)
    prepared: dict[str, Prepared] = {}
    children: set[int] = set()
    while True:
        asked, numbers, *_ = socket.recv_fds(control, 1, 2)
        if not asked:
            return
        channel, answers = (socket.socket(fileno=number) for number in numbers)
        with channel, answers, contextlib.suppress(EOFError, OSError, WireError):
            job, _ = receive(answers, 60)
            name = job["exercise"]
            try:
                if name not in prepared:
                    prepared[name] = prepare(originals[name])
                    gc.collect()
                    gc.freeze()
            except Exception as error:
                send(answers, {"wrong": f"{type(error).__name__}: {error}"})
                continue
            child = os.fork()
            if not child:
                control.close()
                _examine(prepared[name], channel, answers, job)
            children.add(child)
        for child in list(children):
            if os.waitpid(child, os.WNOHANG)[0]:
                children.discard(child)


def _examine(
    prepared: Prepared, channel: socket.socket, answers: socket.socket, job: dict
) -> None:
    try:
        set_random_state(prepared.random)
        signal.alarm(5 * job["seconds"] + _AFTER)  # ends a test that the answers made endless
        learner = Learner(channel, job["seconds"])
        send(answers, Exam(prepared, learner).run(job["cells"]))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


if __name__ == "__main__":
    main()
