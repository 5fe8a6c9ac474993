"""Make each mistake of mutants.yaml in a copy of the project, and see what catches it.

`make mutants` makes all of them, and writes a report to build/mutants.md; `make mutants
ARGS="figures 05_"` those that have one of these words in their line. Each result is kept in
build/mutants.csv, and not found again while every file of the project stays as it is. What caught
each mistake when it was last made is the table mutants.csv; the next time it is tried first.
"""

import csv
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import yaml
from tqdm import tqdm

from mnist_nb.data import data_folder

PROJECT = Path(__file__).parents[1]
RESULTS = PROJECT / "build" / "mutants.csv"
REPORT = PROJECT / "build" / "mutants.md"
TABLE = PROJECT / "tests" / "mutants.csv"
# the tests that look at a module first
FIRST = {
    "comparison": "comparison", "pictures": "comparison", "data": "data faults",
    "sources": "data", "ensemble": "ensemble",
    "figures": "figures", "parameters": "parameters", "declared": "parameters plans",
    "normal_form": "notebooks", "prose": "notebooks", "refresh": "notebooks runs faults",
    "record": "records", "results": "records sweep", "run": "runs faults", "files": "faults",
    "plans": "sweep", "identity": "plans sweep", "sweep": "sweep", "html": "pages",
    "pages": "pages", "slides": "pages", "cached_wheel": "pages", "student": "classroom",
    "grading": "classroom", "containment": "classroom", "feedback": "classroom",
    "exercises": "classroom", "digit_pad": "digit_pad browser",
}  # fmt: skip


class Mutant(NamedTuple):
    """One mistake: where it is made, what it is, and perhaps why nothing need catch it."""

    file: str
    cell: str | None  # None: the file is no notebook
    change: tuple | dict
    excuse: str = ""

    def __str__(self) -> str:
        where = f"{self.file}, {self.cell}" if self.cell else self.file
        if isinstance(self.change, dict):
            return f"{where}: {self.change}"
        old, new = (" ".join(part.split()) for part in self.change)
        return f"{where}: {old} → {new or 'nothing'}"


def catalogue() -> tuple[list[Mutant], list[Mutant]]:
    """The quick ones, and the others."""
    files = yaml.safe_load((PROJECT / "tests" / "mutants.yaml").read_text(encoding="utf-8"))
    quick = files.pop("quick")
    return list(_mutants(quick)), list(_mutants(files))


def _mutants(files: dict) -> Iterator[Mutant]:
    for file, mistakes in files.items():
        cells = mistakes if isinstance(mistakes, dict) else {None: mistakes}
        for cell, changes in cells.items():
            for change in changes:
                if isinstance(change, dict):
                    yield Mutant(file, cell, change)
                else:
                    yield Mutant(file, cell, tuple(change[:2]), *change[2:])


def _replaced(text: str, old: str, new: str, mutant: Mutant) -> str:
    if old not in text:
        raise ValueError(f"{mutant}: this does not stand there any more")
    return text.replace(old, new, 1)


def mutated(mutant: Mutant, text: str) -> str:
    """Return the file's `text` with the mistake in it, and with no other change."""
    if mutant.cell is None:
        changed = _replaced(text, *mutant.change, mutant)
    else:
        notebook = json.loads(text)
        if _written(notebook) != text:
            raise ValueError(f"{mutant}: the notebook is not in normal form, so all of it changes")
        changed = _written(_with_mistake(notebook, mutant))
    if changed == text:
        raise ValueError(f"{mutant}: this changes nothing")
    return changed


def _written(notebook: dict) -> str:
    return json.dumps(notebook, ensure_ascii=False, indent=1) + "\n"


def _with_mistake(notebook: dict, mutant: Mutant) -> dict:
    (cell,) = [c for c in notebook["cells"] if c["id"] == mutant.cell]
    match mutant.change:
        case {"strip": "outputs"}:
            cell["outputs"] = []
        case {"strip": "execution_count"}:
            cell["execution_count"] = None
        case {"output": [old, new]}:
            stored = json.dumps(cell["outputs"], ensure_ascii=False)
            cell["outputs"] = json.loads(_replaced(stored, old, new, mutant))
        case old, new:
            source = _replaced("".join(cell["source"]), old, new, mutant)
            cell["source"] = source.splitlines(keepends=True)
    return notebook


