"""Many runs at once: each one papermill run, on Dask's workers, here or on a cluster."""

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

from mnist_nb.files import cut
from mnist_nb.tools.endings import undisturbed
from mnist_nb.tools.runs.cluster import check_workers, cluster
from mnist_nb.tools.runs.declared import declared_parameters, word_reader
from mnist_nb.tools.runs.identity import Run, checked_runs
from mnist_nb.tools.runs.plans import SweepError, count, each_row
from mnist_nb.tools.runs.progress import Progress, duration, estimate, with_bar
from mnist_nb.tools.runs.run import output_folder_error, read_notebook
from mnist_nb.tools.runs.work import (
    Outcome,
    Place,
    do_run,
    is_address,
    no_room,
    place_of,
    reason,
    seconds_taken,
)

WAIT_FOR_WORKERS = 300  # seconds, with a cluster that has none
SEEN_WITHIN = 30  # seconds until a shared folder shows here what was written elsewhere


class Sweep(NamedTuple):
    """A notebook and its runs, all checked; those that `folder` does not hold yet are `left`."""

    notebook: Any
    stem: str
    folder: str
    runs: list[Run]
    places: dict[str, Place]  # by the runs' names
    left: list[Run]
    seconds: float | None  # that the ones left will take here, if that can be told


def prepare(path: Path, plan: Mapping[str, Any], folder: str) -> Sweep:
    """The sweep that `plan` (see `expand`) makes of the notebook at `path`; nothing is run.

    Raises:
        RunError: there is no notebook that can be read, or nothing can be written at an address.
        SweepError, ParameterError: see `each_row` and `checked_runs`.
    """
    notebook = read_notebook(path)
    rows = with_bar(each_row(plan, word_reader(notebook)), count(plan), "checked")
    runs = checked_runs(notebook, rows)
    if not is_address(folder):
        folder = os.path.abspath(folder)
    elif why := no_room(folder, 0):
        raise SweepError(f"{why}; correct it, or choose another folder with -o")
    stem = cut(path.stem, 200)
    defaults = {n: d.default for n, d in (declared_parameters(notebook) or {}).items()}
    places = {}
    for run in with_bar(runs, len(runs), "looked for"):
        values = defaults | run.values
        dataset = values.get("dataset"), values.get("data_dir")
        places[run.name] = place_of(folder, run, stem, dataset)
    left = [run for run in runs if places[run.name].seconds is None]
    known = [place.seconds for place in places.values() if place.seconds]
    return Sweep(notebook, stem, folder, runs, places, left, estimate(left, known, defaults))


