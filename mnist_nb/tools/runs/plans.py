"""Expand the description of a sweep into runs: grids, zipped lists and single runs.

The command `sweep` and studies/experiments.py call it. Values are strings until `declared`
converts them.
"""

import difflib
import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import yaml

from mnist_nb.errors import Problem

MAX_RUNS = 1_000_000  # of one sweep
LISTS = ("runs", "exclude", "include")  # lists of dictionaries
PARTS = ("parameters", "grid", "zip", *LISTS)


class SweepError(Problem):
    """A sweep has an invalid description, or cannot start."""

    exit_code = 2  # of the command


class RunsFailed(SweepError):
    """A sweep has started, but not all of its runs are finished."""

    exit_code = 1


def values_of(words: str) -> list[str]:
    """Split `1,2,3` into a list; expand `0:10` and `0:10:2` like Python's range.

    Raises:
        SweepError: there are more than MAX_RUNS values.
    """
    if found := re.fullmatch(r"(-?\d{1,18}):(-?\d{1,18})(?::(-?[1-9]\d{0,17}))?", words):
        numbers = range(int(found[1]), int(found[2]), int(found[3] or 1))
        _check_number(len(numbers))
        return [str(n) for n in numbers]
    return [word.strip() for word in words.split(",") if word.strip()]


def _check_number(runs: int) -> None:
    if runs > MAX_RUNS:
        raise SweepError(
            f"these are {runs:,} runs, and one sweep takes at most {MAX_RUNS:,}; split it up"
        )


class _UniqueKeys(yaml.BaseLoader):
    """Load YAML with all values as strings, and reject duplicate keys."""

    def construct_mapping(self, node, deep=False):
        """Build a dictionary; raise SweepError if a key occurs twice."""
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # not a valid key: YAML raises an error
            if key.value in seen:
                line = key.start_mark.line + 1
                raise SweepError(f"{key.value!r} is given twice (line {line}); give it once")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_plan(path: Path) -> dict[str, Any]:
    """Read the description of a sweep from a YAML file; all values are strings.

    Raises:
        SweepError: the file cannot be read, has an unknown part, or has a key twice.
    """
    try:
        plan = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)
    except (OSError, UnicodeDecodeError, RecursionError, yaml.YAMLError) as error:
        raise SweepError(f"{path} cannot be read ({' '.join(str(error).split())})") from error
    except SweepError as error:
        raise SweepError(f"{path}: {error}") from error
    if not isinstance(plan, dict) or set(plan) - set(PARTS):
        has = ", ".join(map(str, plan)) if isinstance(plan, dict) else "none"
        raise SweepError(f"{path} does not describe a sweep; its parts may be {', '.join(PARTS)}, "
                         f"but it has {has}")  # fmt: skip
    try:
        _check_form(plan)
    except SweepError as error:
        raise SweepError(f"{path}: {error}") from error
    return plan


def _check_form(plan: Mapping[str, Any]) -> None:
    """Raise SweepError unless each part is a dictionary or, in LISTS, a list of dictionaries."""
    for part, content in plan.items():
        rows = content if part in LISTS else [content]
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            kind = (
                "a list of lines like `- {lr: 0.1}`" if part in LISTS else "lines like `lr: 0.1`"
            )
            raise SweepError(f"{part} takes {kind}, not {content!r}")


def count(plan: Mapping[str, Any]) -> int:
    """Return how many runs `plan` describes before `exclude`, without expanding it.

    Raises:
        SweepError: a list is empty, zipped lists differ in length, a name is given twice, or
            there are more than MAX_RUNS runs.
    """
    _check_form(plan)
    grid, zipped = _lists(plan)
    products = math.prod(map(len, grid.values())) * len(next(iter(zipped.values()), [0]))
    single = len(plan.get("runs", [])) + len(plan.get("include", []))
    runs = single + (products if grid or zipped or not single else 0)
    _check_number(runs)
    return runs


