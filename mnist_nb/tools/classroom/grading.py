"""Grade folders of submissions with nbgrader's autograder, for the command `grade`.

Each notebook is graded in a course folder of its own, which is then deleted. So each submission
gets a result, even one that crashes, and none affects another. nbgrader runs outside the sandbox
of `containment.py`, the learner's kernel inside; they communicate over the kernel's sockets only.
"""

import contextlib
import copy
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbformat import NotebookNode

from mnist_nb.errors import Problem
from mnist_nb.tools.classroom.containment import (
    bwrap_prefix,
    prlimit_prefix,
    require_containment,
    shared_folder,
    watch,
)
from mnist_nb.tools.classroom.feedback import write_page
from mnist_nb.tools.classroom.handed_in import HandedIn, Source, learners, matched
from mnist_nb.tools.classroom.repair import repaired
from mnist_nb.tools.classroom.student import STUB, require_nbgrader, student_version
from mnist_nb.tools.classroom.table import Table, page_of, sentence, shown

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
    submissions: Path,
    exercises: Path,
    output: Path,
    contained: bool,
    seconds: int,
    again: bool = False,
) -> Iterator[tuple[str, dict[str, Graded]]]:
    """Grade what is in `submissions`, a folder for each learner; yield learners and results.

    A cell is interrupted after `seconds`, a notebook is killed after five times that. Write a page
    per learner into `output`, and after each the table grades.csv. Learners whom an earlier
    grading into `output` has finished are not graded, unless `again` is set or something changed.

    Raises:
        StudentError: nbgrader is not installed.
        GradingError: there are no submissions or exercises, or nbgrader rejects the exercises.
        ContainmentError: `contained` is set, but the sandbox does not work here.
    """
    require_nbgrader()
    if contained:
        require_containment()
    originals = {p.stem: nbformat.read(p, as_version=4) for p in sorted(exercises.glob("*.ipynb"))}
    if not originals:
        raise GradingError(
            f"there are no exercises in {exercises}; copy the original .ipynb files there, with "
            "their solutions"
        )
    people = learners(submissions) if submissions.is_dir() else {}
    if not people:
        raise GradingError(f"{submissions} has no folder of a learner; give the folder that has "
                           "LEARNER/EXERCISE.ipynb in it")  # fmt: skip
    blanks = {name: student_version(original) for name, original in originals.items()}
    table = Table(output, again, [originals, contained, seconds])
    handed_in = {person: _found(sources, blanks) for person, sources in people.items()}
    waiting = [person for person in people if not table.has(person, handed_in[person])]
    with tempfile.TemporaryDirectory(prefix="grade-") as temporary:
        course = _Course(Path(temporary, "course"), contained, seconds)
        if waiting:
            _prepare(originals, course)
        pool = ThreadPoolExecutor(os.cpu_count())
        try:
            futures = {
                (person, name): pool.submit(
                    _graded, name, handed_in[person][name], original, blanks[name], course
                )
                for person in waiting
                for name, original in originals.items()
            }
            for person in people:
                if person in waiting:
                    results = {name: futures.pop((person, name)).result() for name in originals}
                    write_page(page_of(output, person), shown(person), results, blanks, seconds)
                    table.add(person, handed_in[person], results)
                rows = table.rows_of(person)
                yield shown(person), {name: Graded(*row) for name, *row in rows}
            table.write()
        finally:
            pool.shutdown(cancel_futures=True)


def _found(sources: list[Source], blanks: dict[str, NotebookNode]) -> dict[str, HandedIn]:
    try:
        return matched(sources, blanks)
    except Exception as error:  # whatever one learner's files cause, the others are graded
        return dict.fromkeys(blanks, HandedIn(None, [sentence(error)]))


def total(results: dict[str, Graded]) -> tuple[float, float]:
    """Return the sum of the points of all results, and of their maxima."""
    return sum(r.points for r in results.values()), sum(r.most for r in results.values())


