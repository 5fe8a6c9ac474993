"""Choose runs by their parameters, and say what groups of them mix."""

import math
import re
from collections.abc import Iterable
from typing import Any

from mnist_nb.errors import ParameterError
from mnist_nb.tools.runs.plans import values_of
from mnist_nb.tools.runs.validity import brief
from mnist_nb.tools.runs.words import plain

TIME = "wall_time_s"
SEED = re.compile(r"(^|_)(seed|random_state)$")
MOST_SAID = 6  # values of a parameter in a sentence


def parameters_of(runs: list[dict[str, Any]]) -> list[str]:
    """Return the names of the parameters of all `runs`, in their order."""
    return list(dict.fromkeys(name for run in runs for name in run["parameters"]))


def check_parameter(runs: list[dict[str, Any]], name: str) -> None:
    """Raise a ParameterError that names the parameters of `runs` if `name` is none of them."""
    known = parameters_of(runs)
    if name in known:
        return
    results = {name for run in runs for row in run["history"] for name in row} | {TIME}
    is_result = name in results - {"epoch"}
    what = "a result, not a parameter" if is_result else "not in these records"
    raise ParameterError(f"{name!r} is {what}; they have {', '.join(map(brief, known)) or 'none'}")


def where(runs: list[dict[str, Any]], conditions: Iterable[str]) -> list[dict[str, Any]]:
    """Return the `runs` that meet all `conditions`, such as `epochs=1` or `lr=0.1,0.01`.

    Raises:
        ParameterError: a condition has no value, names no parameter, or no run meets it.
    """
    for condition in conditions:
        name, equals, words = condition.partition("=")
        if not equals:
            raise ParameterError(f"--where {condition}: give it as NAME=VALUE, like epochs=1")
        check_parameter(runs, name)
        given = values_of(words)
        having = [run for run in runs if name in run["parameters"]]
        kept = [run for run in having if str(run["parameters"][name]) == words
                or any(_is_meant(run["parameters"][name], value) for value in given)]  # fmt: skip
        if not kept:
            raise ParameterError(f"no run has {condition}; they have {_values(runs, name)}")
        runs = kept
    return runs


def _is_meant(value: Any, given: Any) -> bool:
    """Return whether `given`, a word or what YAML says, means the parameter's `value`."""
    read = plain(given)
    alike = read == value and (type(read) is bool) == (type(value) is bool)
    return alike or (isinstance(given, str) and given == value)


def in_order(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return `runs` ordered by their parameters, the seeds last."""
    names = sorted(parameters_of(runs), key=lambda name: bool(SEED.search(name)))
    return sorted(runs, key=lambda run: [_rank(run, name) for name in names])


def rank(value: Any) -> tuple:
    """Return what orders values of many types: numbers first, then others by their text."""
    is_number = type(value) in (int, float) and value == value
    return (0, value, "") if is_number else (1, 0, str(value))


def _rank(run: dict[str, Any], name: str) -> tuple:
    return rank(run["parameters"].get(name, math.nan))


def varying(runs: list[dict[str, Any]]) -> list[str]:
    """Return the parameters, but no seeds, that are not the same in all runs that have them."""
    values: dict[str, set[str]] = {}
    for run in runs:
        for name, value in run["parameters"].items():
            values.setdefault(name, set()).add(repr(value))
    return [name for name, found in values.items() if len(found) > 1 and not SEED.search(name)]


def warnings(runs: list[dict[str, Any]], by: list[str], epochs: bool) -> list[str]:
    """Return sentences on what could mislead in groups by the parameters `by`."""
    cut = "the rows of a group stop where its first run ends"
    return [*filter(None, [_mixture(runs, by)]), *[cut] * (epochs and is_uneven(runs, by))]


def _mixture(runs: list[dict[str, Any]], by: list[str]) -> str:
    """Return a sentence on what varies within the groups by the parameters `by`, but seeds."""
    names = [name for name in parameters_of(runs) if name not in by and not SEED.search(name)]
    groups = _groups(runs, by)
    mixed = [name for name in names
             if any(len({_rank(run, name) for run in group}) > 1 for group in groups)]  # fmt: skip
    if not mixed:
        return ""
    said = ", ".join(f"{brief(name)} ({_values(runs, name)})" for name in mixed)
    more = " ".join(f"--by {brief(name)}" for name in mixed)
    return (f"the groups mix runs with different {said}; to keep them apart, add {more}, or "
            "choose with --where")  # fmt: skip


def is_uneven(runs: list[dict[str, Any]], by: list[str]) -> bool:
    """Return whether runs of one group by the parameters `by` end at different epochs."""
    return any(len({len(run["history"]) for run in group}) > 1 for group in _groups(runs, by))


def _groups(runs: list[dict[str, Any]], by: list[str]) -> list[list[dict[str, Any]]]:
    groups: dict[tuple, list] = {}
    for run in runs:
        groups.setdefault(tuple(_rank(run, name) for name in by), []).append(run)
    return list(groups.values())


def _values(runs: list[dict[str, Any]], name: str) -> str:
    """Return the values of a parameter as a short list."""
    found = {_rank(run, name): brief(run["parameters"].get(name, "not given")) for run in runs}
    said = [found[key] for key in sorted(found)]
    return ", ".join([*said[:MOST_SAID], *["…"] * (len(said) > MOST_SAID)])
