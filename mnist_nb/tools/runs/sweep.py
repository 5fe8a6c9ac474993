"""Run a sweep, many runs of one notebook, on Dask workers: call `prepare`, then `carry_out`."""

import contextlib
import functools
import hashlib
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
from filelock import FileLock, Timeout

from mnist_nb.tools.endings import ignore_stop_signals
from mnist_nb.tools.runs.cluster import check_workers, cluster, scheduler_lives
from mnist_nb.tools.runs.declared import word_reader
from mnist_nb.tools.runs.identity import Run, checked_runs, cut, defaults_of, name_parts
from mnist_nb.tools.runs.places import (
    Place,
    folders_in,
    is_address,
    place_of,
    reason,
    seconds_taken,
)
from mnist_nb.tools.runs.plans import RunsFailed, SweepError, count, each_row
from mnist_nb.tools.runs.progress import Progress, duration, estimate, with_progress_bar
from mnist_nb.tools.runs.run import output_folder_error, read_notebook
from mnist_nb.tools.runs.work import Outcome, do_run, write_error

WAIT_FOR_WORKERS = 300  # seconds that a cluster may have no workers
VISIBLE_WITHIN = 30  # seconds until a file from another machine appears in a shared folder


class Sweep(NamedTuple):
    """A notebook and its checked runs; `left` are those not stored in `folder` yet."""

    notebook: Any
    stem: str
    folder: str
    runs: list[Run]
    places: dict[str, Place]  # by run name
    left: list[Run]
    seconds: float | None  # estimate for the runs left, if possible
    again: bool  # do the stored ones, too


def prepare(
    path: Path, plan: Mapping[str, Any], folder: str, again: bool = False, look_only: bool = False
) -> Sweep:
    """Check the runs that `plan` (see `each_row`) describes, and find those already stored.

    With `again`, all are to do. With `look_only`, nothing is written to an address.

    Raises:
        NotStarted: the notebook, or a record at an address, cannot be read.
        SweepError, ParameterError: see `each_row` and `checked_runs`; or `folder` is an address
            that cannot be written.
    """
    notebook = read_notebook(path)
    rows = with_progress_bar(each_row(plan, word_reader(notebook)), count(plan), "checked")
    runs = checked_runs(notebook, rows, path.parent)
    if not is_address(folder):
        folder = os.path.abspath(folder)
    elif not look_only and (why := write_error(folder, 0)):
        raise SweepError(f"{why}; choose another folder with -o")
    stem = cut(path.stem, 200)
    sweep = _look_up(Sweep(notebook, stem, folder, runs, {}, runs, None, again))
    known = [place.seconds for place in sweep.places.values() if place.seconds]
    return sweep._replace(seconds=estimate(sweep.left, known, defaults_of(notebook)))


def _look_up(sweep: Sweep) -> Sweep:
    """Return `sweep` with the places of the runs in `left`, and `left` without finished ones."""
    defaults, named = defaults_of(sweep.notebook), {}
    for name in folders_in(sweep.folder):
        named.setdefault(name_parts(name, defaults), []).append(name)
    places = {}
    for run in with_progress_bar(sweep.left, len(sweep.left), "looked up"):
        names = named.get(name_parts(run.name, defaults), [])
        places[run.name] = place_of(sweep.folder, run, sweep.stem, names, sweep.again)
    left = [run for run in sweep.left if places[run.name].seconds is None]
    return sweep._replace(places=sweep.places | places, left=left)


def carry_out(
    sweep: Sweep, scheduler: str | None = None, quiet: bool = False
) -> Iterator[tuple[str, Outcome]]:
    """Execute the runs that are left; yield the name and outcome of each as it ends.

    A failed run is kept and does not stop the others. If a worker dies, another one repeats its
    run. Unless `quiet`, show progress.

    Raises:
        SweepError: the cluster cannot be reached, a worker cannot write into the folder, or
            another sweep is using the folder.
        NotStarted: the folder cannot be written.
        RunsFailed: the cluster is lost, or gets no workers.
        KeyboardInterrupt: the message says how many runs are done and how to resume.
    """
    with contextlib.ExitStack() as stack:
        mark = ""
        if not is_address(sweep.folder):
            try:
                os.makedirs(sweep.folder, exist_ok=True)
                stack.enter_context(FileLock(Path(sweep.folder, ".sweep.lock"), timeout=0))
                marked = tempfile.NamedTemporaryFile(prefix=".sweep-", dir=sweep.folder)  # noqa: SIM115
                mark = stack.enter_context(marked).name
            except Timeout as error:
                said = f"another sweep is running in {sweep.folder}; wait until it has ended"
                raise SweepError(said) from error
            except OSError as error:
                raise output_folder_error(sweep.folder, error) from error
        sweep = _look_up(sweep)  # another sweep may have ended here since
        if not sweep.left:
            return
        temp = None
        if not scheduler:
            temporary = tempfile.TemporaryDirectory(prefix="mnist-nb-", ignore_cleanup_errors=True)
            temp = stack.enter_context(temporary)
        while_stopping = stack.enter_context(contextlib.ExitStack())
        client = stack.enter_context(cluster(scheduler, len(sweep.left), sweep.notebook))
        if scheduler:
            check_workers(client, sweep.folder, mark)
        progress = Progress(len(sweep.left), quiet)
        try:
            yield from _outcomes(client, sweep, (temp, mark), progress)
        except KeyboardInterrupt:
            while_stopping.enter_context(ignore_stop_signals())  # until the workers have ended
            progress.say("stopping, which takes a few seconds")
            raise KeyboardInterrupt(f"interrupted; {progress.so_far()}") from None


