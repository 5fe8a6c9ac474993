"""Execute one run of a sweep on a worker, and store its notebook.

Dask calls `do_run` on its workers, and `cluster` calls `write_error` there.
"""

import asyncio
import contextlib
import os
import platform
import shutil
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import nbformat
from distributed import get_worker
from jupyter_core.utils import ensure_event_loop

from mnist_nb.files import write_whole
from mnist_nb.tools.endings import asked_to_stop
from mnist_nb.tools.new_files import write_new
from mnist_nb.tools.runs import folders
from mnist_nb.tools.runs.identity import Run, package_sha256
from mnist_nb.tools.runs.keeping import new_names
from mnist_nb.tools.runs.live import passed_on
from mnist_nb.tools.runs.lookup import seconds_taken
from mnist_nb.tools.runs.machine import note_machine
from mnist_nb.tools.runs.places import is_address, probe, reason, write
from mnist_nb.tools.runs.run import RunError, execute
from mnist_nb.tools.runs.watch import Watch, stoppable, was_stopped


class Outcome(NamedTuple):
    """How a run ended: its state, its seconds, and why, or "" if there is nothing to say.

    States: "finished" (`why` says if its files were not kept), "failed", "interrupted", "not
    stored" (the result is kept elsewhere), and "missing" (a worker has stored the result, but
    this machine cannot see the file).
    """

    state: str
    seconds: float
    why: str = ""


class How(NamedTuple):
    """How the runs of a sweep are done, besides their parameters.

    They work in `cwd`, or else in a folder each, may take `seconds`, and have the kernel called
    `kernel`, or their notebook's. Each worker computes on one of `cards`, which are named as in
    CUDA_VISIBLE_DEVICES. `sweep` names the sweep to `stop_runs`. `topic` is where Dask passes on
    what they print.
    """

    cwd: str | None = None
    seconds: float | None = None
    kernel: str | None = None
    cards: tuple[str, ...] = ()
    sweep: str = ""
    topic: str | None = None


AS_USUAL = How()


def do_run(
    text: str, stem: str, run: Run, place: str, start: str, temp: str | None = None,
    mark: str = "", how: How = AS_USUAL,
) -> Outcome:  # fmt: skip
    """Execute one run on this worker, and write its notebook to `place` atomically.

    A failed notebook goes next to it, as `….failed.ipynb`, and that of a run which was stopped as
    `….interrupted.ipynb`. `text` is the notebook to run, `start`
    the folder where the sweep was started, `temp` the folder for temporary files (None: the
    system's). A worker that cannot see the file `mark` does not share the output folder, and the
    run fails.
    """
    if (seconds := seconds_taken(place, run.key)) is not None:
        return Outcome("finished", seconds)  # by a worker that was lost before it could report
    if was_stopped(how.sweep):
        return Outcome("interrupted", 0)
    if not is_address(place) and (why := write_error(os.path.dirname(place), len(text), mark)):
        return Outcome("failed", 0, why)
    if _has_changed(run):
        return Outcome("failed", 0, f"mnist_nb on {platform.node()} differs from the sweep's; "
                       "install the same version there")  # fmt: skip
    if how.cwd and not os.path.isdir(how.cwd):
        return Outcome("failed", 0, f"{platform.node()} has no folder {how.cwd}; correct --cwd")
    if how.cards:  # a worker is called by its number, also when it is started again
        os.environ["CUDA_VISIBLE_DEVICES"] = how.cards[int(get_worker().name) % len(how.cards)]
    watch = Watch(how.seconds, passed_on(run.name, how.topic))
    with (
        stoppable(watch, how.sweep),
        tempfile.TemporaryDirectory(
            prefix="mnist-nb-", dir=temp, ignore_cleanup_errors=True
        ) as folder,
    ):
        notebook, unfinished = Path(folder, "in.ipynb"), Path(folder, f"{stem}.ipynb")
        notebook.write_text(text, encoding="utf-8")
        own = None
        if not how.cwd:
            own = Path(folder, "files") if is_address(place) else folders.folder_of(Path(place))
            try:
                folders.make_empty(own)
            except OSError as error:
                return Outcome("failed", 0, f"{own} cannot be written ({reason(error)})")
        where = {"folder": how.cwd or str(own), "start": own and start}
        started = time.monotonic()
        try:
            # Jupyter would leave closing its event loop to the garbage collector, which may
            # close the loop's sockets first and so cause a traceback.
            with asyncio.Runner(loop_factory=ensure_event_loop):
                kind = {"quiet": True, "kernel": how.kernel, "watch": watch}
                execute(notebook, unfinished, run.values, **kind, **where)
        except RunError as error:
            seconds = time.monotonic() - started
            if _was_interrupted(error, how):
                watch.kept = _keep_interrupted(unfinished, place, own)
                return Outcome("interrupted", seconds, str(error))
            return Outcome("failed", seconds, f"{error}; {_keep_failed(unfinished, place, own)}")
        return _store(unfinished, run, place, own, stem, time.monotonic() - started)


