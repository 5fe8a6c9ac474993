"""Expand the description of a sweep into runs: grids, zipped lists and single runs.

The command `sweep` and studies/experiments.py call it. Values are as `words` reads them, until
`given` converts them to the types of the parameters.
"""

import difflib
import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mnist_nb.errors import ParameterError, Problem
from mnist_nb.tools.runs.words import load, plain

MAX_RUNS = 1_000_000  # of one sweep
LISTS = ("runs", "exclude", "include")  # lists of dictionaries
PARTS = ("parameters", "grid", "zip", *LISTS)


class SweepError(Problem):
    """A sweep has an invalid description, or cannot start."""

    exit_code = 2  # of the command


class RunsFailed(SweepError):
    """A sweep has started, but not all of its runs are finished."""

    exit_code = 1


# how a message names parameters, grid and zip
_WHERE = ("parameters (or -p)", "grid (or -g)", "the file's zip")
# a value that begins like a list, a mapping or a quoted text of YAML
_YAML = re.compile(r"(?:^|,)\s*[\[{'\"]")
_RANGE = re.compile(r"(-?\d{1,18}):(-?\d{1,18})(?::(-?[1-9]\d{0,17}))?")


def values_of(words: str) -> list[Any]:
    """Split `1,2,3` into a list; expand `0:10` and `0:10:2` like Python's range.

    Lists and the like are written in YAML: `[1,2],[3]` and `[[1,2],[3]]` are the same two lists.

    Raises:
        SweepError: there are more than MAX_RUNS values, or `words` look like YAML but are not.
    """
    if found := _RANGE.fullmatch(words):
        numbers = range(int(found[1]), int(found[2]), int(found[3] or 1))
        _check_number(len(numbers))
        return [str(n) for n in numbers]
    if _YAML.search(words):
        return _yaml_values(words)
    return [word.strip() for word in words.split(",") if word.strip()]


def _yaml_values(words: str) -> list[Any]:
    """Return the values in YAML that `words` list, with brackets around all of them or not."""
    if words.lstrip().startswith("["):
        try:
            found = load(words)
        except ParameterError:
            pass  # such as `[1,2],[3]`
        else:
            return found
    try:
        return load(f"[{words}]")
    except ParameterError as error:
        said = str(error).replace("it is", "they are", 1)
        raise SweepError(f"the values {words!r} cannot be read: {said}") from error


def _check_number(runs: int) -> None:
    if runs > MAX_RUNS:
        raise SweepError(
            f"these are {runs:,} runs, and one sweep takes at most {MAX_RUNS:,}; split it up"
        )


def read_plan(path: Path) -> dict[str, Any]:
    """Read the description of a sweep from a YAML file, with values as `words.load` reads them.

    Raises:
        SweepError: the file cannot be read, has an unknown part, or has a key twice.
    """
    try:
        plan = load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SweepError(f"{path} cannot be read ({' '.join(str(error).split())})") from error
    except ParameterError as error:
        raise SweepError(f"{path} cannot be read: {error}") from error
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


def names_in(plan: Mapping[str, Any]) -> set[str]:
    """Return the names of the parameters that runs of `plan` are given."""
    _check_form(plan)
    rows = [plan.get(part, {}) for part in ("parameters", "grid", "zip")]
    return set(itertools.chain(*rows, *plan.get("runs", []), *plan.get("include", [])))


def _lists(plan: Mapping[str, Any]) -> tuple[dict[str, list], dict[str, list]]:
    """Return name -> values for `grid` and for `zip`, without duplicate names."""
    fixed, grid, zipped = (plan.get(part, {}) for part in ("parameters", "grid", "zip"))
    for name in [*grid, *zipped]:
        named = [part for part, content in zip(_WHERE, (fixed, grid, zipped), strict=True)
                 if name in content]  # fmt: skip
        if len(named) > 1:
            raise SweepError(
                f"{name!r} is given twice, in {' and in '.join(named)}; give it in one place"
            )
    lists = {name: _values(name, values) for name, values in {**grid, **zipped}.items()}
    lengths = {name: len(lists[name]) for name in zipped}
    if len(set(lengths.values())) > 1:
        raise SweepError(f"zip needs lists of the same length, but these have {lengths}")
    return {name: lists[name] for name in grid}, {name: lists[name] for name in zipped}


def _plain(name: str, value: Any) -> Any:
    """Convert a value of unknown type."""
    return plain(value)


def expand(
    plan: Mapping[str, Any], value: Callable[[str, Any], Any] = _plain
) -> list[dict[str, Any]]:
    """Return the parameters of all runs; see `each_row`."""
    return list(each_row(plan, value))


def each_row(
    plan: Mapping[str, Any], value: Callable[[str, Any], Any] = _plain
) -> Iterator[dict[str, Any]]:
    """Yield the parameters of each run, as the plan has them.

    First come all combinations of `grid` and the rows of `zip`, then `runs`. Those that match
    all values of an entry of `exclude` are left out; `value(name, word)` converts what is
    compared. Then come the runs of `include`. `parameters` apply to all runs.

    Raises:
        SweepError: see `count`; no run is left, or an entry of `exclude` matches no run.
    """
    count(plan)
    grid, zipped = _lists(plan)
    singles, added, excluded = (plan.get(part, []) for part in ("runs", "include", "exclude"))
    rows = iter(singles)
    if grid or zipped or not (singles or added):
        together = zip(*zipped.values(), strict=True) if zipped else [()]
        products = itertools.product(*grid.values(), together)
        names = [*grid, *zipped]
        rows = itertools.chain(
            (dict(zip(names, [*one, *more], strict=True)) for *one, more in products), singles
        )
    fixed = plan.get("parameters", {})
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


def _in_order(row: dict[str, Any], fixed: dict[str, Any]) -> dict[str, Any]:
    """Return `row`, followed by the parameters in `fixed` that it does not override."""
    return row | {name: value for name, value in fixed.items() if name not in row}


def _no_match(entry: dict[str, Any], names: set[str]) -> str:
    """Return the message that an entry of `exclude` matches no run, and why."""
    said = ", ".join(f"{name}: {value}" for name, value in entry.items())
    said = f"exclude: {{{' '.join(said.split())}}}"
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


def _values(name: str, values: Any) -> list:
    """Return the values that `grid` or `zip` gives for a parameter: a list, or words like 1,2."""
    found = values_of(values) if isinstance(values, str) else values
    if not isinstance(found, list) or not found:
        empty = ", which is an empty range" * bool(_RANGE.fullmatch(str(values)))
        raise SweepError(
            f"{name} has the values {values!r}{empty}; give at least one value, like 1,2,3"
        )
    return found