def carry_out(
    sweep: Sweep, scheduler: str | None = None, quiet: bool = False
) -> Iterator[tuple[str, Outcome]]:
    """Do the runs that are left; the name of each and how it ended, as it ends.

    A run that fails is kept and does not stop the others. What a worker that died was doing
    is done again by another one. Unless `quiet`, progress is shown.

    Raises:
        SweepError: no cluster, one that is lost or has no workers, or none that can write into
            the folder, or another sweep is at work there.
        RunError: the folder cannot be written.
        KeyboardInterrupt: in one sentence, how many are done and how to go on.
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
                said = f"another sweep is at work in {sweep.folder}; wait for it"
                raise SweepError(said) from error
            except OSError as error:
                raise output_folder_error(sweep.folder, error) from error
        room = None
        if not scheduler:
            temporary = tempfile.TemporaryDirectory(prefix="mnist-nb-", ignore_cleanup_errors=True)
            room = stack.enter_context(temporary)
        in_peace = stack.enter_context(contextlib.ExitStack())
        client = stack.enter_context(cluster(scheduler, len(sweep.left), sweep.notebook))
        if scheduler:
            check_workers(client, sweep.folder, mark)
        progress = Progress(len(sweep.left), quiet)
        try:
            yield from _outcomes(client, sweep, (room, mark), progress)
        except KeyboardInterrupt:
            in_peace.enter_context(undisturbed())  # until the workers have ended
            progress.say("stopping; this takes a few seconds")
            raise KeyboardInterrupt(f"interrupted; {progress.so_far()}") from None


def _outcomes(
    client, sweep: Sweep, more: tuple, progress: Progress
) -> Iterator[tuple[str, Outcome]]:
    """Give (name, outcome) of each run, as it ends; `more` is what `do_run` takes last."""
    from distributed import wait

    submit = functools.partial(_submit, client, sweep, _bare(sweep.notebook), os.getcwd(), *more)
    waiting, unseen, futures = iter(sweep.left), [], {}
    have_patience = _patience(client, progress)
    try:
        while True:
            with _scheduler_lives(client, progress):
                threads = sum(client.nthreads().values())
                # a few for each worker: each one takes a copy of the notebook to the scheduler
                room = max(0, max(100, 4 * threads) - len(futures))
                futures |= {submit(run): run for run in itertools.islice(waiting, room)}
                if not futures:
                    break
                with contextlib.suppress(TimeoutError):
                    wait(list(futures), timeout=1, return_when="FIRST_COMPLETED")
                ended = {future: _outcome(future) for future in futures if future.done()}
            for future, outcome in ended.items():
                run = futures.pop(future)
                if outcome.state == "finished" and not _is_here(sweep, run):
                    unseen.append((run, outcome))
                    continue
                progress.ended(run.name, outcome)
                yield run.name, outcome
            progress.running(min(threads, len(futures)))
            have_patience(threads)
        for run, outcome in _looked_for(sweep, unseen):
            progress.ended(run.name, outcome)
            yield run.name, outcome
    finally:
        progress.close()
        with contextlib.suppress(Exception):  # of Dask, with a scheduler that is gone
            client.cancel(list(futures))


def _bare(notebook) -> str:
    """Return the text of `notebook` without its outputs."""
    bare = nbformat.from_dict(notebook)
    for cell in bare.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return nbformat.writes(bare)


def _submit(client, sweep: Sweep, text: str, cwd: str, room: str | None, mark: str, run: Run):
    """Return the future of one run, known by what it computes and where that goes."""
    place = sweep.places[run.name].path
    key = f"mnist-nb-{run.name}-{run.key}-{hashlib.sha256(place.encode()).hexdigest()}"
    return client.submit(
        do_run, text, sweep.stem, run, place, cwd, room, mark, key=key, pure=False
    )  # fmt: skip


def _outcome(future) -> Outcome:
    from distributed.client import FutureCancelledError

    try:
        return future.result()
    except FutureCancelledError:
        raise
    except Exception as error:  # of Dask, or of a disk for temporary files
        return Outcome("failed", 0, reason(error))


@contextlib.contextmanager
def _scheduler_lives(client, progress: Progress) -> Iterator[None]:
    """Raise a SweepError if what is inside fails because the scheduler is gone."""
    from distributed.client import FutureCancelledError, FuturesCancelledError

    try:
        yield
        lost = None
    except (FutureCancelledError, FuturesCancelledError) as error:  # we cancel none before the end
        lost = error
    except Exception as error:  # of Dask: it has many
        lost = error
        if client.status == "running" and not isinstance(error, OSError):  # a connection cut off
            raise
    if lost or client.status != "running":
        raise SweepError(f"Dask's scheduler is gone; {progress.so_far()}") from lost


def _patience(client, progress: Progress) -> Callable[[int], None]:
    """Return what is called again and again with a cluster's threads, and bears none a while."""
    hired, said = time.monotonic(), False

    def check(threads: int) -> None:
        nonlocal hired, said
        if threads:
            hired, said = time.monotonic(), False
            return
        alone = time.monotonic() - hired
        start_one = f"start one with `dask worker {client.scheduler.address}`"
        if alone > WAIT_FOR_WORKERS:
            raise SweepError(f"the cluster has no worker; {start_one}; {progress.so_far()}")
        if alone > 2 and not said:
            said = True
            left = duration(WAIT_FOR_WORKERS)
            progress.say(
                f"the cluster has no worker; waiting for one, {left} at most: {start_one}"
            )

    return check


def _looked_for(sweep: Sweep, unseen: list[tuple[Run, Outcome]]) -> Iterator[tuple[Run, Outcome]]:
    """Give the runs that are stored and not seen yet, with "not here" if that stays so a while."""
    deadline = time.monotonic() + SEEN_WITHIN
    for run, outcome in unseen:
        while not (seen := _is_here(sweep, run)) and time.monotonic() < deadline:
            time.sleep(0.2)
        if not seen:
            why = (
                "a worker stored it where this machine does not see it; give -o a folder that "
                "all share, or an address like s3://..."
            )
            outcome = Outcome("not here", outcome.seconds, why)
        yield run, outcome


def _is_here(sweep: Sweep, run: Run) -> bool:
    """Is what a worker says that it stored to be seen from this machine?"""
    place = sweep.places[run.name].path
    return is_address(place) or seconds_taken(place, run.key) is not None