def _was_interrupted(error: RunError, how: How) -> bool:
    by_key = "failed: KeyboardInterrupt" in str(error)
    return by_key or asked_to_stop.is_set() or was_stopped(how.sweep)


def _keep_failed(unfinished: Path, place: str, own: Path | None) -> str:
    """Keep the notebook of a failed run and what is in its folder; say where the notebook is."""
    if not unfinished.is_file():
        return "no output was written yet"
    failed = f"{place.removesuffix('.ipynb')}.failed.ipynb"
    why = _store_or_keep(unfinished, failed)
    if own and not is_address(place):
        with contextlib.suppress(OSError):  # it then stays where it is
            folders.settle(own, Path(failed))
    return why or f"the notebook so far is kept as {failed}"


def _keep_interrupted(unfinished: Path, place: str, own: Path | None) -> str:
    """Keep the notebook of a run that was stopped, and its files; return where, or "".

    Earlier ones stay, as after the command `run`. If no cell has begun, leave no folder.
    """
    if not _has_begun(unfinished):
        if own and folders.remove_if_empty(own) and not is_address(place):
            with contextlib.suppress(OSError):  # it has another file
                os.rmdir(os.path.dirname(place))
        return ""
    name = f"{place.removesuffix('.ipynb')}.interrupted"
    if is_address(place):
        return _store_or_keep(unfinished, f"{name}.ipynb") or f"{name}.ipynb"
    kept = next(p for p in new_names(Path(name).parent, Path(name).name)
                if not (p.exists() or folders.folder_of(p).exists()))  # fmt: skip
    why = _store_or_keep(unfinished, str(kept))
    if own:
        with contextlib.suppress(OSError):  # it then stays where it is
            folders.settle(own, kept)
    return why or str(kept)


def _has_begun(unfinished: Path) -> bool:
    """Return whether a cell of the notebook `unfinished` has begun."""
    try:
        cells = nbformat.read(unfinished, as_version=4).cells
    except Exception:  # papermill had not written it yet
        return False
    return any(cell.get("execution_count") for cell in cells)


def _store(
    unfinished: Path, run: Run, place: str, own: Path | None, stem: str, seconds: float
) -> Outcome:
    """Store the notebook of a run that has reached its end; return the outcome."""
    if _has_changed(run):
        why = _keep_failed(unfinished, place, own)
        return Outcome("not stored", seconds, f"mnist_nb has changed during the run; {why}")
    try:
        note_machine(
            unfinished, seconds, run.made_from.get("kernel"), sweep_key=run.key,
            sweep_notebook=stem, sweep_made_from=run.made_from,
        )  # fmt: skip
    except Exception as error:  # without its metadata, a sweep would repeat the run
        why = _keep_failed(unfinished, place, own)
        return Outcome("not stored", seconds, f"cannot add metadata ({reason(error)}); {why}")
    if why := _store_or_keep(unfinished, place, new=True):
        return Outcome("not stored", seconds, why)
    empty = own is None or folders.remove_if_empty(own)
    if is_address(place):
        lost = "" if empty else f"the files that it wrote are not kept, as {place} takes only the "
        return Outcome("finished", seconds, lost and f"{lost}notebook; with -o, name a folder")
    failed = Path(f"{place.removesuffix('.ipynb')}.failed.ipynb")
    with contextlib.suppress(OSError):
        failed.unlink(missing_ok=True)
    folders.remove(folders.folder_of(failed))
    return Outcome("finished", seconds)


def _has_changed(run: Run) -> bool:
    """Return whether mnist_nb here differs from the one that the sweep was planned with."""
    return run.made_from["package"] not in (None, package_sha256())


def write_error(folder: str, size: int, mark: str = "") -> str:
    """Try to write `size` bytes into `folder`; return why that fails, or "".

    At an address, write a small file instead, `.sweep.json`, which stays there.
    """
    try:
        if is_address(folder):
            probe(folder)
            return ""
        if mark and not os.path.isfile(mark):
            return f"{platform.node()} does not see the folder {os.path.dirname(mark)}"
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(size))
    except Exception as error:  # each store has its own errors
        if not is_address(folder):
            with contextlib.suppress(OSError):
                os.rmdir(folder)  # if it is empty
        return f"{folder} cannot be written ({reason(error)})"
    return ""


def _store_or_keep(notebook: Path, place: str, new: bool = False) -> str:
    """Write the file `notebook` to `place`; if that fails, keep it and return where and why.

    With `new`, it fails if there is a file already; at an address, that is replaced all the same.
    """
    try:
        _write(notebook, place, new)
    except Exception as error:  # each store has its own errors
        kept = Path(tempfile.mkdtemp(prefix="mnist-nb-"), notebook.name)
        shutil.move(notebook, kept)
        return f"{place} cannot be written ({reason(error)}); kept as {kept} on {platform.node()}"
    return ""


def _write(notebook: Path, place: str, new: bool) -> None:
    """Write the file `notebook` to `place`; see `_store_or_keep`."""
    if is_address(place):
        write(notebook.read_text(encoding="utf-8"), place)
    else:
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        (write_new if new else write_whole)(Path(place), notebook.read_bytes())