def files_of_the_project() -> Iterator[str]:
    """Their names, committed or not."""
    listed = subprocess.run(
        ["git", "-C", PROJECT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    return (n for n in sorted(set(listed.stdout.split("\0"))) if n and (PROJECT / n).is_file())


def copy_project(folder: Path) -> Path:
    """A copy of the project as it stands."""
    for name in files_of_the_project():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, folder / name)
    return folder


def digest() -> str:
    """The first digits of a SHA-256 of all files of the project but the table of mistakes."""
    whole = hashlib.sha256()
    for name in files_of_the_project():
        if PROJECT / name == TABLE:
            continue
        content = (PROJECT / name).read_bytes()
        whole.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
    return whole.hexdigest()[:16]


def detectors(mutant: Mutant, before: str = "") -> Iterator[tuple[str, list[str]]]:
    """Name and command of each thing that may catch it, the likeliest first.

    The likeliest is the test named in `before`, the last words when the mistake was last caught.
    """
    python, pytest = [sys.executable], [sys.executable, "-m", "pytest", "-q", "-x"]
    if mutant.file.endswith((".py", ".ipynb")):
        yield "lint", [*python, "-m", "ruff", "check", "--quiet", mutant.file]
    names = FIRST.get(
        Path(mutant.file).stem, "notebooks numbers runs" if mutant.cell else "learning"
    )
    first = [f"tests/test_{name}.py" for name in names.split()]
    others = ["tests", "--deselect=tests/test_mutants.py", *map("--deselect={}".format, first)]
    if test := re.match(r"FAILED (tests/\w+\.py)::(\w+)", before):
        file = PROJECT / test[1]
        if file.exists() and f"\ndef {test[2]}(" in file.read_text(encoding="utf-8"):
            yield "unit tests", [*pytest, f"{test[1]}::{test[2]}"]
    if mutant.cell:
        yield "lint", [*python, "-m", "mnist_nb.tools.cli", "lint", mutant.file]
        yield "nbval", [*pytest, mutant.file]
    yield "unit tests", [*pytest, "-m", "not whole", *first]
    if not mutant.cell:
        yield "nbval", [*pytest, "notebooks"]
    yield "unit tests", [*pytest, "-m", "whole", *first]
    yield "unit tests", [*pytest, *others]


def caught_by(mutant: Mutant, copy: Path, before: str = "") -> tuple[str, str]:
    """What catches it in this copy of the project ("" if nothing does), and its last words."""
    return _first_to_fail([mutant], copy, detectors(mutant, before))


def live_together(mutants: list[Mutant]) -> bool:
    """Does all of the verification pass with all of them in one copy of the project?

    Each on its own would be as long again, as a mistake that lives goes through every test.
    """
    lint = [tried for mutant in mutants for tried in detectors(mutant) if tried[0] == "lint"]
    pytest = [sys.executable, "-m", "pytest", "-q", "-x", "--deselect=tests/test_mutants.py"]
    whole = [*pytest, "-n", str(os.cpu_count() or 1), "--dist=loadfile"]
    print(f"first {len(mutants)} that live, through every test: a quarter of an hour", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        name, said = _first_to_fail(
            mutants, copy_project(Path(folder)), [*lint, ("unit tests", whole)]
        )
    if name:
        print(f"not every mistake that is known to live does: {name}, {said}", file=sys.stderr)
    return not name


def _first_to_fail(
    mutants: list[Mutant], copy: Path, commands: Iterable[tuple[str, list[str]]]
) -> tuple[str, str]:
    """Return the name of the first command that fails with the mistakes made, and its last words.

    Raises:
        RuntimeError: it fails without the mistakes as well, or was killed; so it says nothing.
    """
    right = {mutant.file: (copy / mutant.file).read_text(encoding="utf-8") for mutant in mutants}
    for name, command in commands:
        try:
            for mutant in mutants:
                path = copy / mutant.file
                text = mutated(mutant, path.read_text(encoding="utf-8"))
                path.write_text(text, encoding="utf-8")
            fault = _fault(command, copy)
        finally:
            for file, text in right.items():
                (copy / file).write_text(text, encoding="utf-8")
        if fault:
            _check_control(name, command, copy)
            return name, fault
    return "", ""


def _fault(command: list[str], copy: Path) -> str:
    """Return the last words of `command` in this copy of the project if it fails, "" if not."""
    aside = PROJECT / "build" / "nbgrader"  # the copy has no build folder
    here = {"PYTHONPATH": f"{copy}{os.pathsep}{aside}", "MNIST_NB_DATA": str(data_folder())}
    try:
        done = subprocess.run(
            command, cwd=copy, env=os.environ | here, capture_output=True, text=True,
            timeout=3600,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "not done after an hour"
    if done.returncode < 0:  # by somebody else: that says nothing
        raise RuntimeError(f"{' '.join(command)} was killed")
    if not done.returncode:
        return ""
    lines = (done.stdout + done.stderr).splitlines() or ["no words"]
    return next((line for line in lines if re.match(r"(FAILED|ERROR) \w", line)), lines[0])


_passed: set[tuple[str, ...]] = set()  # commands that pass where no mistake is made


def _check_control(name: str, command: list[str], copy: Path) -> None:
    """Check that `command` passes in this unchanged copy; if not, it cannot catch a mistake."""
    if tuple(command) in _passed:
        return
    if fault := _fault(command, copy):
        raise RuntimeError(
            f"The {name} fails without any mistake, so nothing counts as caught by it: {fault}. "
            f"Make this pass first: {' '.join(command)}"
        )
    _passed.add(tuple(command))


def caught(
    mutants: list[Mutant], workers: int, before: dict[str, str]
) -> Iterator[tuple[Mutant, str, str]]:
    """Each mutant with what caught it, as it becomes known; `before`: see `detectors`."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(workers) as pool:
        free = [copy_project(Path(folder, str(number))) for number in range(workers)]

        def one(mutant: Mutant) -> tuple[Mutant, str, str]:
            copy = free.pop()
            try:
                return mutant, *caught_by(mutant, copy, before.get(str(mutant), ""))
            finally:
                free.append(copy)

        try:
            for done in as_completed([pool.submit(one, mutant) for mutant in mutants]):
                yield done.result()
        finally:  # stopped: no more is begun
            pool.shutdown(wait=False, cancel_futures=True)


def found_on(project: str) -> dict[str, list[str]]:
    """What was found before on the same files: mistake -> what caught it, and its last words."""
    return {mistake: found for was, mistake, *found in _rows(RESULTS, 4) if was == project}


def found_last() -> dict[str, list[str]]:
    """What was found the last time, on any files: mistake -> what caught it, and the test."""
    rows = _rows(TABLE, 3) + [row[1:] for row in _rows(RESULTS, 4)]
    # without what the test said, which may tell of this machine
    return {mistake: [name, said.split(" - ")[0]] for mistake, name, said in rows}


def _rows(path: Path, columns: int) -> list[list[str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.reader(file) if len(row) == columns]


def report(rows: list[tuple[Mutant, str, str]]) -> str:
    """The result in Markdown: counts by detector and kind of file, survivors one by one."""
    counts = Counter((m.file.split("/")[0], name or "survived") for m, name, _ in rows)
    columns = ["lint", "nbval", "unit tests", "survived"]
    lines = ["| mistakes in | number | " + " | ".join(columns) + " |", "| --- " * 6 + "|"]
    for where in ("notebooks", "mnist_nb"):
        numbers = [counts[where, name] for name in columns]
        lines.append(f"| `{where}` | {sum(numbers)} | {' | '.join(map(str, numbers))} |")
    survivors = [mutant for mutant, name, _ in rows if not name]
    lines += ["", f"Survivors: {len(survivors) or 'none'}", ""]
    for mutant in survivors:
        reason = f"cannot matter: {mutant.excuse}" if mutant.excuse else "**must be caught**"
        lines.append(f"- `{mutant}`: {reason}")
    return "\n".join(lines).rstrip() + "\n"


def main(wanted: list[str]) -> int:
    """Try the catalogue; 1 if one survives that should not."""
    quick, others = catalogue()
    mutants = [m for m in quick + others if not wanted or any(w in str(m) for w in wanted)]
    if not mutants:
        raise SystemExit(f"no line of the catalogue has {' or '.join(map(repr, wanted))} in it")
    RESULTS.parent.mkdir(exist_ok=True)
    project = digest()
    same = found_on(project)
    before = {mistake: test for mistake, (_, test) in found_last().items()}
    rows = [(mutant, *same[str(mutant)]) for mutant in mutants if str(mutant) in same]
    todo = [mutant for mutant in mutants if str(mutant) not in same]
    excused = [mutant for mutant in todo if mutant.excuse]
    with RESULTS.open("a", newline="", encoding="utf-8") as file:
        living = excused if excused and live_together(excused) else []
        todo = [mutant for mutant in todo if mutant not in living]
        found = chain(((m, "", "") for m in living), caught(todo, os.cpu_count() or 1, before))
        for row in tqdm(found, total=len(mutants), initial=len(rows)):
            rows.append(row)
            csv.writer(file).writerow([project, *row])
            file.flush()
            if not row[1] and not row[0].excuse:
                tqdm.write(f"survived: {row[0]}")
    rows.sort(key=lambda row: mutants.index(row[0]))
    text = report(rows)
    REPORT.write_text(text, encoding="utf-8")
    last = found_last()
    with TABLE.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["mistake", "caught by", "what failed"])
        table.writerows([m, *last[m]] for m in map(str, quick + others) if m in last)
    print(text)
    return any(not name and not mutant.excuse for mutant, name, _ in rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
