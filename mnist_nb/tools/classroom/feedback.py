"""Write a learner's feedback: one HTML page with points and executed notebooks.

`grading` calls `write_page`. Cells of tests are shown as learners get them. The page is made by
another process (`page`), under limits of time and memory, as a learner's text could take minutes
to colour. The exercise's own texts are the same on every page, and are rendered here, once.
"""

import base64
import functools
import json
import math
import re
import struct
import subprocess
import sys
from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_output

from mnist_nb.files import write_whole
from mnist_nb.tools.classroom.cells import clean, is_manual, is_solution, name_of, points_of, same
from mnist_nb.tools.classroom.containment import prlimit_prefix
from mnist_nb.tools.classroom.page import Part, html_of

_LONGEST = 5_000  # characters of an output that are shown
_MOST = 50  # outputs of a cell
_LARGEST = 1 << 20  # bytes of a picture
_PIXELS = 20_000_000  # of a picture
Key = tuple[str, str]  # exercise and cell


def write_page(
    path: Path,
    learner: str,
    results: dict,
    blanks: dict[str, NotebookNode],
    seconds: int,
    given: dict[Key, float] | None = None,
) -> None:
    """Write the page of `learner` to `path`: a table of points, then the executed notebooks.

    `results` maps the name of each exercise to a `grading.Graded`, `blanks` to what learners get,
    `given` the cells that are graded by hand to their points. If colouring the code takes longer
    than `seconds` or too much memory, it is left plain.
    """
    parts, given = [], given or {}
    for name, result in results.items():
        if result.notebook:
            parts.append(("heading", name))
            parts += parts_of(name, result.notebook, blanks[name], given)
    rows = [summed(name, *result[:4], given) for name, result in results.items()]
    page = [learner, rows, parts, {text: _ours(text) for kind, text in parts if kind == "ours"}]
    try:
        done = subprocess.run(
            [*prlimit_prefix(), sys.executable, "-m", html_of.__module__],
            input=json.dumps(page).encode(), capture_output=True, timeout=seconds, check=True,
        )  # fmt: skip
        text = done.stdout
    except subprocess.SubprocessError:
        text = html_of(*page, coloured=False).encode()
    write_whole(path, text)


def parts_of(
    exercise: str, notebook: NotebookNode, blank: NotebookNode, given: dict[Key, float]
) -> list[Part]:
    """Return the cells of an executed notebook as parts of the page.

    Cells of the exercise that learners do not write in (called *ours*) have the source that
    learners got, without hidden tests; all other cells have the learner's source.
    """
    ours, parts = {name_of(cell): cell for cell in blank.cells}, []
    for cell in notebook.cells:
        mine = ours.get(name_of(cell))
        if mine is None or is_solution(mine):
            kind = {"code": "code", "raw": "not counted"}.get(cell.cell_type, "text")
            parts.append((kind, clean(cell.source)))
        else:
            parts.append(("code" if mine.cell_type == "code" else "ours", mine.source))
        parts += [_shown(output) for output in cell.get("outputs", [])]
        if mine is not None and is_manual(mine) and same(cell.source, mine.source):
            parts.append(("lost", f"0 of {points_of(mine):g} points: nothing is written here."))
        elif mine is not None and is_manual(mine):
            parts.append(
                ("points", by_hand(points_of(mine), given.get((exercise, name_of(mine)))))
            )
        elif said := cell.metadata.get("mnist_nb_points"):
            parts.append(("lost" if said.startswith("0 ") else "points", said))
    return parts


def summed(
    name: str, points: float, most: float, remark: str, cells: dict, given: dict[Key, float]
) -> tuple[str, float, float, str]:
    """Return an exercise's row: with the points given by hand, and those still to be given."""
    hand = {cell: given.get((name, cell)) for cell in cells}
    points += sum(value for value in hand.values() if value is not None)
    waiting = sum(cells[cell] for cell, value in hand.items() if value is None)
    said = [f"{waiting:g} points to be given by hand"] if waiting else []
    return name, points, most, "; ".join([*filter(None, [remark]), *said])


def by_hand(most: float, given: float | None) -> str:
    """Return what the page says of a cell whose points are given by hand."""
    if given is None:
        return f"{most:g} points to be given by hand."
    return f"{given:g} of {most:g} points, given by hand."


def outputs_of(said: object) -> list[NotebookNode]:
    """Return outputs of a notebook from what a learner's process sent, which can be anything."""
    outputs = []
    for output in said[:_MOST] if isinstance(said, list) else []:
        output = output if isinstance(output, dict) else {}
        kind, data = output.get("output_type"), output.get("data")
        if kind == "error":
            name, value = clean(str(output.get("ename"))), clean(str(output.get("evalue")))
            outputs.append(new_output("error", ename=name, evalue=value))
        elif kind == "stream":
            outputs.append(new_output("stream", text=clean(str(output.get("text")))))
        elif isinstance(data, dict):
            kept = {
                key: clean(str(data[key])) for key in ("text/plain", "image/png") if key in data
            }
            outputs.append(new_output("display_data", data=kept))
    return outputs


def _shown(output: NotebookNode) -> Part:
    """Return an output as a part: a picture, or text."""
    picture = "".join(output.get("data", {}).get("image/png") or "")
    try:
        content = base64.b64decode(picture, validate=True)
    except ValueError:
        content = b""
    pixels = math.prod(struct.unpack(">II", content[16:24])) if len(content) >= 24 else 0
    png = content.startswith(b"\x89PNG\r\n\x1a\n") and len(content) <= _LARGEST
    if png and pixels <= _PIXELS:
        return "picture", base64.b64encode(content).decode()
    return "output", _text(output)


def _text(output: NotebookNode) -> str:
    """Return an output as text: a long one is cut, an error is its name and message."""
    if output.output_type == "error":
        text = ": ".join(filter(None, [output.ename, output.evalue]))
    else:
        text = str(output.get("text") or output.get("data", {}).get("text/plain") or "(no text)")
    text = clean(text[: _LONGEST + 1])
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


@functools.cache
def _ours(text: str) -> str:
    """Return an exercise's own text as HTML."""
    from bs4 import BeautifulSoup
    from nbconvert.filters import markdown2html

    page = BeautifulSoup(markdown2html(text), "html.parser")
    for link in page.find_all("a"):
        if "anchor-link" in link.get("class", []):
            link.decompose()
        elif not link.get("href", "").startswith(("https://", "http://")):
            link.unwrap()  # a chapter is not beside this page, nor an anchor in it
    for heading in page.find_all(re.compile("^h[1-6]$")):
        heading.name, heading.attrs = "h3", {}  # notebooks share ids
    return str(page)
