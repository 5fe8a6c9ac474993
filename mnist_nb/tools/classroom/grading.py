"""Grade folders of submissions, for the command `grade`.

A learner's notebook runs in a sandbox; its tests run in a process outside, which the learner's
code cannot reach. Only data crosses between the two (`wire`). Each submission gets a result, even
one that crashes, and none affects another.
"""

import copy
import itertools
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbformat import NotebookNode

from mnist_nb.errors import Problem
from mnist_nb.tools.classroom import by_hand
from mnist_nb.tools.classroom.attempts import reached_for, remark
from mnist_nb.tools.classroom.canary import known
from mnist_nb.tools.classroom.cells import (
    Cell,
    is_manual,
    is_solution,
    is_test,
    name_of,
    points_of,
    same,
)
from mnist_nb.tools.classroom.containment import require_containment
from mnist_nb.tools.classroom.entries import Source, learners
from mnist_nb.tools.classroom.feedback import outputs_of, write_page
from mnist_nb.tools.classroom.handed_in import HandedIn, matched
from mnist_nb.tools.classroom.repair import repaired
from mnist_nb.tools.classroom.sandbox import Examiner, Sandbox
from mnist_nb.tools.classroom.student import require_nbgrader, student_version
from mnist_nb.tools.classroom.table import Table, page_of, sentence, shown

log = logging.getLogger("mnist_nb")


class GradingError(Problem):
    """There are no submissions or no exercises, or a notebook cannot be graded."""


class Graded(NamedTuple):
    """The result of one notebook.

    `by_hand` maps each cell that waits for points given by hand to its maximum, which is in `most`
    too. A cell in which nothing is written has 0 points, and is not in `by_hand`.
    """

    points: float
    most: float
    remark: str = ""
    by_hand: dict[str, float] = {}  # noqa: RUF012, never changed
    notebook: NotebookNode | None = None


class _Exercise(NamedTuple):
    """An exercise as its author wrote it, and as learners get it."""

    name: str
    original: NotebookNode
    blank: NotebookNode


