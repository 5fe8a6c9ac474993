"""Read the points that an instructor gives by hand, and list the cells that wait for some.

`table` keeps the file by_hand.csv in the folder of the grades: a line for each such cell of each
learner, whose column `points` the instructor fills in.
"""

import csv
import io
import math
from collections.abc import Callable
from pathlib import Path

from mnist_nb.errors import Problem

HEAD = ("learner", "exercise", "cell", "max", "points")
NAME = "by_hand.csv"
Key = tuple[str, str, str]  # learner, exercise, cell


class ByHandError(Problem):
    """The file of points given by hand cannot be read."""


def read(path: Path, as_it_was: Callable[[str], str]) -> dict[Key, float]:
    """Return the points that were given by hand; none without a file.

    `as_it_was` removes the quotes by which `neutral` (see `listed`) kept a spreadsheet from taking
    a name for a formula.

    Raises:
        ByHandError: a column is missing, or points are not a number from 0 to the maximum.
    """
    if not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    dialect, head = csv.excel, text.partition("\n")[0]
    dialect = type("Dialect", (csv.excel,), {"delimiter": ";"}) if ";" in head else dialect
    rows = csv.DictReader(io.StringIO(text), dialect=dialect)
    if not {"learner", "exercise", "cell", "points"} <= {*(rows.fieldnames or ())}:
        raise ByHandError(f"{path} begins with {head[:60]!r}; its first line has to be "
                          f"{','.join(HEAD)}. Correct it, or rename the file and grade again, "
                          "which makes a new one to fill in")  # fmt: skip
    given = {}
    for row in rows:
        said = (row["points"] or "").strip().replace(",", ".")
        if not said:
            continue
        try:
            points, most = float(said), float((row.get("max") or "inf").replace(",", "."))
        except ValueError:
            points, most = math.nan, math.inf
        if not 0 <= points <= most:
            raise ByHandError(f"{path}, line {rows.line_num}: the points of {row['learner']} for "
                              f"{row['cell']} are {said!r}; give a number from 0 "
                              f"{'to ' + row['max'] if row.get('max') else 'on'}")  # fmt: skip
        key = (as_it_was(row[column] or "") for column in HEAD[:3])
        given[tuple(key)] = points
    return given


def listed(cells: dict[Key, float], given: dict[Key, float], neutral) -> str:
    """Return the file's text: a line for each cell, with its maximum and what was given.

    `neutral` changes a name that a spreadsheet would take for a formula.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEAD)
    for key, most in cells.items():
        points = f"{given[key]:g}" if key in given else ""
        writer.writerow([*map(neutral, key), f"{most:g}" if most < math.inf else "", points])
    return text.getvalue()
