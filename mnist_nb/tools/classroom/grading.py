"""Grade folders of submissions with nbgrader's autograder, for the command `grade`.

Each notebook is graded in a course folder of its own, which is then deleted. So each submission
gets a result, even one that crashes, and none affects another. nbgrader runs outside the sandbox
of `containment.py`, the learner's kernel inside; they communicate over the kernel's sockets only.
"""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbformat import NotebookNode

from mnist_nb.errors import Problem
from mnist_nb.files import write_whole
from mnist_nb.tools.classroom.containment import (
    bwrap_prefix,
    prlimit_prefix,
    require_containment,
)
from mnist_nb.tools.classroom.feedback import page
from mnist_nb.tools.classroom.student import STUB, require_nbgrader, student_version

_LARGEST = 20_000_000  # bytes of a submitted notebook
_NBGRADER = "import mnist_nb.tools.skip_rfc3987, nbgrader.__main__"  # starts faster


class GradingError(Problem):
    """There are no submissions or no exercises, or a notebook cannot be graded."""


class Graded(NamedTuple):
    """The result of one notebook: points, maximum, a remark, and the executed notebook."""

    points: float
    most: float
    remark: str = ""
    notebook: NotebookNode | None = None


class _Course(NamedTuple):
    """nbgrader's course folder, whether its kernel is contained, and the time limit per cell."""

    folder: Path
    contained: bool
    seconds: int


def grade(
    submissions: Path, exercises: Path, output: Path, contained: bool, seconds: int
) -> Iterator[tuple[str, dict[str, Graded]]]:
    """Grade `submissions`/LEARNER/EXERCISE.ipynb; yield each learner and their results.

    A cell is interrupted after `seconds`, a notebook is killed after five times that.
    Write a page per learner into `output`, and grades.csv at the end. A missing notebook gets
    no points; other files are ignored.

    Raises:
        StudentError: nbgrader is not installed.
        GradingError: there are no submissions or exercises, or nbgrader rejects the exercises.
        ContainmentError: `contained` is set, but the sandbox does not work here.
    """
    require_nbgrader()
    if contained:
        require_containment()
    originals = {p.stem: nbformat.read(p, as_version=4) for p in sorted(exercises.glob("*.ipynb"))}
    folders = sorted(p for p in submissions.glob("[!.]*") if p.is_dir() and not p.is_symlink())
    if not originals:
        raise GradingError(
            f"there are no exercises in {exercises}; copy the original .ipynb files there, with "
            "their solutions"
        )
    if not folders:
        raise GradingError(f"{submissions} has no folder of a learner; give the folder that has "
                           "LEARNER/EXERCISE.ipynb in it")  # fmt: skip
    output.mkdir(parents=True, exist_ok=True)
    table = [("learner", "exercise", "points", "max", "remark")]
    with tempfile.TemporaryDirectory(prefix="grade-") as temporary:
        course = _prepared(originals, _Course(Path(temporary, "course"), contained, seconds))
        pool = ThreadPoolExecutor(os.cpu_count())
        try:
            waiting = {
                folder: {
                    name: pool.submit(_graded, folder / f"{name}.ipynb", exercise, course)
                    for name, exercise in originals.items()
                }
                for folder in folders
            }
            for folder, futures in waiting.items():
                results = {name: future.result() for name, future in futures.items()}
                table += [(folder.name, name, *result[:3]) for name, result in results.items()]
                table.append((folder.name, "total", *total(results), ""))
                write_whole(output / f"{folder.name}.html", page(folder.name, results).encode())
                yield folder.name, results
        finally:
            pool.shutdown(cancel_futures=True)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(table)
    write_whole(output / "grades.csv", text.getvalue().encode())


def total(results: dict[str, Graded]) -> tuple[float, float]:
    """Return the sum of the points of all results, and of their maxima."""
    return sum(r.points for r in results.values()), sum(r.most for r in results.values())


