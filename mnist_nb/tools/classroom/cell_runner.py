"""Run cells as a notebook does, and answer calls; `inside` starts it in the sandbox.

IPython runs the cells without a kernel and its messages: a cell comes over the socket, and what
it shows goes back. The learner's code can do anything to this process. The process of the tests
believes nothing of what it says except the values that it gives.
"""

import base64
import contextlib
import fcntl
import os
import random
import signal
import socket
import sys

import numpy as np
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from matplotlib_inline import backend_inline
from traitlets.config import Config

from mnist_nb.exercises import calls
from mnist_nb.tools.classroom.canary import Canary
from mnist_nb.tools.classroom.channel import receive, send
from mnist_nb.tools.classroom.wire import Crossing, random_state, set_random_state

_SHOWN = 20_000  # characters of a stream that go back
_OUTPUTS = 50  # of a cell
_PICTURE = 2_000_000  # characters of a picture


class Late(KeyboardInterrupt):
    """A cell or a call took longer than it may."""


class _Shapes(calls):
    """As `calls`, with the shapes that come out, such as 3 × 2: a check may ask for them, too."""

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        result = super().__torch_dispatch__(operator, types, args, kwargs)
        self.used.add(" × ".join(map(str, getattr(result, "shape", ()))))
        return result


class Runner:
    """A notebook: its shell, its outputs, and the socket to the process of the tests."""

    def __init__(self, channel: socket.socket | None):
        self.outputs, self.late = [], False
        self.functions: dict[int, object] = {}
        self.answered: list[tuple[str, tuple]] = []  # source and answer of opening cells that ran
        self.connect(channel)
        text = {"encoding": "utf-8", "errors": "replace", "closefd": False}
        sys.stdout = os.fdopen(1, "w", **text)
        sys.stderr = os.fdopen(2, "w", **text)
        signal.signal(signal.SIGALRM, self._too_late)
        self.shell = new_shell(self)
        self.canary = Canary(self.shell)

    def connect(self, channel: socket.socket | None) -> None:
        """Have a socket and a file for outputs that no other process shares."""
        self.channel, self._shown = channel, os.memfd_create("output")
        fcntl.fcntl(self._shown, fcntl.F_SETFL, os.O_APPEND)
        for target in (1, 2):
            os.dup2(self._shown, target)

    def serve(self) -> None:
        """Answer until the process of the tests has gone."""
        while True:
            try:
                message, raw = receive(self.channel)
            except EOFError:
                return
            answer, blobs = getattr(self, f"_{message['do']}")(message, raw)
            send(self.channel, answer, blobs)

    def _too_late(self, *_) -> None:
        self.late = True
        raise Late(f"interrupted after {self._seconds:.0f} seconds")

    @contextlib.contextmanager
    def _limited(self, seconds: float):
        self.late, self._seconds = False, seconds
        signal.setitimer(signal.ITIMER_REAL, seconds, 1)  # again for `except:` in a loop
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _cell(self, message: dict, raw: bytes) -> tuple[dict, list]:
        """Run a cell, unless it has run; return its outputs, and whether it ran into the limit."""
        if self.answered and self.answered[0][0] == message["source"]:
            return self.answered.pop(0)[1]
        self.outputs = []
        try:
            with self._limited(message["seconds"]):
                self.shell.run_cell(message["source"], store_history=True)
        except BaseException as error:  # the time limit, in IPython's own code
            self.show(error=(type(error).__name__, str(error)))
        self.read()
        return {"outputs": self.outputs[:_OUTPUTS], "late": self.late}, []

    def _keep(self, message: dict, raw: bytes) -> tuple[dict, list]:
        """Keep the notebook as it is now in a process that answers over a socket of its own.

        So the tests can wait until all cells have run, and no cell can show what tests ask.
        """
        _, numbers, *_ = socket.recv_fds(self.channel, 1, 1)
        if not os.fork():
            try:
                self.channel.close()
                self.channel = socket.socket(fileno=numbers[0])
                self.serve()
            finally:
                os._exit(0)
        os.close(numbers[0])
        return {}, []

    def _look(self, message: dict, raw: bytes) -> tuple[dict, list]:
        """Return the value of a name."""
        crossing = Crossing()
        if message["name"] not in self.shell.user_ns:
            return {"missing": True}, []
        packed = crossing.pack(self.shell.user_ns[message["name"]])
        return {"value": packed, **self._kept(crossing)}, crossing.blobs

    def _call(self, message: dict, raw: bytes) -> tuple[dict, list]:
        """Call a function of the notebook; return what it gives, and what became of its inputs."""
        crossing = Crossing()
        given, named = crossing.unpack(message["given"], raw)
        mine, told, used = random_state(), {}, set()
        random.random(), np.random.rand()  # so that setting the same seed again changes the state
        others = _other_generators()
        set_random_state(crossing.bytes_at(message["random"]))
        try:
            with self._limited(message["seconds"]):
                function = self._function(message["function"])
                with _Shapes() if message["record"] else contextlib.nullcontext(set()) as used:
                    result = function(*given, **named)
        except BaseException as error:
            names = [kind.__name__ for kind in type(error).__mro__]
            told, result = {"error": [names, str(error)[:2000]]}, None
        told["others"] = _other_generators() != others
        self.read()
        state = random_state()
        set_random_state(mine)
        packed = crossing.pack(result)
        return {"value": packed, "random": crossing.blob(state), "late": self.late,
                "used": sorted(used), **told, **self._kept(crossing)}, crossing.blobs  # fmt: skip

    def _function(self, function: str | int) -> object:
        if not isinstance(function, str):
            return self.functions[function]
        if function not in self.shell.user_ns:
            raise NameError(f"name {function!r} is not defined")
        return self.shell.user_ns[function]

    def _kept(self, crossing: Crossing) -> dict:
        """Keep functions that go out, so that they can be called; return their numbers here."""
        there = {}
        for function in crossing.functions:
            here = len(self.functions)
            self.functions[here] = function
            there[str(crossing.numbers[id(function)])] = here
        return {"functions": there}

    def _end(self, message: dict, raw: bytes) -> tuple[dict, list]:
        """Return what the notebook has replaced."""
        return {"found": self.canary.found(self.shell)}, []

    def read(self) -> None:
        """Move what was printed to the outputs."""
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        size = os.fstat(self._shown).st_size
        text = os.pread(self._shown, 4 * _SHOWN, 0).decode(errors="replace")[:_SHOWN]
        os.ftruncate(self._shown, 0)
        if size:
            self.outputs.append({"output_type": "stream", "name": "stdout", "text": text})

    def show(self, data: dict | None = None, error: tuple[str, str] | None = None) -> None:
        """Add a value, a picture or an error to the outputs."""
        self.read()
        if error:
            name, value = (str(part)[:_SHOWN] for part in error)
            self.outputs.append(
                {"output_type": "error", "ename": name, "evalue": value, "traceback": []}
            )
            return
        kept = {"text/plain": str(data.get("text/plain", ""))[:_SHOWN]}
        picture = data.get("image/png")
        if isinstance(picture, bytes):  # as `display` passes on what is raw
            picture = base64.b64encode(picture).decode()
        if isinstance(picture, str) and len(picture) <= _PICTURE:
            kept["image/png"] = picture
        self.outputs.append({"output_type": "display_data", "data": kept, "metadata": {}})


def _other_generators() -> str:
    """Return the states of Python's and NumPy's common generators."""
    _, keys, place, *_ = np.random.get_state()
    return repr((random.getstate(), keys.tobytes(), place))


def new_shell(runner: Runner | None) -> InteractiveShell:
    """Return a shell whose outputs go to `runner`; it makes IPython's folder if there is none."""

    class Hook(DisplayHook):
        """Add a cell's last value to the outputs."""

        def write_output_prompt(self):
            pass

        def write_format_data(self, format_dict, md_dict=None):
            runner.show(format_dict)

    class Publisher(DisplayPublisher):
        """Add what is displayed to the outputs."""

        def publish(self, data, metadata=None, **more):
            runner.show(data)

    class Shell(InteractiveShell):
        """A shell without a terminal, colours or a history on disk."""

        displayhook_class, display_pub_class = Hook, Publisher

        def _showtraceback(self, etype, evalue, stb):
            runner.show(error=(etype.__name__, str(evalue)))

    config = Config({"HistoryManager": {"hist_file": ":memory:", "enabled": False}})
    shell = Shell.instance(config=config)
    sys.modules["__main__"] = shell.user_module
    # as its import does where a shell exists already
    backend_inline._enable_matplotlib_integration()
    return shell
