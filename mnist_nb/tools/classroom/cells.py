"""Read the cells of a submitted notebook, and recognise those that lost their names.

`handed_in` finds the notebooks; `repair` puts their cells back into the exercise.
"""

import ast
import json
import re
import subprocess
import sys
from itertools import pairwise
from typing import NamedTuple

from nbformat import NotebookNode

from mnist_nb.errors import Problem
from mnist_nb.tools.classroom.containment import prlimit_prefix

_LARGE = 5_000_000  # bytes; a larger file is read by another process, with a limit on memory
_MOST = 2_000  # cells
_CODE = 1_000_000  # characters of code in all cells together
_TEXT = 30_000_000  # characters of texts, in which photos can be
_SPACE = 1_000  # two sources can be equal if one has at most twice the other's characters + this
_PARSED = 200_000  # characters of a cell that is parsed
_NAMES = re.compile(r"^(?:(?:async +)?def +|class +)(\w+)|^(\w+) *=(?!=)", re.M)
# prints a notebook without outputs and attachments
_SLIM = """
import json, sys
notebook = json.loads(sys.stdin.buffer.read())
cells = notebook.get("cells") or [c for s in notebook["worksheets"] for c in s["cells"]]
kept = ("cell_type", "id", "source", "input")
json.dump({"cells": [
    {key: cell[key] for key in kept if key in cell}
    | {"metadata": {"nbgrader": (cell.get("metadata") or {}).get("nbgrader")}} for cell in cells
]}, sys.stdout)
"""


class NotebookError(Problem):
    """A submitted file is not a notebook that can be read."""


class Cell(NamedTuple):
    """A submitted cell: its type and source, its grade id (or cell id), and its cell id."""

    kind: str
    source: str
    name: str = ""
    id: str = ""


def read_cells(content: bytes) -> list[Cell]:
    """Return the cells of a notebook of any version, with or without a byte-order mark.

    Raises:
        NotebookError: `content` is not JSON, has no cells, or has too many or too long ones.
    """
    content = _slimmed(content) if len(content) > _LARGE else content
    try:
        notebook = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise NotebookError(f"it is not JSON, as a notebook is ({clean(str(error))})") from error
    try:
        found = notebook.get("cells")
        if found is None:  # up to version 3
            found = [cell for sheet in notebook["worksheets"] for cell in sheet["cells"]]
        if len(found) > _MOST:
            raise NotebookError(f"it has {len(found):,} cells, more than {_MOST:,}")
        cells = [_cell(cell) for cell in found if isinstance(cell, dict)]
        if (length := sum(len(cell.source) for cell in cells if cell.kind == "code")) > _CODE:
            raise NotebookError(f"its code has {length:,} characters, more than {_CODE:,}")
        if (length := sum(len(cell.source) for cell in cells if cell.kind != "code")) > _TEXT:
            raise NotebookError(f"its texts have {length:,} characters, more than {_TEXT:,}")
        return cells
    except (AttributeError, LookupError, TypeError) as error:
        raise NotebookError("it has no cells, so it is no notebook") from error


def _slimmed(content: bytes) -> bytes:
    done = subprocess.run(
        [*prlimit_prefix(), sys.executable, "-I", "-S", "-c", _SLIM],
        input=content, capture_output=True, timeout=60,
    )  # fmt: skip
    if done.returncode:
        why = done.stderr.decode(errors="replace").splitlines()[-1:] or ["it was killed"]
        raise NotebookError(f"it is large, and cannot be read as a notebook ({why[0]})")
    return done.stdout


def _cell(cell: dict) -> Cell:
    source = cell.get("source", cell.get("input", ""))
    if isinstance(source, list):
        source = "".join(line for line in source if isinstance(line, str))
    metadata = cell.get("metadata")
    marks = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    name = marks.get("grade_id") if isinstance(marks, dict) else None
    own = cell.get("id") if isinstance(cell.get("id"), str) else ""
    name = name if isinstance(name, str) else own
    kind = "code" if cell.get("cell_type") == "code" else "markdown"
    return Cell(kind, clean(source if isinstance(source, str) else ""), name, own)


def clean(text: str) -> str:
    """Return `text` with each lone surrogate, which no file can hold, replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def name_of(cell: NotebookNode) -> str:
    """Return the grade id of an exercise's cell, or its cell id if it has none."""
    return cell.metadata.get("nbgrader", {}).get("grade_id", cell.id)


def is_solution(cell: NotebookNode) -> bool:
    """Return whether a learner is to write in this cell of an exercise."""
    return bool(cell.metadata.get("nbgrader", {}).get("solution"))


def is_manual(cell: NotebookNode) -> bool:
    """Return whether the points of a cell are given by hand."""
    marks = cell.metadata.get("nbgrader", {})
    return bool(marks.get("task") or (marks.get("grade") and marks.get("solution")))


def is_test(cell: NotebookNode) -> bool:
    """Return whether a cell of an exercise is a test that gives points."""
    return bool(cell.metadata.get("nbgrader", {}).get("grade")) and not is_manual(cell)


def points_of(cell: NotebookNode) -> float:
    """Return the points that a cell can give."""
    return cell.metadata.nbgrader.points


def same(a: str, b: str) -> bool:
    """Return whether two sources are equal, except for space at the ends of lines.

    A source that is much longer than the other one counts as different, whatever is in it.
    """
    if max(len(a), len(b)) > 2 * min(len(a), len(b)) + _SPACE:
        return False
    a, b = a.strip(), b.strip()
    return _start(a) == _start(b) and [line.rstrip() for line in a.splitlines()] == [
        line.rstrip() for line in b.splitlines()
    ]


def _start(source: str) -> str:
    """Return the beginning of the first line, which takes no time to compare."""
    return "".join(source[:200].splitlines()[:1]).rstrip()


def recognised(cells: list[Cell], blank: NotebookNode) -> tuple[list[Cell], list[str]]:
    """Return `cells` with the names that they had lost, and the names found again.

    A cell of ours is recognised by its text, a solution by the functions that it defines, and
    what a person grades by its place, directly below a recognised cell.
    """
    there, wanted = {cell.name for cell in cells}, {name_of(cell) for cell in blank.cells}
    cells, found = list(cells), []
    for ours in blank.cells:
        name, functions = name_of(ours), defined(ours.source)
        if name in there:
            continue
        for number, cell in enumerate(cells):
            if cell.name in wanted:
                continue
            if is_solution(ours) and cell.kind == "code":
                fits = functions and functions <= defined(cell.source)
            else:
                fits = same(cell.source, ours.source)
            if fits:
                cells[number] = cell._replace(name=name)
                found.append(name)
    for above, ours in pairwise(blank.cells):
        places = {cell.name: number for number, cell in enumerate(cells)}
        number = places.get(name_of(above), len(cells)) + 1
        lost = is_manual(ours) and name_of(ours) not in places and number < len(cells)
        if lost and (cells[number].name in wanted, cells[number].kind) == (False, ours.cell_type):
            cells[number] = cells[number]._replace(name=name_of(ours))
            found.append(name_of(ours))
    return cells, list(dict.fromkeys(found))


def defined(source: str) -> set[str]:
    """Return the names that a cell's outermost lines define, even if it does not compile."""
    return {function or value for function, value in _NAMES.findall(source)}


def parses(source: str) -> bool:
    """Return whether `source` is complete Python; IPython's own commands are not.

    A source of more than `_PARSED` characters is not parsed, and counts as complete.
    """
    try:
        ast.parse(source if len(source) <= _PARSED else "")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
