"""Keep the result of one run under a new name, with the files that the run wrote beside it."""

import itertools
import logging
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat

from mnist_nb.tools.runs import folders
from mnist_nb.tools.runs.failures import NotStarted, RunError
from mnist_nb.tools.runs.places import at, is_address, probe, reason, write_new

log = logging.getLogger("mnist_nb")


def new_names(folder: Path | str, name: str) -> Iterator[Path | str]:
    """Yield places for a new notebook `name` in `folder`: n.ipynb, n-2.ipynb, n-3.ipynb, ..."""
    for number in itertools.count(1):
        named = f"{name}-{number}.ipynb" if number > 1 else f"{name}.ipynb"
        yield at(folder, named) if is_address(folder) else folder / named


def try_to_write(notebook: Path, folder: Path | str) -> None:
    """Raise NotStarted before the run, not after it, if `folder` cannot take its result."""
    try:
        if is_address(folder):
            probe(folder)
            return
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(notebook.read_bytes())
    except Exception as error:  # each store has its own errors
        raise output_folder_error(folder, error) from error


def output_folder_error(folder: Path | str, error: Exception, but: str = "") -> RunError:
    """Return the error for an output folder that cannot be written."""
    kind = RunError if but else NotStarted
    return kind(
        f"the output folder {folder} cannot be written ({reason(error)}){but}; "
        "choose another with -o"
    )


def keep(unfinished: Path, folder: Path | str, name: str, own: Path | None = None) -> Path | str:
    """Move the result into `folder`, with a number added to `name` if that exists.

    What the run has written into its `own` folder goes beside it; an address does not take that.
    """
    for place in new_names(folder, name):
        if own and not is_address(folder) and folders.is_of_other(place, own):
            continue
        try:
            write_new(place, unfinished.read_bytes())
        except FileExistsError:
            continue
        except Exception as error:  # each store has its own errors
            raise output_folder_error(
                folder, error, f", so the result stays in {unfinished}"
            ) from error
        if own:
            _settle(own, place)
        if not (own and own.exists() and is_address(folder)):
            shutil.rmtree(unfinished.parent)
        return place
    raise AssertionError("there is always a next name")


def _settle(own: Path, place: Path | str) -> None:
    """Move what a run wrote beside its result; if that cannot be, warn where it stays."""
    if is_address(place):
        if not folders.remove_if_empty(own):
            log.warning("the files that the run has written stay in %s, as an address takes only "
                        "the notebook", own)  # fmt: skip
        return
    try:
        folders.settle(own, place)
    except OSError as error:
        log.warning("the files that the run has written stay in %s (%s)", own, reason(error))


def keep_incomplete(unfinished: Path, folder: Path | str, name: str, own: Path | None) -> str:
    """Keep the notebook of a run that ended early; return a clause that says where."""
    try:
        nbformat.read(unfinished, as_version=4)
    except Exception:  # papermill had not written it yet
        shutil.rmtree(unfinished.parent, ignore_errors=True)
        if own:
            folders.remove_if_empty(own)
        return "no output was written yet"
    try:
        return f"the notebook so far is kept as {keep(unfinished, folder, name, own)}"
    except RunError as error:
        return str(error)