def _outcomes(
    client, sweep: Sweep, more: tuple, progress: Progress
) -> Iterator[tuple[str, Outcome]]:
    """Yield (name, outcome) of each run as it ends; `more` is (temp, mark), as in `do_run`."""
    from distributed import wait

    text = _without_outputs(sweep.notebook)
    submit = functools.partial(_submit, client, sweep, text, os.getcwd(), *more)
    waiting, late, futures = iter(sweep.left), [], {}
    check_workers_left = _worker_check(client, progress)
    try:
        while True:
            with scheduler_lives(client, progress):
                threads = sum(client.nthreads().values())
                # not all at once, as each sends a copy of the notebook to the scheduler
                free = max(0, max(100, 4 * threads) - len(futures))
                futures |= {submit(run): run for run in itertools.islice(waiting, free)}
                if not futures:
                    break
                with contextlib.suppress(TimeoutError):
                    wait(list(futures), timeout=1, return_when="FIRST_COMPLETED")
                ended = {future: _outcome(future) for future in futures if future.done()}
            for future, outcome in ended.items():
                run = futures.pop(future)
                if outcome.state == "finished" and not _is_visible(sweep, run):
                    late.append((run, outcome))
                    continue
                progress.ended(run.name, outcome)
                yield run.name, outcome
            progress.running(min(threads, len(futures)))
            check_workers_left(threads)
        for run, outcome in _await_files(sweep, late):
            progress.ended(run.name, outcome)
            yield run.name, outcome
    finally:
        progress.close()
        with contextlib.suppress(Exception):  # Dask's, if the scheduler is gone
            client.cancel(list(futures))


def _without_outputs(notebook) -> str:
    """Return the text of `notebook` without its outputs."""
    bare = nbformat.from_dict(notebook)
    for cell in bare.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return nbformat.writes(bare)


def _submit(client, sweep: Sweep, text: str, cwd: str, temp: str | None, mark: str, run: Run):
    """Submit one run; its key depends on what it computes and where the result goes."""
    place = sweep.places[run.name].path
    key = f"mnist-nb-{run.name}-{run.key}-{hashlib.sha256(place.encode()).hexdigest()}"
    return client.submit(
        do_run, text, sweep.stem, run, place, cwd, temp, mark, key=key, pure=False
    )  # fmt: skip


def _outcome(future) -> Outcome:
    from distributed.client import FutureCancelledError

    try:
        return future.result()
    except FutureCancelledError:
        raise
    except Exception as error:  # from Dask, or no space for temporary files
        return Outcome("failed", 0, reason(error))


def _worker_check(client, progress: Progress) -> Callable[[int], None]:
    """Return a function that takes the number of threads; SweepError if that stays 0 too long."""
    hired, said = time.monotonic(), False

    def check(threads: int) -> None:
        nonlocal hired, said
        if threads:
            hired, said = time.monotonic(), False
            return
        alone = time.monotonic() - hired
        start_one = f"start one with `dask worker {client.scheduler.address}`"
        if alone > WAIT_FOR_WORKERS:
            raise RunsFailed(f"the cluster has no worker; {start_one}; {progress.so_far()}")
        if alone > 2 and not said:
            said = True
            left = duration(WAIT_FOR_WORKERS)
            progress.say(f"the cluster has no worker; waiting up to {left} for one: {start_one}")

    return check


def _await_files(sweep: Sweep, late: list[tuple[Run, Outcome]]) -> Iterator[tuple[Run, Outcome]]:
    """Wait for stored notebooks to appear; yield their outcomes, or "missing" if they do not."""
    deadline = time.monotonic() + VISIBLE_WITHIN
    for run, outcome in late:
        while not (seen := _is_visible(sweep, run)) and time.monotonic() < deadline:
            time.sleep(0.2)
        if not seen:
            why = (
                "a worker stored it where this machine does not see it; with -o, name a folder "
                "that all share, or an address like s3://..."
            )
            outcome = Outcome("missing", outcome.seconds, why)
        yield run, outcome


def _is_visible(sweep: Sweep, run: Run) -> bool:
    """Return whether this machine sees the notebook that a worker has stored."""
    place = sweep.places[run.name].path
    return is_address(place) or seconds_taken(place, run.key) is not None