def _nbgrader(course: _Course, *words: str) -> str:
    """Run nbgrader with the folder and kernel spec of `course`; return why it failed, or ""."""
    import nbgrader

    scripts = Path(nbgrader.__file__).parents[1] / "bin"  # with alembic, which nbgrader runs
    path = os.pathsep.join([str(scripts), str(Path(sys.executable).parent), os.environ["PATH"]])
    here = {"JUPYTER_PATH": str(course.folder / "jupyter"), "PATH": path}
    with shared_folder() as shared, (course.folder / "log").open("w+b") as log:
        _configure(course, Path(shared))
        process = subprocess.Popen(
            [*prlimit_prefix(), sys.executable, "-c", _NBGRADER, *words], cwd=course.folder,
            env=os.environ | here, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            if wrong := _waited(process, course, Path(shared)):
                return wrong
        finally:
            process.kill()
            process.wait()
        log.seek(max(0, log.tell() - 100_000))
        text = log.read().decode(errors="replace")
    said = re.findall(r"^[ \w.]*?(\w+(?:Error|Exception): *\S.*)$", text, re.M)
    said = said or text.splitlines()[-1:] or ["nbgrader gave no reason"]
    return said[-1] if process.returncode else ""


def _waited(process: subprocess.Popen, course: _Course, shared: Path) -> str:
    """Wait for nbgrader; return why it may not go on, or ""."""
    end = time.monotonic() + 5 * course.seconds
    while time.monotonic() < end:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.2)
            return ""
        if course.contained and (wrong := watch(process.pid, shared)):
            return wrong
    return f"it took longer than {5 * course.seconds} seconds"


def _configure(course: _Course, run: Path) -> None:
    """Write nbgrader's configuration and a kernel spec python3, contained if `course` is."""
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


def _prepare(originals: dict[str, NotebookNode], course: _Course) -> None:
    """Write `course`, in which nbgrader knows the exercises and their hidden tests."""
    source = course.folder / "source" / "exercises"
    source.mkdir(parents=True)
    for name, original in originals.items():
        nbformat.write(original, source / f"{name}.ipynb")
    if wrong := _nbgrader(course, "generate_assignment", "exercises"):
        raise GradingError(
            f"nbgrader rejects the exercises: {wrong}; correct the original notebooks, then grade "
            "again"
        )


def _graded(
    name: str, found: HandedIn, original: NotebookNode, blank: NotebookNode, prepared: _Course
) -> Graded:
    """Grade what was found for an exercise; an error becomes the remark of the result."""
    from nbgrader.utils import determine_grade, is_grade

    most = sum(cell.metadata.nbgrader.points for cell in original.cells if is_grade(cell))
    if found.cells is None:
        return Graded(0, most, sentence("; ".join(found.remarks)))
    remarks = list(found.remarks)
    try:
        notebook, more = repaired(found.cells, copy.deepcopy(blank))
        remarks += more
        notebook = _executed(name, notebook, prepared)
        points = sum(determine_grade(cell)[0] or 0 for cell in notebook.cells if is_grade(cell))
    except Exception as error:  # a submitted file can cause any error
        return Graded(0, most, sentence("; ".join([*remarks, sentence(error)])))
    return Graded(points, most, sentence("; ".join(remarks)), notebook)


def _executed(name: str, notebook: NotebookNode, prepared: _Course) -> NotebookNode:
    """Return the repaired `notebook`, executed by nbgrader with the hidden tests."""
    with tempfile.TemporaryDirectory(prefix="grade-") as folder:
        course = prepared._replace(folder=Path(folder))
        shutil.copy(prepared.folder / "gradebook.db", folder)
        submitted, executed = (
            Path(folder, step, "learner", "exercises", f"{name}.ipynb")
            for step in ("submitted", "autograded")
        )
        submitted.parent.mkdir(parents=True)
        nbformat.write(notebook, submitted)
        if wrong := _nbgrader(course, "autograde", "exercises", "--student=learner"):
            raise GradingError(f"stopped: {wrong}")
        return nbformat.read(executed, as_version=4)
