"""Find what each learner handed in, whatever the files are called, by what is inside.

`grading` calls `matched` for the notebooks of one of the learners that `entries` found.
"""

import io
import os
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from nbformat import NotebookNode

from mnist_nb.tools.classroom.cells import (
    Cell,
    NotebookError,
    is_solution,
    name_of,
    read_cells,
    recognised,
    same,
)
from mnist_nb.tools.classroom.entries import MOST, Source, is_ignored, named

LARGEST = 100_000_000  # bytes of a notebook, and of all files in a zip together
_PACKED = (".rar", ".7z", ".tar", ".gz", ".tgz", ".bz2", ".xz")
_OTHERS = (".zip", ".pdf", ".html", ".docx")  # what learners send in place of a notebook


class HandedIn(NamedTuple):
    """The cells that count for an exercise, or None, and what there is to say about them."""

    cells: list[Cell] | None
    remarks: list[str]


class _File(NamedTuple):
    """A file as the learner knows it, and how it is read; or why it cannot be.

    A file with `behind` counts for an exercise only if the learner has no other file for it.
    """

    label: str
    read: Callable[[], bytes] | None = None
    why: str = ""
    behind: bool = False


def files(sources: list[Source]) -> Iterator[_File]:
    """Yield the files of a learner, those in zips and folders included."""
    room = [LARGEST]  # bytes of zips in zips that may still be unpacked
    for source in sources:
        if source.refused:
            continue
        if not source.path.is_dir():
            label = named(source.path.name)[1] or source.path.name
            file = _read(source.path, label)._replace(behind=source.behind)
            yield from _opened(file, room, {*source.members})
            continue
        for folder, folders, names in os.walk(source.path):
            folders[:] = sorted(f for f in folders if not f.startswith(".") and f != "__MACOSX")
            for name in sorted(names, key=os.fsencode):
                path = Path(folder, name)
                if not name.startswith(".") and path.is_file() and not path.is_symlink():
                    yield from _opened(_read(path, str(path.relative_to(source.path))), room)


def _read(path: Path, label: str) -> _File:
    if (size := path.stat().st_size) > LARGEST:
        return _File(label, None, f"it has {size:,} bytes, more than {LARGEST:,}")
    return _File(label, path.read_bytes)


