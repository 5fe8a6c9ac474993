"""Watch a run: end it at its limits or when it is asked to stop, and pass on what it prints.

`engine` asks a `Watch` about each message of the kernel; `work` and `run` make one for a run.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator

MAX_OUTPUT = 50_000_000  # characters that are kept of a run's output
PAUSE = 0.5  # seconds between two lines that are passed on
_running: dict[str, set["Watch"]] = {}  # the runs of each sweep in this process
_stopped: set[str] = set()  # the sweeps that were stopped


class Watch:
    """What may end a run early: `ended` then says why, and `kill` ends its kernel.

    `seconds` are those that its cells may take, from the time `began`; `said` is called with a
    line that it has printed. `begun` says whether a cell may have begun. `kept` is where the
    notebook of a stopped run was stored, or "".
    """

    def __init__(self, seconds: float | None = None, said: Callable[[str], None] | None = None):
        self.seconds, self.said = seconds, said
        self.began, self.ended = time.monotonic(), ""
        self.begun, self.kept = False, ""
        self.kill: Callable[[], None] = lambda: None
        self._kept: dict[int, int] = {}  # characters of output by cell
        self._line, self._due = "", None

    def left(self) -> float | None:
        """Return the seconds that the run has left, at least a hundredth; None without limit."""
        return self.seconds and max(0.01, self.began + self.seconds - time.monotonic())

    def end(self, why: str) -> None:
        """End the run, from whichever thread, unless it has ended already."""
        if not self.ended:
            self.ended = why
            with contextlib.suppress(Exception):  # the kernel ends at this moment
                self.kill()

    def time_is_up(self) -> None:
        """End the run because it took too long."""
        self.end(f"the run took more than {self.seconds:g} s")

    def shorten(self, kind: str, content: dict, cell: int) -> None:
        """Count an output of a cell; cut a text that is too much, and then end the run."""
        if kind == "clear_output":
            self._kept[cell] = 0
            return
        text = content.get("text")
        size = len(text) if text else sum(len(str(v)) for v in content.get("data", {}).values())
        room = MAX_OUTPUT - sum(self._kept.values())
        self._kept[cell] = self._kept.get(cell, 0) + size
        if size > room:
            content |= {"text": text[:room]} if text else {"data": {}}
            self.end(f"the run printed more than {MAX_OUTPUT / 1e6:g} MB")

    def pass_on(self, text: str) -> None:
        """Call `said` with the last line of `text`, or of what follows within half a second."""
        lines = text.replace("\r", "\n").split("\n")
        self._line = next((line.strip() for line in reversed(lines) if line.strip()), self._line)
        if self.said and self._due is None:
            self._due = asyncio.get_running_loop().call_later(PAUSE, self._send)

    def _send(self) -> None:
        self._due = None
        self.said(self._line)


@contextlib.contextmanager
def stoppable(watch: Watch, sweep: str) -> Iterator[None]:
    """Let `stop_runs(sweep)` end the run in the `with` block."""
    runs = _running.setdefault(sweep, set())
    runs.add(watch)
    if was_stopped(sweep):
        watch.end("the sweep was stopped")
    try:
        yield
    finally:
        runs.discard(watch)


async def stop_runs(sweep: str) -> list[str]:
    """End the runs of `sweep` in this process, and those still to begin.

    Wait until those that had begun are kept, at most ten seconds, and return where. A run whose
    kernel is still starting has nothing to keep, and ends later.
    """
    _stopped.add(sweep)
    ending = set(_running.get(sweep, ()))
    for watch in ending:
        watch.end("the sweep was stopped")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if not any(watch.begun for watch in ending & _running.get(sweep, set())):
            break
        await asyncio.sleep(0.05)
    return sorted(watch.kept for watch in ending if watch.kept)


def was_stopped(sweep: str) -> bool:
    """Return whether `stop_runs` was called for `sweep`."""
    return sweep in _stopped
