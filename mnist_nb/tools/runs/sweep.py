"""Run a sweep, many runs of one notebook, on Dask workers: call `prepare`, then `carry_out`."""

import contextlib
import functools
import hashlib
import os
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
from filelock import FileLock, Timeout

from mnist_nb.tools.endings import ignore_stop_signals
from mnist_nb.tools.runs.cluster import check_workers, cluster
from mnist_nb.tools.runs.declared import defaults_of
from mnist_nb.tools.runs.folders import folder_of, remove_if_empty, warn_of_paths
from mnist_nb.tools.runs.given import word_reader
from mnist_nb.tools.runs.identity import Run, checked_runs, cut, folder_reader
from mnist_nb.tools.runs.keeping import output_folder_error
from mnist_nb.tools.runs.languages import foreign_kernel
from mnist_nb.tools.runs.live import listen
from mnist_nb.tools.runs.lookup import Place, folders_in, place_of
from mnist_nb.tools.runs.outcomes import outcomes
from mnist_nb.tools.runs.places import is_address
from mnist_nb.tools.runs.plans import SweepError, count, each_row, names_in
from mnist_nb.tools.runs.progress import Progress, estimate, with_progress_bar
from mnist_nb.tools.runs.reads import check_read
from mnist_nb.tools.runs.run import read_notebook
from mnist_nb.tools.runs.watch import stop_runs
from mnist_nb.tools.runs.work import AS_USUAL, How, Outcome, do_run, write_error
from mnist_nb.tools.runs.workers import check_environments, check_rows


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
    path: Path, plan: Mapping[str, Any], folder: str, again: bool = False,
    look_only: bool = False, insist: bool = False, elsewhere: bool = False,
    kernel: str | None = None,
) -> Sweep:  # fmt: skip
    """Check the runs that `plan` (see `each_row`) describes, and find those already stored.

    With `again`, all are to do. With `look_only`, nothing is written to an address. With `insist`,
    a parameter is accepted even if no cell reads it. With `elsewhere`, runs may need what this
    machine lacks.
    `kernel` replaces the one that the notebook would run with.

    Raises:
        NotStarted, KernelError: the notebook, or a record at an address, cannot be read; its
            kernel is not installed.
        SweepError, ParameterError: see `each_row`, `check_read` and `checked_runs`; or `folder` is
            an address that cannot be written.
    """
    notebook = read_notebook(path)
    foreign_kernel(notebook, kernel)
    check_read(notebook, names_in(plan), insist)
    rows = with_progress_bar(each_row(plan, word_reader(notebook)), count(plan), "checked")
    runs = checked_runs(notebook, rows, path.parent, elsewhere, kernel)
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
    said, folders, places = folder_reader(sweep.notebook), {}, {}
    for name in folders_in(sweep.folder):
        folders.setdefault(said(name), []).append(name)
    for run in with_progress_bar(sweep.left, len(sweep.left), "looked up"):
        names = folders.get(said(run.name), [])
        places[run.name] = place_of(sweep.folder, run, sweep.stem, names, sweep.again)
    left = [run for run in sweep.left if places[run.name].seconds is None]
    return sweep._replace(places=sweep.places | places, left=left)


def carry_out(
    sweep: Sweep, scheduler: str | None = None, quiet: bool = False, jobs: int | None = None,
    retries: int = 0, how: How = AS_USUAL,
) -> Iterator[tuple[str, Outcome]]:  # fmt: skip
    """Execute the runs that are left; yield the name and outcome of each as it ends.

    A failed run is kept and does not stop the others; it is tried again up to `retries` times. If
    a worker dies, another one repeats its run. Without `scheduler`, at most `jobs` runs, or one
    per core, run at the same time. Unless `quiet`, show progress.

    Raises:
        SweepError: the cluster cannot be reached, a worker cannot do the runs, or another sweep is
            using the folder.
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
        if not how.cwd:
            warn_of_paths(run.values for run in sweep.left)
        temp = None
        if not scheduler:
            temporary = tempfile.TemporaryDirectory(prefix="mnist-nb-", ignore_cleanup_errors=True)
            temp = stack.enter_context(temporary)
        while_stopping = stack.enter_context(contextlib.ExitStack())
        client = stack.enter_context(cluster(scheduler, jobs, len(sweep.left), sweep.notebook))
        progress = Progress(len(sweep.left), quiet, sweep.again)
        how = how._replace(sweep=uuid.uuid4().hex)
        if scheduler:
            check_workers(client, sweep.folder, mark)
            check_environments(client)
            check_rows(client, sweep.notebook, sweep.left)
            progress.note_dashboard(client)
        if progress.live:
            how = how._replace(topic=f"mnist-nb-{how.sweep}")
            listen(client, how.topic, progress.said)
        fixed = _without_outputs(sweep.notebook), os.getcwd(), temp, mark, how
        submit = functools.partial(_submit, client, sweep, *fixed)
        try:
            yield from outcomes(client, sweep.left, sweep.places, submit, retries, progress)
        except KeyboardInterrupt:
            while_stopping.enter_context(ignore_stop_signals())  # until the workers have ended
            if not (scheduler or how.cwd or is_address(sweep.folder)):
                while_stopping.callback(_remove_empty_folders, sweep)
            progress.say("stopping: this takes a few seconds, or longer on a busy machine")
            kept: list[str] = []
            with contextlib.suppress(Exception):  # Dask's, if the scheduler is gone
                answers = client.run(stop_runs, how.sweep, on_error="return").values()
                kept = [place for a in answers if isinstance(a, list) for place in a]
            raise KeyboardInterrupt(f"interrupted; {progress.so_far(kept)}") from None


def _remove_empty_folders(sweep: Sweep) -> None:
    """Remove the folders of runs that were stopped while their kernel was starting."""
    for run in sweep.left:
        place = Path(sweep.places[run.name].path)
        remove_if_empty(folder_of(place))
        with contextlib.suppress(OSError):  # it has a file, or is not there
            place.parent.rmdir()


def _without_outputs(notebook) -> str:
    """Return the text of `notebook` without its outputs."""
    bare = nbformat.from_dict(notebook)
    for cell in bare.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return nbformat.writes(bare)


def _submit(
    client, sweep: Sweep, text: str, start: str, temp: str | None, mark: str, how: How, run: Run,
    number: int,
):  # fmt: skip
    """Submit one run; its key depends on what it computes, where the result goes, and `number`."""
    place = sweep.places[run.name].path
    where = hashlib.sha256(f"{place}-{number}".encode()).hexdigest()
    return client.submit(
        do_run, text, sweep.stem, run, place, start, temp, mark, how,
        key=f"mnist-nb-{run.name}-{run.key}-{where}", pure=False,
    )  # fmt: skip