def _lists(plan: Mapping[str, Any]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return name -> strings for `grid` and for `zip`, without duplicate names."""
    fixed, grid, zipped = (plan.get(part, {}) for part in ("parameters", "grid", "zip"))
    for name in [*grid, *zipped]:
        if (name in fixed) + (name in grid) + (name in zipped) > 1:
            raise SweepError(f"{name!r} is given twice; give it in one place")
    lists = {name: _texts_of_list(name, values) for name, values in {**grid, **zipped}.items()}
    lengths = {name: len(lists[name]) for name in zipped}
    if len(set(lengths.values())) > 1:
        raise SweepError(f"zip needs lists of the same length, but these have {lengths}")
    return {name: lists[name] for name in grid}, {name: lists[name] for name in zipped}


def _guess(name: str, word: str) -> Any:
    """Convert a string of unknown type: to a number if it looks like one."""
    try:
        return Decimal(word)
    except InvalidOperation:
        return word


def expand(
    plan: Mapping[str, Any], value: Callable[[str, str], Any] = _guess
) -> list[dict[str, str]]:
    """Return the parameters of all runs, as strings; see `each_row`."""
    return list(each_row(plan, value))


def each_row(
    plan: Mapping[str, Any], value: Callable[[str, str], Any] = _guess
) -> Iterator[dict[str, str]]:
    """Yield the parameters of each run, as strings.

    First come all combinations of `grid` and the rows of `zip`, then `runs`. Those that match
    all values of an entry of `exclude` are left out; `value(name, string)` converts the strings
    to compare. Then come the runs of `include`. `parameters` apply to all runs.

    Raises:
        SweepError: see `count`; no run is left, or an entry of `exclude` matches no run.
    """
    count(plan)
    grid, zipped = _lists(plan)
    singles, added, excluded = (
        [_texts_of_row(row) for row in plan.get(part, [])]
        for part in ("runs", "include", "exclude")
    )
    rows = iter(singles)
    if grid or zipped or not (singles or added):
        together = zip(*zipped.values(), strict=True) if zipped else [()]
        products = itertools.product(*grid.values(), together)
        names = [*grid, *zipped]
        rows = itertools.chain(
            (dict(zip(names, [*one, *more], strict=True)) for *one, more in products), singles
        )
    fixed = _texts_of_row(plan.get("parameters", {}))
    out = [{name: value(name, word) for name, word in row.items()} for row in excluded]
    matched, left = [False] * len(out), False
    for row in rows:
        whole = fixed | row
        matches = [
            all(name in whole and value(name, whole[name]) == v for name, v in entry.items())
            for entry in out
        ]
        matched = [old or new for old, new in zip(matched, matches, strict=True)]
        if not any(matches):
            left = True
            yield _in_order(row, fixed)
    for entry, found in zip(excluded, matched, strict=True):
        if not found:
            raise SweepError(
                _no_match(entry, {*fixed, *grid, *zipped, *itertools.chain(*singles)})
            )
    for row in added:
        left = True
        yield _in_order(row, fixed)
    if not left:
        raise SweepError("no run is left, as exclude matches all of them; correct its entries")


def _in_order(row: dict[str, str], fixed: dict[str, str]) -> dict[str, str]:
    """Return `row`, followed by the parameters in `fixed` that it does not override."""
    return row | {name: word for name, word in fixed.items() if name not in row}


def _no_match(entry: dict[str, str], names: set[str]) -> str:
    """Return the message that an entry of `exclude` matches no run, and why."""
    said = f"exclude: {{{', '.join(f'{name}: {word}' for name, word in entry.items())}}}"
    for name in entry:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
            known = ", ".join(sorted(names)) or "none"
            hint = f"did you mean {near[0]!r}?" if near else f"names are {known}"
            return (
                f"{said} matches no run, as none has {name!r} (those of include are never left "
                f"out); {hint}"
            )
    return f"{said} matches no run; correct its values or remove it"


def _texts_of_list(name: str, values: Any) -> list[str]:
    found = values_of(values) if isinstance(values, str) else values
    if not isinstance(found, list) or not found:
        raise SweepError(f"{name} has the values {values!r}; give at least one value, like 1,2,3")
    return [_text_of_value(value) for value in found]


def _texts_of_row(row: Mapping[str, Any]) -> dict[str, str]:
    return {name: _text_of_value(value) for name, value in row.items()}


def _text_of_value(value: Any) -> str:
    """Return a value of a YAML file as a string, as on the command line."""
    if isinstance(value, list):
        return f"[{', '.join(map(_text_of_value, value))}]"
    return "None" if value in ("null", "~") else str(value)
