"""Keep the table of grades, complete after each learner, so that a killed grading can continue.

`grading` adds learners to a `Table`. Each is a line of a hidden file beside grades.csv, from which
the table is written whole.
"""

import csv
import hashlib
import io
import json
import os
import re
from pathlib import Path

import mnist_nb
from mnist_nb.errors import Problem
from mnist_nb.files import write_whole
from mnist_nb.tools.classroom import by_hand
from mnist_nb.tools.classroom.cells import clean
from mnist_nb.tools.classroom.feedback import summed
from mnist_nb.tools.classroom.handed_in import HandedIn

_LONGEST = 500  # characters of a remark
_NAME = 150  # bytes of a learner's name in the name of a page
_FORMULA = r'(^\s*|[;\t][\s"]*)'  # what can stand before a formula that a spreadsheet would run
_HEAD = ("learner", "exercise", "points", "max", "remark")


class TableError(Problem):
    """The table or its folder cannot be written."""


def shown(name: str) -> str:
    """Return a file's name as text that every file and terminal can show."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def sentence(said: object) -> str:
    """Return an error or a remark on one line, and not too long."""
    said = (str(said) or type(said).__name__) if isinstance(said, Exception) else str(said)
    text = " ".join(shown(clean(said).replace("\n", " ")).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def page_of(output: Path, person: str) -> Path:
    """Return the path of a learner's page; a long or unprintable name is changed, with a hash."""
    name = shown(person)
    if len(name.encode()) > _NAME:
        name = f"{name.encode()[:_NAME].decode(errors='ignore')}-{_hash(person)}"
    else:
        name = _only_its_own(person)
    return output / f"{name}.html"


def _only_its_own(person: str) -> str:
    """Return a learner's name as shown; an unprintable name gets a hash, as two may look alike."""
    name = shown(person)
    return name if name == person else f"{name}-{_hash(person)}"


def _hash(person: str) -> str:
    return hashlib.sha256(os.fsencode(person)).hexdigest()[:8]


class Table:
    """The grades in `output`: those of an earlier grading that still hold, and new ones."""

    def __init__(self, output: Path, again: bool, settings: list):
        self.output, self._file = output, output / ".grades.jsonl"
        package = Path(mnist_nb.__file__).parent
        code = [path.read_bytes() for path in sorted(package.rglob("*.py"))]
        self._settings = hashlib.sha256(repr([settings, code]).encode()).hexdigest()
        self._given = by_hand.read(output / by_hand.NAME, _as_it_was)
        self._earlier = {} if again else dict(self._read())
        self._rows: dict[str, list] = {}
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TableError(f"cannot make the folder {output} ({error.strerror}); give another "
                             "one with --output") from error  # fmt: skip

    def _read(self):
        lines = self._file.read_bytes().splitlines() if self._file.is_file() else []
        for line in lines:
            try:
                key, rows = json.loads(line)
                yield key, [(str(n), p + 0, m + 0, str(r), dict(h)) for n, p, m, r, h in rows]
            except (ValueError, TypeError):  # the line at which it was killed
                continue

    def _key(self, person: str, found: dict[str, HandedIn]) -> str:
        given = sorted(self.given_to(person).items())
        text = repr([self._settings, os.fsencode(person), found, given])
        return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()

    def given_to(self, person: str) -> dict[tuple[str, str], float]:
        """Return the points that a learner was given by hand, by exercise and cell."""
        name = _only_its_own(person)
        given = self._given.items()
        return {key[1:]: points for key, points in given if key[0] == name}

    def has(self, person: str, found: dict[str, HandedIn]) -> bool:
        """Return whether an earlier grading still holds for a learner, and take over its rows.

        It holds if notebooks, settings, code and points given by hand are the same as then, and
        the learner's page is still there.
        """
        rows = self._earlier.get(self._key(person, found))
        if rows is None or not page_of(self.output, person).is_file():
            return False
        self._rows[person] = rows
        return True

    def rows_of(self, person: str) -> list:
        """Return a row for each exercise: its name, points, maximum and remark."""
        given = self.given_to(person)
        return [summed(*row, given) for row in self._rows[person]]

    def add(self, person: str, found: dict[str, HandedIn], results: dict) -> None:
        """Add a learner's results.

        Raises:
            TableError: they cannot be written.
        """
        self._rows[person] = [(name, *result[:4]) for name, result in results.items()]
        line = json.dumps([self._key(person, found), self._rows[person]])
        try:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(f"\n{line}\n")  # the line before may be half-written
        except OSError as error:
            raise self._full(error) from error
        self.write()

    def write(self) -> None:
        """Write grades.csv, and by_hand.csv if needed; raise TableError if that fails."""
        try:
            write_whole(self.output / "grades.csv", self._csv().encode())
            if cells := self._by_hand():
                text = by_hand.listed(cells, self._given, _neutral)
                write_whole(self.output / by_hand.NAME, text.encode())
        except OSError as error:
            raise self._full(error) from error

    def unused(self) -> list[by_hand.Key]:
        """Return the cells for which points are given by hand although none wait for any."""
        return sorted(self._given.keys() - self._waiting())

    def _by_hand(self) -> dict[by_hand.Key, float]:
        """Return the cells that are graded by hand, and those that a file names from before."""
        return {key: float("inf") for key in self._given} | self._waiting()

    def _waiting(self) -> dict[by_hand.Key, float]:
        return {
            (_only_its_own(person), name, cell): most
            for person, rows in self._rows.items()
            for name, _, _, _, hand in rows
            for cell, most in hand.items()
        }

    def _full(self, error: OSError) -> TableError:
        return TableError(f"cannot write the table into {self.output} ({error.strerror}); make "
                          "room or give another folder, and grade again")  # fmt: skip

    def _csv(self) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_HEAD)
        for person in sorted(self._rows, key=os.fsencode):
            rows = self.rows_of(person)
            points, most = (sum(row[k] for row in rows) for k in (1, 2))
            for row in [*rows, ("total", points, most, "")]:
                row = [f"{x:g}" if isinstance(x, int | float) else _neutral(x) for x in row]
                writer.writerow([_neutral(shown(person)), *row])
        return text.getvalue()


def _neutral(value: object) -> object:
    """Return a cell that no spreadsheet takes for a formula, whatever separates its columns."""
    if not isinstance(value, str) or not value.strip():
        return value
    return re.sub(rf"{_FORMULA}(?='*[=+\-@])", r"\1'", value)


def _as_it_was(value: str) -> str:
    """Return what a cell was before it was made neutral: no two cells were made the same."""
    return re.sub(rf"{_FORMULA}'(?='*[=+\-@])", r"\1", value)
