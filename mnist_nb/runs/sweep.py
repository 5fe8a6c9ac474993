"""Many runs at once: each one papermill run, on Dask's workers, here or on a cluster."""

import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import nbformat
from filelock import FileLock, Timeout
from tqdm import tqdm

from mnist_nb.files import write_whole
from mnist_nb.runs.plans import Run, SweepError
from mnist_nb.runs.run import RunError, execute, no_place, note_machine

ROUTES = "distributed.scheduler.http.routes", "distributed.worker.http.routes"
PER_STEP, PER_RUN = 0.0006, 5.0  # seconds: a batch, and what a run costs beyond its batches


class Outcome(NamedTuple):
    """How a run ended: "finished", "failed" or "interrupted", after how long, and why."""

    state: str
    seconds: float
    why: str = ""


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
def cluster(scheduler: str | None) -> Iterator:
    """A Dask client of the cluster at the address, or of one made here, a process per core.

    The one made here listens on loopback, and speaks only with who has its own fresh keys.

    Raises:
        SweepError: nothing answers at the address.
    """
    import dask
    from distributed import Client, LocalCluster, Security

    if scheduler:
        try:
            client = Client(scheduler, timeout="10s")
        except (OSError, ValueError, TypeError, ImportError) as error:
            raise SweepError(f"no Dask scheduler answers at {scheduler} ({error})") from error
        with client:
            yield client
        return
    scratch = tempfile.mkdtemp(prefix="mnist-nb-dask-")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is ours, not the workers'
    try:
        with dask.config.set({key: [] for key in ROUTES}):  # no page that anyone could open
            local = LocalCluster(
                n_workers=cores(), threads_per_worker=1, host="127.0.0.1", memory_limit=0,
                dashboard_address="127.0.0.1:0", local_directory=scratch, silence_logs="CRITICAL",
                security=Security.temporary(),
            )  # fmt: skip
        signal.signal(signal.SIGINT, before)
        with local, Client(local) as client:
            yield client
    finally:
        signal.signal(signal.SIGINT, before)
        shutil.rmtree(scratch, ignore_errors=True)


def sweep(
    notebook, stem: str, runs: list[Run], folder: str, scheduler: str | None = None
) -> dict[str, Outcome]:
    """Do the `runs` of `notebook` that `folder` does not hold yet; how each ended, by name.

    A run that fails is kept and does not stop the others. What a worker that died was doing
    is done again by another one.

    Raises:
        SweepError: no cluster, or another sweep is at work in the folder.
        RunError: the folder cannot be written.
        KeyboardInterrupt: in one sentence, how many are done and how to go on.
    """
    with contextlib.ExitStack() as stack:
        if not _is_address(folder):
            folder = os.path.abspath(folder)
            try:
                os.makedirs(folder, exist_ok=True)
                stack.enter_context(FileLock(Path(folder, ".sweep.lock"), timeout=0))
            except Timeout as error:
                raise SweepError(f"another sweep is at work in {folder}; wait for it") from error
            except OSError as error:
                raise no_place(folder, error) from error
        client = stack.enter_context(cluster(scheduler))
        outcomes: dict[str, Outcome] = {}
        try:
            for name, outcome in _outcomes(client, notebook, stem, runs, folder):
                outcomes[name] = outcome
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"interrupted; {len(outcomes)} of {len(runs)} runs had ended, and what is "
                "finished is kept: the same command goes on with the rest"
            ) from None
    return outcomes


def _outcomes(client, notebook, stem, runs, folder) -> Iterator[tuple[str, Outcome]]:
    """(name, outcome) of each run, as it ends, with progress to stderr."""
    from distributed import wait

    bare = nbformat.from_dict(notebook)
    for cell in bare.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    text = nbformat.writes(bare)
    futures = {
        client.submit(do_run, text, stem, run, place_of(folder, run, stem), os.getcwd(),
                      key=f"mnist-nb-{run.name}-{run.key}", pure=False): run
        for run in runs
    }  # fmt: skip
    bar = tqdm(total=len(runs), desc="runs", disable=None)
    left, failed, started = set(futures), 0, time.monotonic()
    try:
        while left:
            with contextlib.suppress(TimeoutError):
                wait(list(left), timeout=1, return_when="FIRST_COMPLETED")
            for future in [future for future in left if future.done()]:
                left.remove(future)
                run, outcome = futures[future], _outcome(future)
                failed += outcome.state != "finished"
                bar.update()
                done = len(runs) - len(left)
                each = (time.monotonic() - started) / done
                line = f"{done}/{len(runs)} {run.name}: {outcome.state}, {outcome.seconds:.1f} s"
                if outcome.why:
                    tqdm.write(f"{run.name}: {outcome.why}", file=sys.stderr)
                if bar.disable:
                    print(f"{line}; {failed} failed, {duration(each * len(left))} left",
                          flush=True)  # fmt: skip
                yield run.name, outcome
            workers = sum(client.nthreads().values()) if not bar.disable else 0
            bar.set_postfix(running=min(workers, len(left)), failed=failed)
    finally:
        bar.close()
        client.cancel(list(left))


def _outcome(future) -> Outcome:
    try:
        return future.result()
    except Exception as error:  # of Dask, or of the place where results go
        return Outcome("failed", 0, " ".join(f"{type(error).__name__}: {error}".split()))


def duration(seconds: float) -> str:
    """Seconds in words: 40 s, 12 min, 3 h."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
