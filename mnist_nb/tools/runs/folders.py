"""Give each run a working folder of its own, and keep what it writes there beside its record.

The folder of `runs/a.ipynb` is `runs/a/`. `run` and `work` call these functions.
"""

import contextlib
import logging
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger("mnist_nb")


def folder_of(place: Path) -> Path:
    """Return the absolute path of the working folder of the run whose record is at `place`."""
    return place.absolute().with_name(place.name.removesuffix(".ipynb"))


def new_folder(places: Iterable[Path]) -> Path:
    """Make and return the folder of the first of `places` that has neither record nor folder.

    Raises:
        OSError: it cannot be made.
    """
    for place in places:
        if not place.exists():
            with contextlib.suppress(FileExistsError):
                folder_of(place).mkdir()
                return folder_of(place)


def make_empty(folder: Path) -> None:
    """Make `folder`, empty: what a killed run has left there is removed.

    Raises:
        OSError: that is not possible.
    """
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)


def is_of_other(place: Path, own: Path) -> bool:
    """Return whether a folder is there for `place` that is not `own`."""
    return folder_of(place) != own and folder_of(place).exists()


def settle(own: Path, place: Path) -> None:
    """Move the folder `own` of a run beside its record at `place`; remove it if it has no files.

    Raises:
        OSError: it cannot be moved, and stays where it is.
    """
    target = folder_of(place)
    if not remove_if_empty(own) and own != target:
        remove(target)
        shutil.move(own, target)


def remove_if_empty(folder: Path) -> bool:
    """Remove `folder` if there is no file in it or below; return whether that was so."""
    empty = not any(files for _, _, files in os.walk(folder))
    if empty:
        remove(folder)
    return empty


def remove(folder: Path) -> None:
    """Remove `folder` with all that is in it, as far as that is possible."""
    shutil.rmtree(folder, ignore_errors=True)


def warn_of_paths(rows: Iterable[Mapping[str, Any]]) -> None:
    """Warn, once for each, of values that name something here, as a run works elsewhere."""
    texts = {(k, str(v)) for row in rows for k, v in row.items() if isinstance(v, str | Path)}
    for name, text in sorted(texts):
        if text and not os.path.isabs(text) and os.path.exists(text):
            log.warning("%s is %r, and this folder has a file or folder of that name. If that is "
                        "meant, give its absolute path: each run works in a folder of its own, "
                        "where %r would not be found", name, text, text)  # fmt: skip


def hint(said: str, start: str) -> str:
    """Return what to do if an error `said` that a file is missing which `start` has, or ""."""
    if not re.search("FileNotFoundError|No such file|not found", said):
        return ""
    for quoted, word in re.findall(r"'([^'\n]+)'|(\S+)", said):
        name = quoted or word
        if not os.path.isabs(name) and os.path.exists(os.path.join(start, name)):
            return f"; {name} is in {start}: to run there, not in a new folder, add --cwd {start}"
    return ""
