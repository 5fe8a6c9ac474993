"""Mistakes that learners make: each loses its points, and most get a sentence that names them.

Those of `SUBTLE` in `submissions.py` fit the visible check, and only a hidden test finds them.

`wrong/NAME.yaml` has the mistakes for the exercise NAME: the task (the id of the solution's cell),
the mistake in a few words, the wrong source, and, if a check names the mistake, a word that its
sentence has to contain.
"""

import copy
import functools
from pathlib import Path

import matplotlib
import nbformat
import pytest
import submissions
import torch
import yaml
from conftest import PROJECT
from submissions import ORIGINALS, SUBTLE
from test_classroom import HIDDEN, SOLUTION, run, sources
from torch import nn

from mnist_nb.exercises import NotYet

WRONG = {
    path.stem: yaml.safe_load(path.read_text())
    for path in sorted(Path(__file__).with_name("wrong").glob("*.yaml"))
}
each_exercise = pytest.mark.parametrize("name", WRONG)
matplotlib.use("agg")
TRAINED = {}  # settings of the challenge -> their history; many mistakes need the same ones


def run_cell(cell: str, source: str, space: dict) -> None:
    """Run a cell of an original; the challenge trains settings once for all tests here."""
    if cell == "base":  # the challenge's; it trains for seconds, and no check reads it
        return
    run(source, space)
    if cell == "trained":
        train = space["trained"]

        def trained(values):
            key = tuple(values.items())
            if key not in TRAINED:
                TRAINED[key] = train(values)
            return copy.deepcopy(TRAINED[key])

        space["trained"] = trained


@functools.cache  # what stands there may train for seconds
def start_of(name: str) -> tuple[dict[str, str], dict, torch.Tensor]:
    """Run an original up to its first task: those cells, their names, the generator's state."""
    cells, space = {}, {}
    for cell, source in sources(ORIGINALS[name]).items():
        if SOLUTION.search(source):
            break
        run_cell(cell, source, space)
        cells[cell] = source
    return cells, space, torch.get_rng_state()


def begun(name: str) -> tuple[dict[str, str], dict]:
    """Return the cells of an original from its first task on, and the names of those before."""
    before, space, state = start_of(name)
    torch.set_rng_state(state)
    cells = sources(ORIGINALS[name])
    return {cell: cells[cell] for cell in cells if cell not in before}, copied(space)


def copied(space: dict) -> dict:
    """The names of a notebook, with networks of their own, as a test may change these."""
    return {
        name: copy.deepcopy(value) if isinstance(value, nn.Module) else value
        for name, value in space.items()
    }


@each_exercise
def test_each_mistake_loses_its_points_and_is_named_if_it_says_so(name):
    cells, space = begun(name)
    tasks = [wrong["task"] for wrong in WRONG[name]]
    assert {*tasks} <= {cell.removesuffix("-test") for cell in cells if cell.endswith("-test")}
    for cell, source in cells.items():
        for wrong in WRONG[name]:
            if cell == f"{wrong['task']}-test":
                tried = copied(space)
                run(wrong["source"], tried)
                with pytest.raises(Exception) as caught:
                    run(source, tried)
                    pytest.fail(f"no points are lost by: {wrong['mistake']}")
                if word := wrong.get("named"):
                    assert isinstance(caught.value, NotYet), (wrong["mistake"], caught.value)
                    assert word in str(caught.value), (wrong["mistake"], str(caught.value))
        run(source, space)


@each_exercise
def test_hidden_tests_catch_what_fits_the_visible_test_alone(name):
    cells, space = begun(name)
    for cell, source in cells.items():
        if cell.removesuffix("-test") not in SUBTLE[name] or cell in SUBTLE[name]:
            run(source, space)
            continue
        exercise = cell.removesuffix("-test")
        mistake = sources(submissions.changed(name, **{exercise: SUBTLE[name][exercise]}))
        run(mistake[exercise], space)
        run(HIDDEN.sub("", source), space)  # nothing is found
        with pytest.raises((NotYet, RuntimeError)):
            run(source, space)
        run(cells[exercise], space)
        run(source, space)


@each_exercise
def test_every_blank_raises_one_sentence(name):
    path = PROJECT / "notebooks" / "exercises" / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    cells, (_, space) = sources(notebook), begun(name)
    assert not [c for c in notebook.cells if c.get("outputs") or c.get("execution_count")]
    tags = {cell.id: cell.metadata.get("tags", []) for cell in notebook.cells}
    checks = [cell for cell in notebook.cells if cell.id.endswith("-test")]
    assert checks and not any(c.metadata.editable or c.metadata.deletable for c in checks)
    before = start_of(name)[0]
    assert {cell: cells[cell] for cell in before} == before, "they are run already"
    for cell, source in cells.items():
        if cell in before:
            continue
        if "raises-exception" in tags[cell] and not source.startswith("def "):
            with pytest.raises(NotYet, match="not solved yet"):
                run(source, space)
        else:
            run(source, space)


@each_exercise
def test_ten_mistakes_are_written_down_for_each_exercise_and_most_are_named(name):
    fewest = 5 if name == "09_challenge" else 10
    assert len({wrong["source"] for wrong in WRONG[name]}) >= fewest
    named = [wrong for wrong in WRONG[name] if wrong.get("named")]
    assert len(named) >= 0.7 * len(WRONG[name])
