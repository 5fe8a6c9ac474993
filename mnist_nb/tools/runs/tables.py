"""Make tables of runs: a row per run or per epoch, groups over seeds, in any order."""

import logging
import math
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd

from mnist_nb.errors import ParameterError
from mnist_nb.record import to_json
from mnist_nb.tools.runs.results import runs_in
from mnist_nb.tools.runs.selection import TIME, in_order, parameters_of, rank

MOST_NAMED = 3  # paths in a sentence

log = logging.getLogger("mnist_nb")


def results(*places: Any, epochs: bool = False) -> pd.DataFrame:
    """Return a row per run (with `epochs`, per epoch) of the notebooks and folders at `places`.

    A place is a path, an address, or a list of them. What is left out, such as runs that failed,
    is logged.

    Raises:
        ParameterError: there is no run.
    """
    paths = [path for place in places
             for path in ([place] if isinstance(place, str | PathLike) else place)]  # fmt: skip
    runs, left_out = runs_in(paths)
    for line in left_out:
        log.warning(line)
    if not runs:
        raise ParameterError(no_runs(paths))
    return table(in_order(runs), epochs)


def no_runs(places: Sequence[str | Path]) -> str:
    """Return the sentence for `places` where there is no run."""
    if not places:
        return "no path was given; give executed notebooks, or folders of them"
    more = f" and {len(places) - MOST_NAMED} more" * (len(places) > MOST_NAMED)
    return (f"no record of a run was found in {', '.join(map(str, places[:MOST_NAMED]))}{more}; "
            "give executed notebooks, or folders of them")  # fmt: skip


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


def grouped(
    frame: pd.DataFrame, by: list[str], numbers: list[str], epochs: bool = False
) -> pd.DataFrame:
    """Group a table by the columns `by`: number of runs, means and deviations of `numbers`.

    A group with a run whose number is nan has no mean: the others' would look too good. (The mean
    of the seconds leaves nan out.) With `epochs`, the table has a row per epoch, and a group ends
    where the first of its runs does.

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
    if epochs:
        inner = [name for name in by if name != "epoch"]
        most = found.groupby(inner, dropna=False)["runs"].transform("max") if inner else (
            found["runs"].max())  # fmt: skip
        found = found[found["runs"] == most].reset_index(drop=True)
    for name, place in places.items():
        values = dict(zip(place, frame[name], strict=True))
        found[name] = pd.Series([values[at] for at in found[name]], dtype=object)
    return found


def asked(
    runs: list[dict[str, Any]], by: Sequence[str], sort: Sequence[str], epochs: bool
) -> pd.DataFrame:
    """Return the table of `runs` that these options of the command ask for."""
    frame = table(runs, epochs)
    if by:
        numbers = [*numbers_of(runs).values(), *[TIME] * (not epochs)]
        names = dict.fromkeys([*by, *["epoch"] * epochs])
        frame = grouped(frame, list(names), numbers, epochs)
    return ordered(frame, list(sort))


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
    keys = list(map(rank, column))
    places = {key: place for place, key in enumerate(sorted(set(keys)))}
    return pd.Series([places[key] for key in keys], column.index)


def check_column(frame: pd.DataFrame, name: str) -> None:
    """Raise a ParameterError that names the columns if `name` is none of them."""
    if name not in frame:
        raise ParameterError(f"{name!r} is not in these records; they have "
                             f"{', '.join(frame.columns)}")  # fmt: skip


def constants(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the parameters that have one value in all `runs`."""
    each = [run["parameters"] for run in runs]
    return {name: value for name, value in each[0].items()
            if all(name in one and repr(one[name]) == repr(value) for one in each)}  # fmt: skip


def as_text(value: Any) -> str:
    """Return a parameter's value as text; nothing for a run that lacks it."""
    return "" if value != value else str(value)


def as_json(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of `frame`, with null for nan and a word for each infinity."""
    return [{name: None if value != value else to_json(value) for name, value in row.items()}
            for row in frame.to_dict("records")]  # fmt: skip