def _opened(
    file: _File, room: list[int], members: set[str] = frozenset(), depth: int = 0
) -> Iterator[_File]:
    """Yield a file, or what is in it if it is a zip."""
    if not _is_zip(file.label) or not file.read:
        why = "an archive of a kind that is not opened; ask for a zip"
        yield file._replace(read=None, why=why) if file.label.lower().endswith(_PACKED) else file
        return
    try:
        if depth > 2:
            raise NotebookError("it is a zip inside three others; ask for one zip")
        with zipfile.ZipFile(io.BytesIO(file.read())) as archive:
            infos = [i for i in archive.infolist()[: 50 * MOST] if not is_ignored(i.filename)]
            infos = [i for i in infos if not members or i.filename in members][:MOST]
            if sum(info.file_size for info in infos) > LARGEST:
                raise NotebookError(f"it unpacks to more than {LARGEST:,} bytes")
            for info in infos:
                label, read = f"{file.label}/{info.filename}", partial(archive.read, info)
                inner = file._replace(label=label, read=read)
                if _is_zip(label):
                    taken = max(info.file_size, LARGEST // MOST)  # so that empty ones count, too
                    if taken > room[0]:
                        why = f"the zips in it have over {LARGEST:,} bytes; ask for one zip"
                        inner = inner._replace(read=None, why=why)
                    room[0] -= taken if inner.read else 0
                yield from _opened(inner, room, depth=depth + 1)
    except Exception as error:  # a damaged or encrypted archive can cause any error
        yield _File(file.label, None, f"it cannot be unpacked: {error}")


def _is_zip(label: str) -> bool:
    return label.lower().endswith(".zip")


def matched(sources: list[Source], blanks: dict[str, NotebookNode]) -> dict[str, HandedIn]:
    """Return for each exercise the notebook of a learner that counts, found by its grade ids.

    The one with most solutions written counts; of equals, the one with the right name. Files of
    a source that is `behind` count only where there are no others.
    """
    found: dict[str, list[tuple[_File, list[Cell], list[str]]]] = defaultdict(list)
    unused: list[tuple[str, str]] = []
    refused = [f"{source.path.name} has files of someone who handed in an entry of their own; "
               "they were not looked at" for source in sources if source.refused]  # fmt: skip
    spent = 0  # bytes
    for number, file in enumerate(files(sources)):
        alike = _alike(file.label, blanks)
        notebook = ".ipynb" in file.label.lower()
        if number >= MOST:
            unused.append((file.label, f"only {MOST:,} files are looked at, and this is the next"))
            break
        if file.why or not notebook:
            if alike or notebook or file.label.lower().endswith((*_PACKED, *_OTHERS)):
                unused.append((file.label, file.why or "it is no .ipynb file"))
            continue
        try:
            content = file.read() if spent <= LARGEST else b""
            spent += len(content)
            if spent > LARGEST:
                raise NotebookError(f"with it, the notebooks have over {LARGEST:,} bytes in all")
            name, cells, lost = _exercise(read_cells(content), blanks, alike)
        except Exception as error:  # a file can cause any error, also MemoryError and its like
            unused.append((file.label, str(error) or type(error).__name__))
            continue
        if name:
            found[name].append((file, cells, lost))
        if name not in alike and (alike or not name):
            what = f"it has the cells of {name}" if name else "it has no cells of an exercise"
            unused.append((file.label, what))
    return {
        name: _counted(name, blank, found[name], [
            (label, why) for label, why in unused
            if name in (_alike(label, blanks) or blanks)  # named after none: listed for all
        ], refused)
        for name, blank in blanks.items()
    }  # fmt: skip


def _alike(label: str, blanks: dict[str, NotebookNode]) -> list[str]:
    """Return the exercises whose names are in the name of a file."""
    last = PurePosixPath(label).name.lower()
    return [name for name in blanks if name.lower() in last]


def _exercise(
    cells: list[Cell], blanks: dict[str, NotebookNode], alike: list[str]
) -> tuple[str, list[Cell], list[str]]:
    """Return the exercise that has most of these cells, or "", the cells with their names, and
    the names of solutions that had lost theirs.
    """
    best = (0, False), "", cells, []
    for name, blank in blanks.items():
        named, lost = recognised(cells, blank)
        own = {name_of(c) for c in blank.cells if c.metadata.get("nbgrader", {}).get("grade")
               or is_solution(c)}  # fmt: skip
        worth = len(own & {cell.name for cell in named}), name in alike
        if worth[0] > 2 and worth > best[0]:  # chapters share one or two names with an exercise
            written = {name_of(cell) for cell in blank.cells if is_solution(cell)}
            best = worth, name, named, [cell for cell in lost if cell in written]
    return best[1:]


def _counted(
    exercise: str,
    blank: NotebookNode,
    found: list[tuple[_File, list[Cell], list[str]]],
    unused: list[tuple[str, str]],
    refused: list[str],
) -> HandedIn:
    """Return the notebook that counts, with remarks on its name and on the others."""
    if not found:
        said = [f"{label} ({why})" for label, why in unused]
        more = f" and {len(said) - 5} more" * (len(said) > 5)
        there = f"; found: {', '.join(said[:5])}{more}" if said else ""
        return HandedIn(None, [f"not handed in{there}", *refused])
    blanks = {name_of(cell): cell.source for cell in blank.cells if is_solution(cell)}

    def written(cells: list[Cell]) -> int:
        return len(
            {c.name for c in cells if c.name in blanks and not same(c.source, blanks[c.name])}
        )

    own = f"{exercise}.ipynb"
    best = max(found, key=lambda one: (not one[0].behind, written(one[1]), one[0].label == own))
    file, cells, lost = best
    remarks = [] if file.label == own else [f"found as {file.label}"]
    others = [one[0].label for one in found if one is not best and one[1] != cells]
    if others:
        tasks = f"{written(cells)} of {len(blanks)} tasks"
        remarks.append(f"{file.label} counts, with {tasks} written, not {', '.join(others[:5])}")
    if lost:
        remarks.append(f"cells without nbgrader's metadata were recognised: {', '.join(lost)}")
    return HandedIn(cells, [*remarks, *refused])
