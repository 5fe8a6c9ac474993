"""Make tables of runs: a row per run or per epoch, groups over seeds, in any order."""

import logging
import math
from pathlib import Path
from typing import Any

import pandas as pd

from mnist_nb.errors import ParameterError
from mnist_nb.record import to_json
from mnist_nb.tools.runs.results import runs_in

TIME = "wall_time_s"

log = logging.getLogger("mnist_nb")


def results(*places: str | Path, epochs: bool = False) -> pd.DataFrame:
    """Return a row per run (with `epochs`, per epoch) of the notebooks and folders at `places`.

    What is left out, such as runs that failed, is logged.

    Raises:
        ParameterError: there is no run.
    """
    runs, left_out = runs_in([*places])
    for line in left_out:
        log.warning(line)
    if not runs:
        raise ParameterError(no_runs(places))
    return table(runs, epochs)


def no_runs(places: tuple[str | Path, ...]) -> str:
    """Return the sentence for `places` where there is no run."""
    return (f"no record of a run was found in {', '.join(map(str, places))}; give executed "
            "notebooks, or folders of them")  # fmt: skip


def parameters_of(runs: list[dict[str, Any]]) -> list[str]:
    """Return the names of the parameters of all `runs`, in their order."""
    return list(dict.fromkeys(name for run in runs for name in run["parameters"]))


def numbers_of(runs: list[dict[str, Any]]) -> dict[str, str]:
    """Return name -> column of the numbers in the histories of all `runs`, in their order.

    The column is the name, or if a parameter or another column has it, name_measured.
    """
    taken = {"run", "epoch", TIME, *parameters_of(runs)}
    names = dict.fromkeys(name for run in runs for row in run["history"] for name in row)
    names.pop("epoch", None)
    return {name: f"{name}_measured" if name in taken else name for name in names}


def table(runs: list[dict[str, Any]], epochs: bool = False) -> pd.DataFrame:
    """Return a row per run: parameters, the numbers of its last epoch, seconds.

    With `epochs`, return a row per epoch: parameters, the epoch, its numbers.
    """
    columns, rows = numbers_of(runs), []
    for run in runs:
        same = {"run": run["file"], **run["parameters"]}
        for row in run["history"] if epochs else run["history"][-1:]:
            end = {"epoch": row["epoch"]} if epochs else {}
            rows.append(same | end | {columns[n]: v for n, v in row.items() if n != "epoch"})
        if not epochs:
            seconds = run["machine"].get(TIME)
            rows[-1][TIME] = seconds if type(seconds) is float else None
    numbers = [*columns.values(), *[TIME] * (not epochs)]
    order = dict.fromkeys(["run", *parameters_of(runs), *["epoch"] * epochs, *numbers])
    return pd.DataFrame({name: _column([row.get(name, math.nan) for row in rows], name in numbers)
                         for name in order})  # fmt: skip


def _column(values: list, is_number: bool) -> pd.Series:
    """Return a column: floats for a number; a parameter's values as they are, nan where it lacks.

    pandas alone would make floats of whole numbers where one is missing.
    """
    if is_number:
        return pd.Series(values, dtype=float)  # None becomes nan
    mixed = any(value is None or value != value for value in values)
    return pd.Series(values, dtype=object if mixed else None)


def grouped(frame: pd.DataFrame, by: list[str], numbers: list[str]) -> pd.DataFrame:
    """Group a table by the columns `by`: number of runs, means and deviations of `numbers`.

    A group with a run whose number is nan has no mean: the others' would look too good.

    Raises:
        ParameterError: no run has a parameter of that name, or a group has a column of that name.
    """
    for name in by:
        check_column(frame, name)
    places = {name: _comparable(frame[name]) for name in by if frame[name].dtype == object}
    groups = frame.assign(**places).groupby(by, dropna=False)
    columns = {"runs": groups.size()}
    for name in numbers:
        one, exact = groups[name], name == TIME
        columns |= {f"{name}_mean": one.mean(skipna=exact), f"{name}_std": one.std(skipna=exact)}
    for name in columns.keys() & by:
        raise ParameterError(f"{name!r} is what a column of a group is called, so a parameter of "
                             "that name cannot make groups; rename it")  # fmt: skip
    found = pd.DataFrame(columns).reset_index()
    for name, place in places.items():
        values = dict(zip(place, frame[name], strict=True))
        found[name] = pd.Series([values[at] for at in found[name]], dtype=object)
    return found


def ordered(frame: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Sort a table by the columns `by`, the first one first; -NAME means from the highest down.

    In a table of groups, the name of a number means its mean.

    Raises:
        ParameterError: there is no column of that name.
    """
    for word in reversed(by):
        down = word.startswith("-") and word not in frame
        name = word[1:] if down else word
        name = f"{name}_mean" if name not in frame and f"{name}_mean" in frame else name
        check_column(frame, name)
        is_object = frame[name].dtype == object
        frame = frame.sort_values(name, ascending=not down, kind="stable",
                                  key=_comparable if is_object else None)  # fmt: skip
    return frame


def _comparable(column: pd.Series) -> pd.Series:
    """Return numbers that order values of many types: numbers first, then others by their text."""
    keys = [(0, value, "") if type(value) in (int, float) and value == value
            else (1, 0, str(value)) for value in column]  # fmt: skip
    places = {key: place for place, key in enumerate(sorted(set(keys)))}
    return pd.Series([places[key] for key in keys], column.index)


def check_column(frame: pd.DataFrame, name: str) -> None:
    """Raise a ParameterError that names the columns if `name` is none of them."""
    if name not in frame:
        raise ParameterError(f"{name!r} is not in these records; they have "
                             f"{', '.join(frame.columns)}")  # fmt: skip


def without_constants(frame: pd.DataFrame, names: list[str]) -> tuple[pd.DataFrame, dict]:
    """Return `frame` without those columns of `names` that have one value, and these values."""
    same = {name: frame[name].iloc[0] for name in names
            if len({repr(value) for value in frame[name]}) == 1}  # fmt: skip
    return frame.drop(columns=list(same)), same


def as_text(value: Any) -> str:
    """Return a parameter's value as text; nothing for a run that lacks it."""
    return "" if value != value else str(value)


def as_json(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of `frame`, with null for nan and a word for each infinity."""
    return [{name: None if value != value else to_json(value) for name, value in row.items()}
            for row in frame.to_dict("records")]  # fmt: skip