def _nbgrader(course: _Course, *words: str) -> str:
    """Run nbgrader with the folder and kernel spec of `course`; return why it failed, or ""."""
    import nbgrader

    scripts = Path(nbgrader.__file__).parents[1] / "bin"  # with alembic, which nbgrader runs
    path = os.pathsep.join([str(scripts), str(Path(sys.executable).parent), os.environ["PATH"]])
    here = {"JUPYTER_PATH": str(course.folder / "jupyter"), "PATH": path}
    with (course.folder / "log").open("w+b") as log:  # a file, so that prlimit caps its size
        try:
            done = subprocess.run(
                [*prlimit_prefix(), sys.executable, "-c", _NBGRADER, *words], cwd=course.folder,
                env=os.environ | here, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                timeout=5 * course.seconds,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"it took longer than {5 * course.seconds} seconds"
        log.seek(max(0, log.tell() - 100_000))
        text = log.read().decode(errors="replace")
    said = re.findall(r"^[ \w.]*?(\w+(?:Error|Exception): *\S.*)$", text, re.M)
    said = said or text.splitlines()[-1:] or ["nbgrader gave no reason"]
    return said[-1] if done.returncode else ""


def _configure(course: _Course) -> None:
    """Write nbgrader's configuration and a kernel spec python3, contained if `course` is."""
    run = course.folder / "run"
    run.mkdir(parents=True)
    kernel = course.folder / "jupyter" / "kernels" / "python3" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    prefix = bwrap_prefix(run) if course.contained else []
    kernel.write_text(json.dumps({
        "argv": [*prefix, sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Python 3", "language": "python",
        "interrupt_mode": "message",  # a signal would end bubblewrap
    }))  # fmt: skip
    (course.folder / "nbgrader_config.json").write_text(json.dumps({
        "ClearSolutions": {"code_stub": {"python": STUB}},
        "Execute": {"timeout": course.seconds, "iopub_timeout": course.seconds},
        # sockets in a shared folder, as the sandbox has no network
        "KernelManager": {"transport": "ipc", "connection_file": str(run / "kernel.json")},
    }))  # fmt: skip


def _prepared(originals: dict[str, NotebookNode], course: _Course) -> _Course:
    """Write `course`, in which nbgrader knows the exercises and their hidden tests; return it."""
    _configure(course)
    source = course.folder / "source" / "exercises"
    source.mkdir(parents=True)
    for name, original in originals.items():
        nbformat.write(original, source / f"{name}.ipynb")
    if wrong := _nbgrader(course, "generate_assignment", "exercises"):
        raise GradingError(
            f"nbgrader rejects the exercises: {wrong}; correct the original notebooks, then grade "
            "again"
        )
    return course


def _graded(path: Path, original: NotebookNode, prepared: _Course) -> Graded:
    """Grade the submitted notebook at `path`; an error becomes the remark of the result."""
    from nbgrader.utils import determine_grade, is_grade

    most = sum(cell.metadata.nbgrader.points for cell in original.cells if is_grade(cell))
    try:
        notebook = _executed(path, student_version(original), prepared)
        points = sum(determine_grade(cell)[0] or 0 for cell in notebook.cells if is_grade(cell))
    except Exception as error:  # a submitted file can cause any error
        return Graded(0, most, " ".join(str(error).split())[:150] or type(error).__name__)
    return Graded(points, most, "", notebook)


def _executed(path: Path, blank: NotebookNode, prepared: _Course) -> NotebookNode:
    """Return the submitted notebook at `path`, executed by nbgrader with the hidden tests."""
    if path.is_symlink() or not path.is_file():
        raise GradingError("not handed in")
    if path.stat().st_size > _LARGEST:
        raise GradingError(f"larger than {_LARGEST:,} bytes")
    notebook = _repaired(nbformat.read(path, as_version=4), blank)
    with tempfile.TemporaryDirectory(prefix="grade-") as folder:
        course = prepared._replace(folder=Path(folder))
        _configure(course)
        shutil.copy(prepared.folder / "gradebook.db", folder)
        submitted, executed = (
            Path(folder, step, "learner", "exercises", path.name)
            for step in ("submitted", "autograded")
        )
        submitted.parent.mkdir(parents=True)
        nbformat.write(notebook, submitted)
        if wrong := _nbgrader(course, "autograde", "exercises", "--student=learner"):
            raise GradingError(f"stopped: {wrong}")
        return nbformat.read(executed, as_version=4)


def _repaired(submitted: NotebookNode, blank: NotebookNode) -> NotebookNode:
    """Return `blank` with the learner's solutions, and with their additional code cells.

    This restores deleted cells as blanks, puts moved cells back in place, and undoes changes to
    checks or metadata. A solution that was split into several cells is joined.
    """
    wanted = {cell.id: cell for cell in blank.cells}
    solutions, behind, last = defaultdict(list), defaultdict(list), None
    for cell in submitted.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id", cell.get("id"))
        if name in wanted:
            last = name
            solutions[name].append(cell.source)
        elif cell.cell_type == "code":
            behind[last].append(nbformat.v4.new_code_cell(cell.source))
    cells = behind[None]
    for cell in blank.cells:
        if cell.metadata.get("nbgrader", {}).get("solution") and cell.id in solutions:
            cell.source = "\n".join(solutions[cell.id])
        cells += [cell, *behind[cell.id]]
    blank.cells = cells
    return blank
