"""Many runs at once: each one papermill run, on Dask's workers, here or on a cluster."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
from filelock import FileLock, Timeout
from jupyter_core.utils import ensure_event_loop
from tqdm import tqdm

from mnist_nb.files import write_whole
from mnist_nb.runs.parameters import declared_parameters, word_reader
from mnist_nb.runs.plans import Run, SweepError, count, each_row, planned
from mnist_nb.runs.run import RunError, execute, no_place, note_machine, read_notebook

ROUTES = "distributed.scheduler.http.routes", "distributed.worker.http.routes"
PER_STEP, PER_RUN = 0.0006, 5.0  # seconds: a batch, and what a run costs beyond its batches


class Outcome(NamedTuple):
    """How a run ended: "finished", "failed" or "interrupted", after how long, and why."""

    state: str
    seconds: float
    why: str = ""


class Sweep(NamedTuple):
    """A notebook and its runs, all checked; those that `folder` does not hold yet are `left`."""

    notebook: Any
    stem: str
    folder: str
    runs: list[Run]
    left: list[Run]
    seconds: float | None  # that the ones left will take here, if that can be told


def prepare(path: Path, plan: Mapping[str, Any], folder: str) -> Sweep:
    """The sweep that `plan` (see `expand`) makes of the notebook at `path`; nothing is run.

    Raises:
        RunError: there is no notebook that can be read.
        SweepError, ParameterError: see `expand` and `planned`.
    """
    notebook = read_notebook(path)
    rows = _shown(each_row(plan, word_reader(notebook)), count(plan), "checked")
    runs = planned(notebook, rows)
    known = [
        seconds_taken(place_of(folder, run, path.stem), run.key)
        for run in _shown(runs, len(runs), "looked for")
    ]
    left = [run for run, seconds in zip(runs, known, strict=True) if seconds is None]
    defaults = {n: d.default for n, d in (declared_parameters(notebook) or {}).items()}
    seconds = estimate(left, [s for s in known if s], defaults)
    return Sweep(notebook, path.stem, folder, runs, left, seconds)


def _shown(things: Iterable, number: int, what: str) -> Iterable:
    """Give `things`, with a bar on a terminal if they take more than two seconds."""
    return tqdm(things, what, number, leave=False, disable=None, delay=2)


def place_of(folder: str, run: Run, stem: str) -> str:
    """Where the executed notebook of `run` goes: a path, or an address papermill can write."""
    return "/".join([folder.rstrip("/"), run.name, f"{stem}.ipynb"])


def _is_address(place: str) -> bool:
    return "://" in place


def seconds_taken(place: str, key: str) -> float | None:
    """How long the run took whose notebook is at `place`; None unless it is the run of `key`."""
    try:
        if _is_address(place):
            from papermill.iorw import papermill_io

            text = papermill_io.read(place)
        else:
            text = Path(place).read_text(encoding="utf-8")
        noted = json.loads(text)["metadata"]["mnist_nb"]
        return noted["wall_time_s"] if noted["sweep_key"] == key else None
    except Exception:  # not there, not whole, not ours: each place has errors of its own
        return None


def cores() -> int:
    """How many processes can compute side by side here."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


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
        total += PER_RUN + epochs * images / batch * PER_STEP
    return total / cores()


def do_run(text: str, stem: str, run: Run, place: str, cwd: str) -> Outcome:
    """Execute one run on this worker; what it leaves stands at `place`, whole or not at all.

    A notebook that fails is kept beside, as `….failed.ipynb`.
    """
    if (seconds := seconds_taken(place, run.key)) is not None:
        return Outcome("finished", seconds)  # by a worker that was lost before it could say so
    failed = place.removesuffix(".ipynb") + ".failed.ipynb"
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mnist-nb-") as folder:
        notebook, unfinished = Path(folder, "in.ipynb"), Path(folder, f"{stem}.ipynb")
        notebook.write_text(text, encoding="utf-8")
        more = {"cwd": cwd} if os.path.isdir(cwd) else {}
        try:
            # Jupyter would leave the loop it makes here to the garbage collector, which shows a
            # traceback where it comes to the loop's own sockets first.
            with asyncio.Runner(loop_factory=ensure_event_loop):
                execute(notebook, unfinished, run.values, quiet=True, **more)
        except RunError as error:
            seconds = time.monotonic() - started
            if "failed: KeyboardInterrupt" in str(error):
                return Outcome("interrupted", seconds, str(error))
            if unfinished.is_file():
                _put(unfinished, failed)
            return Outcome("failed", seconds, f"{error}; the notebook so far is {failed}")
        seconds = time.monotonic() - started
        note_machine(unfinished, seconds, sweep_key=run.key)
        _put(unfinished, place)
    if not _is_address(failed):
        Path(failed).unlink(missing_ok=True)
    return Outcome("finished", seconds)


def _put(notebook: Path, place: str) -> None:
    """The file at `notebook` to its place."""
    if _is_address(place):
        from papermill.iorw import papermill_io

        papermill_io.write(notebook.read_text(encoding="utf-8"), place)
    else:
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        write_whole(Path(place), notebook.read_bytes())


