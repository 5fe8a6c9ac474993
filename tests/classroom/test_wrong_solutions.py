"""Mistakes that learners make: each loses its points, and most get a sentence that names them.

`wrong/NAME.yaml` has the mistakes for the exercise NAME: the task (the id of the solution's cell),
the mistake in a few words, the wrong source, and, if a check names the mistake, a word that its
sentence has to contain.
"""

import copy
from pathlib import Path

import matplotlib
import pytest
import yaml
from submissions import ORIGINALS
from test_classroom import run, sources
from torch import nn

from mnist_nb.exercises import NotYet

WRONG = {
    path.stem: yaml.safe_load(path.read_text())
    for path in sorted(Path(__file__).with_name("wrong").glob("*.yaml"))
}
each_exercise = pytest.mark.parametrize("name", WRONG)
matplotlib.use("agg")


def copied(space: dict) -> dict:
    """The names of a notebook, with networks of their own, as a test may change these."""
    return {
        name: copy.deepcopy(value) if isinstance(value, nn.Module) else value
        for name, value in space.items()
    }


@each_exercise
def test_each_mistake_loses_its_points_and_is_named_if_it_says_so(name):
    cells, space = sources(ORIGINALS[name]), {}
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
def test_ten_mistakes_are_written_down_for_each_exercise_and_most_are_named(name):
    assert len({wrong["source"] for wrong in WRONG[name]}) >= 10
    named = [wrong for wrong in WRONG[name] if wrong.get("named")]
    assert len(named) >= 0.7 * len(WRONG[name])
