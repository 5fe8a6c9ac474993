"""How far a sweep is, and how long it will take."""

import sys
import time
from collections.abc import Iterable

from tqdm import tqdm

from mnist_nb.tools.runs.cluster import cores
from mnist_nb.tools.runs.identity import Run
from mnist_nb.tools.runs.work import Outcome

PER_STEP, PER_RUN = 0.0006, 1.5  # seconds: a batch, and what a run costs beyond its batches


class Progress:
    """How far a sweep is: a bar on a terminal, a line per run elsewhere, nothing if `quiet`."""

    def __init__(self, total: int, quiet: bool = False):
        self.bar = tqdm(total=total, desc="runs", disable=True if quiet else None)
        self.lines = self.bar.disable and not quiet
        self.total, self.done, self.failed, self.started = total, 0, 0, time.monotonic()

    def ended(self, name: str, outcome: Outcome) -> None:
        """Count a run."""
        self.done += 1
        self.failed += outcome.state != "finished"
        self.bar.update()
        if outcome.why:
            self.say(f"{name}: {outcome.why}")
        if self.lines:
            left = (time.monotonic() - self.started) / self.done * (self.total - self.done)
            print(f"{self.done}/{self.total} {name}: {outcome.state}, {outcome.seconds:.1f} s; "
                  f"{self.failed} failed, {duration(left)} left", flush=True)  # fmt: skip

    def running(self, number: int) -> None:
        """Show how many runs are at work now."""
        if not self.bar.disable:
            self.bar.set_postfix(running=number, failed=self.failed)

    def say(self, words: str) -> None:
        """Say what has to be known meanwhile."""
        if self.lines or not self.bar.disable:
            tqdm.write(words, file=sys.stderr)

    def so_far(self) -> str:
        """Say what there is when a sweep ends early."""
        return (
            f"{self.done} of {self.total} runs had ended, and what is finished is kept: "
            "the same command goes on with the rest"
        )

    def close(self) -> None:
        """Leave the terminal as it was."""
        self.bar.close()


def duration(seconds: float) -> str:
    """Seconds in words: 40 s, 12 min, 3 h."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def estimate(runs: list[Run], known: list[float], defaults: dict) -> float | None:
    """Seconds that `runs` will take here, as long as those `known`; else from their batches."""
    if known:
        return len(runs) * sum(known) / len(known) / cores()
    names = ("epochs", "train_size", "batch_size")
    if not set(names) <= set(defaults):
        return None
    total = 0.0
    for run in runs:
        epochs, images, batch = ((defaults | run.values)[name] for name in names)
        if not all(isinstance(n, int) and n > 0 for n in (epochs, images, batch)):
            return None  # they mean something else here
        total += PER_RUN + epochs * images / batch * PER_STEP
    return total / cores()


def with_bar(things: Iterable, number: int, what: str) -> Iterable:
    """Give `things`, with a bar on a terminal if they take more than two seconds."""
    return tqdm(things, what, number, leave=False, disable=None, delay=2)