@contextlib.contextmanager
def cluster(scheduler: str | None, runs: int = 1) -> Iterator:
    """A Dask client of the cluster at the address, or of one made here for that many runs.

    The one made here has at most a process per core, listens on loopback, and speaks only
    with who has its own fresh keys.

    Raises:
        SweepError: nothing answers at the address.
    """
    import dask
    from distributed import Client, LocalCluster, Security

    if scheduler:
        # In two steps, so that we can close one that fails to start. The garbage collector would
        # close it too, but if that happens while another one starts, both wait forever.
        client = Client.__new__(Client)
        try:
            client.__init__(scheduler, timeout="10s")
        except (OSError, ValueError, TypeError, ImportError) as error:
            client.close()
            raise SweepError(f"no Dask scheduler answers at {scheduler} ({error})") from error
        with client:
            yield client
        return
    scratch = tempfile.mkdtemp(prefix="mnist-nb-dask-")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is ours, not the workers'
    try:
        with dask.config.set({key: [] for key in ROUTES}):  # no page that anyone could open
            local = LocalCluster(
                n_workers=min(cores(), runs), threads_per_worker=1, memory_limit=0,
                host="127.0.0.1", dashboard_address="127.0.0.1:0", local_directory=scratch,
                silence_logs="CRITICAL", security=Security.temporary(),
            )  # fmt: skip
        signal.signal(signal.SIGINT, before)
        with local, Client(local) as client:
            yield client
    finally:
        signal.signal(signal.SIGINT, before)
        shutil.rmtree(scratch, ignore_errors=True)


def carry_out(
    sweep: Sweep, scheduler: str | None = None, quiet: bool = False
) -> Iterator[tuple[str, Outcome]]:
    """Do the runs that are left; the name of each and how it ended, as it ends.

    A run that fails is kept and does not stop the others. What a worker that died was doing
    is done again by another one. Unless `quiet`, progress is shown.

    Raises:
        SweepError: no cluster, or another sweep is at work in the folder.
        RunError: the folder cannot be written.
        KeyboardInterrupt: in one sentence, how many are done and how to go on.
    """
    with contextlib.ExitStack() as stack:
        if not _is_address(sweep.folder):
            sweep = sweep._replace(folder=os.path.abspath(sweep.folder))
            try:
                os.makedirs(sweep.folder, exist_ok=True)
                stack.enter_context(FileLock(Path(sweep.folder, ".sweep.lock"), timeout=0))
            except Timeout as error:
                said = f"another sweep is at work in {sweep.folder}; wait for it"
                raise SweepError(said) from error
            except OSError as error:
                raise no_place(sweep.folder, error) from error
        client = stack.enter_context(cluster(scheduler, len(sweep.left)))
        ended = 0
        try:
            for outcome in _outcomes(client, sweep, quiet):
                ended += 1
                yield outcome
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"interrupted; {ended} of {len(sweep.left)} runs had ended, and what is "
                "finished is kept: the same command goes on with the rest"
            ) from None


def _outcomes(client, sweep: Sweep, quiet: bool) -> Iterator[tuple[str, Outcome]]:
    """(name, outcome) of each run, as it ends."""
    from distributed import wait

    bare = nbformat.from_dict(sweep.notebook)
    for cell in bare.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    text = nbformat.writes(bare)
    futures = {
        client.submit(do_run, text, sweep.stem, run, place_of(sweep.folder, run, sweep.stem),
                      os.getcwd(), key=f"mnist-nb-{run.name}-{run.key}", pure=False): run
        for run in sweep.left
    }  # fmt: skip
    left, progress = set(futures), Progress(len(futures), quiet)
    try:
        while left:
            with contextlib.suppress(TimeoutError):
                wait(list(left), timeout=1, return_when="FIRST_COMPLETED")
            for future in [future for future in left if future.done()]:
                left.remove(future)
                name, outcome = futures[future].name, _outcome(future)
                progress.ended(name, outcome)
                yield name, outcome
            if not progress.bar.disable:
                progress.running(min(sum(client.nthreads().values()), len(left)))
    finally:
        progress.close()
        client.cancel(list(left))


def _outcome(future) -> Outcome:
    try:
        return future.result()
    except Exception as error:  # of Dask, or of the place where results go
        return Outcome("failed", 0, " ".join(f"{type(error).__name__}: {error}".split()))


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
        if outcome.why and (self.lines or not self.bar.disable):
            tqdm.write(f"{name}: {outcome.why}", file=sys.stderr)
        if self.lines:
            left = (time.monotonic() - self.started) / self.done * (self.total - self.done)
            print(f"{self.done}/{self.total} {name}: {outcome.state}, {outcome.seconds:.1f} s; "
                  f"{self.failed} failed, {duration(left)} left", flush=True)  # fmt: skip

    def running(self, number: int) -> None:
        """Show how many runs are at work now."""
        self.bar.set_postfix(running=number, failed=self.failed)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self.bar.close()


def duration(seconds: float) -> str:
    """Seconds in words: 40 s, 12 min, 3 h."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
