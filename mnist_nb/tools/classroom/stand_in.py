"""Stand for the learner's functions in the process of the tests.

A call sends its arguments as data to the learner's process, and gets data back; see `wire`.
"""

import json
import random
import socket
import time
from collections.abc import Callable

import numpy as np
from torch.utils._python_dispatch import _disable_current_modes, _get_current_dispatch_mode

from mnist_nb.exercises import NotYet, calls
from mnist_nb.tools.classroom.channel import WireError, receive, send
from mnist_nb.tools.classroom.wire import Crossing, random_state, set_random_state

_OUTPUTS, _OUTPUT = 50, 3_000_000  # outputs of a cell, and characters of one
ALL_OUTPUTS = 40_000_000  # characters of those of a notebook together
_GRACE = 10  # seconds after a limit in which the learner's process has to answer
# what a learner's function may raise here; StopIteration, for one, would end a loop of the tests
ERRORS = {
    error.__name__: error
    for error in (ArithmeticError, AssertionError, AttributeError, ImportError, IndexError,
                  KeyError, LookupError, MemoryError, NameError, NotImplementedError, OSError,
                  OverflowError, RecursionError, RuntimeError, SyntaxError, TypeError,
                  UnboundLocalError, ValueError, ZeroDivisionError)
} | {"NotYet": NotYet}  # fmt: skip


class Stopped(BaseException):
    """The learner's process has ended, or does not answer; no test can go on."""


class TooLate(Exception):
    """The learner's function took too long."""


class Unusable(Exception):
    """What the learner's process sent back cannot be used."""


