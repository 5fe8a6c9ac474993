"""What one worker of a sweep does: one run, whose notebook is stored or else kept."""

import asyncio
import contextlib
import itertools
import json
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
from mnist_nb.tools.runs.identity import Run, not_its_record
from mnist_nb.tools.runs.run import RunError, execute, note_machine


class Outcome(NamedTuple):
    """How a run ended, after how long, and why if it is not "finished".

    "failed", "interrupted", "not stored" (the result is kept elsewhere), or "not here" (the
    cluster says that it is stored, and nothing is to be seen of it).
    """

    state: str
    seconds: float
    why: str = ""


class Place(NamedTuple):
    """Where the record of a run is, or goes: a path, or an address that papermill can write."""

    path: str
    seconds: float | None  # that the run took, None if it is still to be done
    older: str = ""  # why the record before this one does not count


def place_of(folder: str, run: Run, stem: str, dataset: tuple = (None,)) -> Place:
    """The place of `run` in `folder`: that of its record, else one that nothing has yet."""
    older = ""
    for number in itertools.count(1):
        name = f"{stem}-{number}.ipynb" if number > 1 else f"{stem}.ipynb"
        path = "/".join([folder.rstrip("/"), run.name, name])
        machine = _machine(path)
        if machine is None and (is_address(path) or not os.path.lexists(path)):
            return Place(path, None, older)
        try:
            older = not_its_record(run, machine, dataset)
        except (KeyError, TypeError, AttributeError):
            older = "it is not the record of a sweep"
        if not older:
            return Place(path, machine["wall_time_s"])


def is_address(place: str) -> bool:
    """Is `place` one that papermill writes to, rather than a path?"""
    return "://" in place


def seconds_taken(place: str, key: str) -> float | None:
    """How long the run took whose notebook is at `place`; None unless it is the run of `key`."""
    try:
        machine = _machine(place)
        return machine["wall_time_s"] if machine["sweep_key"] == key else None
    except (KeyError, TypeError):
        return None


def _machine(place: str) -> dict | None:
    """What is noted about its machine in the notebook at `place`; None if there is none."""
    try:
        if is_address(place):
            from papermill.iorw import papermill_io

            text = papermill_io.read(place)
        else:
            text = Path(place).read_text(encoding="utf-8")
        return json.loads(text)["metadata"]["mnist_nb"]
    except Exception:  # not there, not whole, not ours: each place has errors of its own
        return None


def do_run(
    text: str, stem: str, run: Run, place: str, cwd: str, room: str | None = None, mark: str = ""
) -> Outcome:
    """Execute one run on this worker; what it leaves stands at `place`, whole or not at all.

    A notebook that fails is kept beside, as `….failed.ipynb`. The work is done in a folder in
    `room`, else among the temporary files; what cannot be stored stays there. A worker that
    does not see the file `mark` is one that does not share the folder.
    """
    if (seconds := seconds_taken(place, run.key)) is not None:
        return Outcome("finished", seconds)  # by a worker that was lost before it could say so
    if not is_address(place) and (why := no_room(os.path.dirname(place), len(text), mark)):
        return Outcome("failed", 0, why)
    failed = place.removesuffix(".ipynb") + ".failed.ipynb"
    started = time.monotonic()
    with tempfile.TemporaryDirectory(
        prefix="mnist-nb-", dir=room, ignore_cleanup_errors=True
    ) as folder:
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
            if "failed: KeyboardInterrupt" in str(error) or asked_to_stop.is_set():
                return Outcome("interrupted", seconds, str(error))
            why = _stored(unfinished, failed) if unfinished.is_file() else ""
            why = why or f"the notebook so far is {failed}"
            return Outcome("failed", seconds, f"{error}; {why}")
        seconds = time.monotonic() - started
        try:
            note_machine(unfinished, seconds, sweep_key=run.key)
        except Exception as error:  # the run is done; without the note it would be done again
            why = _stored(unfinished, failed) or f"it is {failed}"
            return Outcome("not stored", seconds, f"nothing can be noted ({reason(error)}); {why}")
        if why := _stored(unfinished, place):
            return Outcome("not stored", seconds, why)
    if not is_address(failed):
        with contextlib.suppress(OSError):
            Path(failed).unlink(missing_ok=True)
    return Outcome("finished", seconds)


def no_room(folder: str, size: int, mark: str = "") -> str:
    """Try to write so many bytes into `folder` from here; why that fails, "" if it does not."""
    try:
        if is_address(folder):
            from papermill.iorw import papermill_io

            papermill_io.write("{}", f"{folder.rstrip('/')}/.sweep.json")
            return ""
        if mark and not os.path.isfile(mark):
            return f"{platform.node()} does not see the folder {os.path.dirname(mark)}"
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as room:
            room.write(bytes(size))
    except Exception as error:  # each place has errors of its own
        if not is_address(folder):
            with contextlib.suppress(OSError):
                os.rmdir(folder)  # if it is empty
        return f"{folder} cannot be written ({reason(error)})"
    return ""


def reason(error: BaseException) -> str:
    """Say in a few words what an error is."""
    return getattr(error, "strerror", None) or " ".join(f"{type(error).__name__}: {error}".split())


def _stored(notebook: Path, place: str) -> str:
    """Bring the file at `notebook` to its place; where it is kept if that fails, and why."""
    try:
        _put(notebook, place)
    except Exception as error:  # each place has errors of its own
        kept = Path(tempfile.mkdtemp(prefix="mnist-nb-"), notebook.name)
        shutil.move(notebook, kept)
        return f"{place} cannot be written ({reason(error)}), so it is {kept} on {platform.node()}"
    return ""


def _put(notebook: Path, place: str) -> None:
    """Write the file at `notebook` to its place."""
    if is_address(place):
        from papermill.iorw import papermill_io

        papermill_io.write(notebook.read_text(encoding="utf-8"), place)
    else:
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        write_whole(Path(place), notebook.read_bytes())
