"""Show the progress of a sweep, and estimate how long it will take."""

import contextlib
import itertools
import os
import shutil
import sys
import time
import urllib.request
from collections.abc import Iterable

from tqdm import tqdm

from mnist_nb.tools.runs.cluster import cores
from mnist_nb.tools.runs.identity import Run
from mnist_nb.tools.runs.work import Outcome

MOST_ROWS = 16  # runs with a line of their own
MOST_NAMED = 4  # notebooks that the last sentence names
PER_STEP, PER_RUN = 0.0006, 1.5  # seconds per batch, and per run besides its batches


class Progress:
    """Show progress: a bar on a terminal, a line per run elsewhere, nothing if `quiet`.

    Below the bar, each of the running runs has a line with what it printed last.
    """

    def __init__(self, total: int, quiet: bool = False, again: bool = False):
        self.bar = tqdm(total=total, desc="runs", disable=True if quiet else None)
        self.live = not self.bar.disable
        self.lines = self.bar.disable and not quiet
        self.rest = "give the same command again to run the rest"
        if again:
            self.rest = "with --force, the same command runs all of them again"
        self.total, self.done, self.failed, self.started = total, 0, 0, time.monotonic()
        self._last: dict[str, str] = {}  # what each running run printed last
        self._ended: set[str] = set()
        self._rows: list[tqdm] = []

    def said(self, name: str, line: str) -> None:
        """Note what a run has printed; `running` shows it."""
        if name not in self._ended:  # its last lines may come late
            self._last[name] = "".join(c if c.isprintable() else " " for c in line)

    def ended(self, name: str, outcome: Outcome) -> None:
        """Count a run that has ended, and show how it ended."""
        self.done += 1
        self.failed += outcome.state != "finished"
        self._ended.add(name)
        self._last.pop(name, None)
        self.bar.update()
        if outcome.why:
            self.say(f"{name}: {outcome.why}")
        if self.lines:
            left = (time.monotonic() - self.started) / self.done * (self.total - self.done)
            print(f"{self.done}/{self.total} {name}: {outcome.state}, {outcome.seconds:.1f} s; "
                  f"{self.failed} failed, {duration(left)} left", flush=True)  # fmt: skip

    def running(self, number: int) -> None:
        """Show how many runs are running now, and what they printed last."""
        if not self.live:
            return
        self.bar.set_postfix(running=number, failed=self.failed)
        said = list(self._last.items())[-MOST_ROWS:]
        while len(self._rows) < len(said):
            row = tqdm(total=0, position=len(self._rows) + 1, bar_format="{desc}", leave=False)
            self._rows.append(row)
        for row, (name, line) in itertools.zip_longest(self._rows, said, fillvalue=("", "")):
            row.set_description_str(f"{name}: {line}"[: _columns()] if name else "")

    def say(self, words: str) -> None:
        """Print a message to standard error without breaking the bar."""
        if self.lines or self.live:
            tqdm.write(words, file=sys.stderr)

    def note_dashboard(self, client) -> None:
        """Say where the dashboard of a cluster is, if it has one: without bokeh, none answers."""
        with contextlib.suppress(Exception):  # Dask's, or one of HTTP
            link = client.dashboard_link
            with urllib.request.urlopen(link, timeout=2):
                self.say(f"Dask's dashboard: {link}")

    def so_far(self, kept: list[str] = ()) -> str:
        """Return a sentence about the runs done, for a sweep that ends early.

        `kept` are the notebooks of those that were running.
        """
        done = f"{self.done} of {self.total} runs had ended, and finished ones are kept"
        if kept:
            named = [place.removeprefix(os.getcwd() + os.sep) for place in kept[:MOST_NAMED]]
            more = f" and {len(kept) - MOST_NAMED} more" * (len(kept) > MOST_NAMED)
            others = f"{len(kept)} others" if len(kept) > 1 else "one more"
            done += f"; what {others} had so far is in {', '.join(named)}{more}"
        return f"{done}; {self.rest}"

    def close(self) -> None:
        """Finish the bar; its last state stays on the terminal."""
        for row in reversed(self._rows):
            row.close()
        self.bar.close()


def _columns() -> int:
    return shutil.get_terminal_size().columns - 1


def duration(seconds: float) -> str:
    """Format seconds as 40 s, 12 min or 3 h."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def estimate(runs: list[Run], known: list[float], defaults: dict) -> float | None:
    """Estimate the seconds for `runs` on this machine; None if that is impossible.

    The basis is the mean of the `known` seconds of finished runs, or else the number of batches.
    """
    if known:
        return len(runs) * sum(known) / len(known) / cores()
    names = ("epochs", "train_size", "batch_size")
    if not set(names) <= set(defaults):
        return None
    total = 0.0
    for run in runs:
        epochs, images, batch = ((defaults | run.values)[name] for name in names)
        if not all(isinstance(n, int) and n > 0 for n in (epochs, images, batch)):
            return None  # parameters with a different meaning
        total += PER_RUN + epochs * images / batch * PER_STEP
    return total / cores()


def with_progress_bar(things: Iterable, number: int, what: str) -> Iterable:
    """Yield `things`, with a progress bar on a terminal after two seconds."""
    return tqdm(things, what, number, leave=False, disable=None, delay=2)