class Learner:
    """The learner's process, as the tests see it."""

    def __init__(self, channel: socket.socket, seconds: int):
        self.channel, self.seconds = channel, seconds
        self._end = time.monotonic() + 5 * seconds
        self._cell_end = self._end
        # function -> the inputs that it may change; None stands for PyTorch's common generator
        self.changes: dict[str, set] = {}
        self.ignoring = False  # whether changes of other inputs are left out
        self.changed: set[str] = set()  # functions that changed other inputs
        self._before: list[tuple] = []  # what those inputs were before, for `restore`

    def begin_tests(self) -> None:
        """Give the tests time, also after a notebook that took all of its own."""
        self._end = max(self._end, time.monotonic() + 2 * _GRACE)

    def start_cell(self) -> None:
        """Give the next cell its time."""
        self._cell_end = min(self._end, time.monotonic() + self.seconds)

    def ask(self, message: dict, blobs: list[bytes] = ()) -> tuple[dict, bytes]:
        """Send a message, with the seconds that are left; return the answer.

        Raises:
            Stopped: there is none.
        """
        left = self._cell_end - time.monotonic()
        if self._end <= time.monotonic():
            raise Stopped(f"it took longer than {5 * self.seconds} seconds")
        try:
            self.channel.settimeout(_GRACE + max(left, 0))
            send(self.channel, message | {"seconds": max(left, 0.05)}, blobs)
            return receive(self.channel, max(left, 0) + _GRACE)
        except TimeoutError as error:
            raise Stopped(f"it did not end after its {self.seconds} seconds") from error
        except (EOFError, OSError) as error:
            raise Stopped("its Python ended in the middle of a cell") from error
        except WireError as error:
            raise Stopped(str(error)) from error

    def keep(self) -> socket.socket:
        """Return a socket to a copy of the learner's process, as it is now."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                send(self.channel, {"do": "keep"})
                socket.send_fds(self.channel, [b"k"], [theirs.fileno()])
                receive(self.channel, _GRACE)
            except (EOFError, OSError, WireError) as error:
                raise Stopped("its Python ended in the middle of a cell") from error
        return ours

    def value(self, name: str) -> tuple[bool, object]:
        """Return whether a name is there, and its value."""
        answer, raw = self.ask({"do": "look", "name": name})
        if answer.get("missing"):
            return False, None
        try:
            crossing = Crossing(self._functions(name, answer))
            return True, crossing.unpack(answer["value"], raw)
        except (WireError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise Unusable(f"the value of `{name}` cannot be used") from error

    def _functions(self, name: str, answer: dict) -> Callable:
        there = {int(number): int(here) for number, here in answer["functions"].items()}
        return lambda number: StandIn(self, name, there[number])

    def call(self, name: str, function: str | int, given: tuple, named: dict, record: bool):
        """Call a function of the learner's; its inputs become here what they became there."""
        crossing = Crossing()
        message = {"do": "call", "function": function, "record": record}
        packed = crossing.pack((given, named))
        before = random_state()
        message |= {"given": packed, "random": crossing.blob(before)}
        may = Crossing()
        may.pack([value for key, value in [*enumerate(given), *named.items()]
                  if key in self.changes.get(name, ())])  # fmt: skip
        others = {n for n, known in crossing.objects.items() if id(known) not in may.numbers}
        sent = b"".join(crossing.blobs)
        answer, raw = self.ask(message, crossing.blobs)
        if not self.ignoring:  # stays if inputs change, or if unpacking ends half-way
            state = None if None in self.changes.get(name, ()) else before
            self._before.append((crossing, packed, sent, others, state))
        crossing.frozen = others if self.ignoring else set()
        try:
            crossing._function = self._functions(name, answer)
            result = crossing.unpack(answer["value"], raw)
            drawn = crossing.bytes_at(answer["random"]) != before
            if drawn and (None in self.changes.get(name, ()) or not self.ignoring):
                set_random_state(crossing.bytes_at(answer["random"]))
            failed = [str(text) for text in answer["error"][0]] if "error" in answer else []
            text = str(answer["error"][1]) if failed else ""
            used = {str(operator) for operator in answer["used"]}
        except (WireError, KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise Unusable(f"what `{name}` gave back cannot be used") from error
        # it used Python's or NumPy's generator: use both here, so that a test can notice
        if answer.get("others"):
            random.random()
            np.random.rand()
        if answer.get("late") or time.monotonic() > self._cell_end:
            raise TooLate(f"`{name}` took longer than the {self.seconds} seconds of a check")
        if crossing.changed & others or (drawn and None not in self.changes.get(name, ())):
            self.changed.add(name)
        elif not self.ignoring:
            self._before.pop()
        if failed:
            raise _error(failed, text)
        return result, used

    def restore(self) -> None:
        """Undo changes of inputs that should not have changed, as other tests use them too."""
        for crossing, packed, sent, others, state in reversed(self._before):
            crossing.frozen = crossing.objects.keys() - others
            crossing.unpack(packed, sent)
            if state is not None:
                set_random_state(state)
        self._before = []


def trimmed(outputs: object, room: int) -> tuple[list, int]:
    """Return the outputs of a cell that fit into `room` characters, and what is left of it."""
    kept = []
    for output in outputs[:_OUTPUTS] if isinstance(outputs, list) else []:
        if (size := len(json.dumps(output))) <= min(_OUTPUT, room):
            kept.append(output)
            room -= size
    return kept, room


def _error(names: list[str], text: str) -> Exception:
    """Return an error of a type that is harmless here, with the learner's text."""
    known = next((name for name in names if name in ERRORS), None)
    error = ERRORS[known](text) if known else RuntimeError(f"{names[0][:50]}: {text}")
    error.learners = known if known == names[0] else ""
    return error


class StandIn:
    """A function that calls the learner's function of this name."""

    def __init__(self, learner: Learner, name: str, function: str | int | None = None):
        self._learner, self.__name__ = learner, name
        self._function = name if function is None else function

    def __call__(self, *given, **named):
        """Return what the learner's function returns; tell `calls` what it calls there."""
        mode = _get_current_dispatch_mode()
        record = isinstance(mode, calls)
        with _disable_current_modes():
            result, used = self._learner.call(self.__name__, self._function, given, named, record)
        if record:
            mode.used |= used
        return result

    def __repr__(self) -> str:
        return f"<function {self.__name__}>"
