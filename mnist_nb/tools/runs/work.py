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

from jupyter_core.utils import ensure_event_loop

from mnist_nb.files import write_whole
from mnist_nb.tools.endings import asked_to_stop
from mnist_nb.tools.runs.identity import Run, package_sha256
from mnist_nb.tools.runs.machine import note_machine
from mnist_nb.tools.runs.places import is_address, reason, seconds_taken
from mnist_nb.tools.runs.run import RunError, execute


class Outcome(NamedTuple):
    """How a run ended: its state, its seconds, and the reason unless it is "finished".

    Other states: "failed", "interrupted", "not stored" (the result is kept elsewhere), and
    "missing" (a worker has stored the result, but this machine cannot see the file).
    """

    state: str
    seconds: float
    why: str = ""


def do_run(
    text: str, stem: str, run: Run, place: str, cwd: str, temp: str | None = None, mark: str = ""
) -> Outcome:
    """Execute one run on this worker, and write its notebook to `place` atomically.

    A failed notebook goes next to it, as `….failed.ipynb`. `text` is the notebook to run, `cwd`
    its working folder, `temp` the folder for temporary files (None: the system's). A worker
    that cannot see the file `mark` does not share the output folder, and the run fails.
    """
    if (seconds := seconds_taken(place, run.key)) is not None:
        return Outcome("finished", seconds)  # by a worker that was lost before it could report
    if not is_address(place) and (why := write_error(os.path.dirname(place), len(text), mark)):
        return Outcome("failed", 0, why)
    if _has_changed(run):
        return Outcome("failed", 0, f"mnist_nb on {platform.node()} differs from the sweep's; "
                       "install the same version there")  # fmt: skip
    failed = place.removesuffix(".ipynb") + ".failed.ipynb"
    started = time.monotonic()
    with tempfile.TemporaryDirectory(
        prefix="mnist-nb-", dir=temp, ignore_cleanup_errors=True
    ) as folder:
        notebook, unfinished = Path(folder, "in.ipynb"), Path(folder, f"{stem}.ipynb")
        notebook.write_text(text, encoding="utf-8")
        more = {"cwd": cwd} if os.path.isdir(cwd) else {}
        try:
            # Jupyter would leave closing its event loop to the garbage collector, which may
            # close the loop's sockets first and so cause a traceback.
            with asyncio.Runner(loop_factory=ensure_event_loop):
                execute(notebook, unfinished, run.values, quiet=True, **more)
        except RunError as error:
            seconds = time.monotonic() - started
            if "failed: KeyboardInterrupt" in str(error) or asked_to_stop.is_set():
                return Outcome("interrupted", seconds, str(error))
            kept = unfinished.is_file()
            why = _store_or_keep(unfinished, failed) if kept else "no output was written yet"
            why = why or f"the notebook so far is kept as {failed}"
            return Outcome("failed", seconds, f"{error}; {why}")
        seconds = time.monotonic() - started
        if _has_changed(run):
            why = _store_or_keep(unfinished, failed) or f"kept as {failed}"
            return Outcome("not stored", seconds, f"mnist_nb has changed during the run; {why}")
        try:
            note_machine(
                unfinished, seconds, sweep_key=run.key, sweep_notebook=stem,
                sweep_made_from=run.made_from,
            )  # fmt: skip
        except Exception as error:  # without its metadata, a sweep would repeat the run
            why = _store_or_keep(unfinished, failed) or f"kept as {failed}"
            return Outcome("not stored", seconds, f"cannot add metadata ({reason(error)}); {why}")
        if why := _store_or_keep(unfinished, place, new=True):
            return Outcome("not stored", seconds, why)
    if not is_address(failed):
        with contextlib.suppress(OSError):
            Path(failed).unlink(missing_ok=True)
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
            from papermill.iorw import papermill_io

            papermill_io.write("{}", f"{folder.rstrip('/')}/.sweep.json")
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

    With `new`, it fails if there is a file already.
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
        from papermill.iorw import papermill_io

        papermill_io.write(notebook.read_text(encoding="utf-8"), place)
    else:
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        write_whole(Path(place), notebook.read_bytes(), new)