def grade(
    submissions: Path,
    exercises: Path,
    output: Path,
    contained: bool,
    seconds: int,
    again: bool = False,
) -> Iterator[tuple[str, dict[str, Graded]]]:
    """Grade what is in `submissions`, a folder for each learner; yield learners and results.

    Learners come as they are finished. A cell is interrupted after `seconds`, a notebook is killed
    after five times that. Write a page per learner into `output`, and after each grades.csv.
    Learners whom an earlier grading into `output` has finished are not graded, unless `again` is
    set or something changed. An exercise of which nobody handed in anything has no row.

    Raises:
        StudentError: nbgrader is not installed.
        GradingError: there are no submissions or exercises, or an original fails its own test.
        TableError, ByHandError: a file in `output` cannot be written or read.
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
        wrong = "has no folder of a learner" if submissions.is_dir() else "is not a folder"
        raise GradingError(f"{submissions} {wrong}; give the folder that has "
                           "LEARNER/EXERCISE.ipynb in it")  # fmt: skip
    if contained and os.geteuid() == 0:
        log.warning("graded as root: notebooks could change the machine's devices, such as "
                    "/dev/null; grade as an ordinary user")  # fmt: skip
    exercises = [_Exercise(name, o, student_version(o)) for name, o in originals.items()]
    blanks = {one.name: one.blank for one in exercises}
    handed_in = {person: _found(sources, blanks) for person, sources in people.items()}
    exercises = [one for one in exercises if _is_assigned(one.name, handed_in)] or exercises
    blanks = {one.name: one.blank for one in exercises}
    table = Table(output, again, [originals, [*blanks], contained, seconds])
    waiting = [person for person in people if not table.has(person, handed_in[person])]
    examiner = Examiner({name: cells_of(o) for name, o in originals.items()}) if waiting else None
    sandbox = Sandbox(contained, {one.name: _opening(one.blank) for one in exercises})
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        futures = {
            pool.submit(
                _grade_one, handed_in[person], exercises, examiner, sandbox, seconds
            ): person
            for person in waiting
        }
        for person in [p for p in people if p not in waiting]:
            yield shown(person), {name: Graded(*row) for name, *row in table.rows_of(person)}
        for future in as_completed(futures):
            person, results = futures.pop(future), future.result()
            given = table.given_to(person)
            write_page(page_of(output, person), shown(person), results, blanks, seconds, given)
            table.add(person, handed_in[person], results)
            yield shown(person), {name: Graded(*row) for name, *row in table.rows_of(person)}
        table.write()
        for name, exercise, cell in table.unused():
            said = f"{by_hand.NAME} gives points to {name} for {cell} of {exercise}, where nothing"
            log.warning("%s waits for points, so they do not count; check the names", said)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        if examiner:
            examiner.stop()
        sandbox.stop()
        pool.shutdown()


def cells_of(original: NotebookNode) -> list[dict]:
    """Return the cells of an original, as the process of the tests needs them."""
    return [
        {"id": name_of(cell), "source": cell.source, "code": cell.cell_type == "code",
         "solution": is_solution(cell), "test": is_test(cell), "manual": is_manual(cell)}
        for cell in original.cells
    ]  # fmt: skip


def _opening(blank: NotebookNode) -> list[str]:
    """Return the sources of the code cells before the first task."""
    before = itertools.takewhile(lambda cell: not is_solution(cell), blank.cells)
    return [cell.source for cell in before if cell.cell_type == "code"]


def _found(sources: list[Source], blanks: dict[str, NotebookNode]) -> dict[str, HandedIn]:
    try:
        return matched(sources, blanks)
    except Exception as error:  # whatever one learner's files cause, the others are graded
        return dict.fromkeys(blanks, HandedIn(None, [sentence(error)]))


def _is_assigned(exercise: str, handed_in: dict[str, dict[str, HandedIn]]) -> bool:
    """Return whether anyone handed in the exercise, or a file that is called like it."""
    every = [found[exercise] for found in handed_in.values()]
    return any(f.cells is not None or exercise in " ".join(f.remarks).lower() for f in every)


def total(results: dict[str, Graded]) -> tuple[float, float]:
    """Return the sum of the points of all results, and of their maxima."""
    return sum(r.points for r in results.values()), sum(r.most for r in results.values())


def _grade_one(
    handed_in: dict[str, HandedIn],
    exercises: list[_Exercise],
    examiner: Examiner,
    sandbox: Sandbox,
    seconds: int,
) -> dict[str, Graded]:
    """Grade the notebooks of one learner, one after another, each in a sandbox of its own."""

    def run(job: dict) -> dict:
        return sandbox.run(examiner, job | {"seconds": seconds})

    return {one.name: _graded(handed_in[one.name], one, run) for one in exercises}


def _graded(found: HandedIn, exercise: _Exercise, run: Callable[[dict], dict]) -> Graded:
    """Grade what was found for an exercise; an error becomes the remark of the result."""
    tests = {name_of(c): points_of(c) for c in exercise.original.cells if is_test(c)}
    hand = {name_of(c): points_of(c) for c in exercise.original.cells if is_manual(c)}
    most = sum(tests.values()) + sum(hand.values())
    if found.cells is None:
        return Graded(0, most, sentence("; ".join(found.remarks)))
    remarks = list(found.remarks)
    try:
        notebook, more = repaired(found.cells, copy.deepcopy(exercise.blank))
        remarks += more
        result = _executed(exercise.name, notebook, run)
        passed = {name: bool(test["passed"]) for name, test in result["tests"].items()}
        points = sum(points_of_test for name, points_of_test in tests.items() if passed.get(name))
        for cell in notebook.cells:
            if name_of(cell) in tests:
                got = tests[name_of(cell)] if passed.get(name_of(cell)) else 0
                said = f"{got:g} of {tests[name_of(cell)]:g} points."
                if name_of(cell) not in passed:
                    said += " This check was not run: a cell above it had ended the notebook."
                cell.metadata["mnist_nb_points"] = said
        written = _written(found.cells, exercise.blank)
        remarks += remark([*map(known, result["found"]), *reached_for(written)])
        remarks += [f'the cell "{name}" took too long and was interrupted'
                    for name in result.get("late", ())]  # fmt: skip
        remarks += [f"stopped: {result['stopped']}"] * bool(result["stopped"])
        unwritten = {name_of(cell): cell.source for cell in exercise.blank.cells}
        hand = {name_of(cell): hand[name_of(cell)] for cell in notebook.cells
                if name_of(cell) in hand
                and not same(cell.source, unwritten[name_of(cell)])}  # fmt: skip
    except GradingError:
        raise
    except Exception as error:  # a submitted file can cause any error
        return Graded(0, most, sentence("; ".join([*remarks, sentence(error)])))
    return Graded(points, most, sentence("; ".join(remarks)), hand, notebook)


def _written(cells: list[Cell], blank: NotebookNode) -> list[Cell]:
    """Return the cells that a learner wrote or changed."""
    ours = {name_of(cell): cell.source for cell in blank.cells}
    return [cell for cell in cells if not same(cell.source, ours.get(cell.name, ""))]


def _executed(name: str, notebook: NotebookNode, run: Callable[[dict], dict]) -> dict:
    """Run the repaired `notebook` and its tests; put what they showed into its cells."""
    cells = [{"id": name_of(cell), "source": cell.source, "code": cell.cell_type == "code"}
             for cell in notebook.cells]  # fmt: skip
    result = run({"exercise": name, "cells": cells})
    if wrong := result.get("wrong"):
        raise GradingError(f"the original of {name} cannot be used: {wrong}; correct it, then "
                           "grade again")  # fmt: skip
    for cell, shown_there in zip(notebook.cells, result["cells"], strict=False):
        if cell.cell_type == "code":
            test = result["tests"].get(name_of(cell))
            cell.outputs = outputs_of(test["outputs"] if test else shown_there)
    return result
