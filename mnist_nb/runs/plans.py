"""Which runs a sweep has: grids, zipped lists, runs named one by one; all checked beforehand."""

import hashlib
import itertools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from mnist_nb.errors import ParameterError, Problem
from mnist_nb.runs.parameters import declared_parameters, read_values

LISTS = ("runs", "exclude", "include")  # lists of dictionaries
PARTS = ("parameters", "grid", "zip", *LISTS)


class SweepError(Problem):
    """A sweep is not described in full, cannot be started, or ended with runs that failed."""


class Run(NamedTuple):
    """One run of a sweep: its folder's name, its parameters, and what it is known by."""

    name: str
    values: dict[str, Any]
    key: str


def values_of(words: str) -> list[str]:
    """`1,2,3` as a list; `0:10` and `0:10:2` as whole numbers counted like Python's range."""
    if found := re.fullmatch(r"(-?\d+):(-?\d+)(?::(-?[1-9]\d*))?", words):
        return [str(n) for n in range(int(found[1]), int(found[2]), int(found[3] or 1))]
    return [word.strip() for word in words.split(",") if word.strip()]


def read_plan(path: Path) -> dict[str, Any]:
    """What a YAML file says of a sweep; each value is a word, as on the command line.

    Raises:
        SweepError: the file cannot be read, or has parts that a sweep does not.
    """
    try:
        plan = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SweepError(f"{path} cannot be read ({' '.join(str(error).split())})") from error
    if not isinstance(plan, dict) or set(plan) - set(PARTS):
        raise SweepError(f"{path} is no sweep: it takes the parts {', '.join(PARTS)}")
    for part, content in plan.items():
        rows = content if part in LISTS and isinstance(content, list) else [content]
        if not all(isinstance(row, dict) for row in rows):
            kind = "a list of lines" if part in LISTS else "lines"
            raise SweepError(f"{path}: {part} takes {kind} like `lr: 0.1`, not {content!r}")
    return plan


def expand(plan: Mapping[str, Any]) -> list[dict[str, str]]:
    """The parameters of each run, in words.

    Every combination of `grid` and the rows of `zip`, then `runs`; without those that have
    all the values of an entry in `exclude`; then `include`. `parameters` hold for all.

    Raises:
        SweepError: nothing is left, a list is empty or of another length, a name is given twice.
    """
    fixed, grid, zipped = (plan.get(part, {}) for part in ("parameters", "grid", "zip"))
    for name in [*grid, *zipped]:
        if (name in fixed) + (name in grid) + (name in zipped) > 1:
            raise SweepError(f"{name!r} is given twice; give it in one place")
    lists = {name: _words(name, values) for name, values in {**grid, **zipped}.items()}
    lengths = {name: len(lists[name]) for name in zipped}
    if len(set(lengths.values())) > 1:
        raise SweepError(f"zip takes lists of one length, and these have {lengths}")
    rows = [dict(zip(grid, row, strict=True)) for row in itertools.product(*map(lists.get, grid))]
    if zipped:
        columns = map(lists.get, zipped)
        together = [dict(zip(zipped, r, strict=True)) for r in zip(*columns, strict=True)]
        rows = [row | more for row in rows for more in together]
    if not lists and (plan.get("runs") or plan.get("include")):
        rows = []
    rows += [_row(row) for row in plan.get("runs", [])]
    for out in map(_row, plan.get("exclude", [])):
        rows = [row for row in rows if not out.items() <= (_row(fixed) | row).items()]
    rows += [_row(row) for row in plan.get("include", [])]
    if not rows:
        raise SweepError("no run is left: everything is excluded")
    return [row | {n: w for n, w in _row(fixed).items() if n not in row} for row in rows]


def _words(name: str, values: Any) -> list[str]:
    found = values_of(values) if isinstance(values, str) else values
    if not isinstance(found, list) or not found:
        raise SweepError(f"{name} has the values {values!r}; it takes at least one, like 1,2,3")
    return [_word(value) for value in found]


def _row(row: Mapping[str, Any]) -> dict[str, str]:
    return {name: _word(value) for name, value in row.items()}


def _word(value: Any) -> str:
    """A value of a YAML file as the word that the command line has for it."""
    if isinstance(value, list):
        return f"[{', '.join(map(_word, value))}]"
    return "None" if value in ("null", "~") else str(value)


def planned(notebook, rows: list[dict[str, str]]) -> list[Run]:
    """The runs of `notebook` with the parameters of `rows`, each checked, none of them twice.

    Raises:
        ParameterError: a name, a type, a value, or a name that the notebook never reads.
        SweepError: two runs are the same.
    """
    defaults = {n: d.default for n, d in (declared_parameters(notebook) or {}).items()}
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    runs, seen = [], set()
    for row in rows:
        try:
            values = read_values(notebook, row)
        except ParameterError as error:
            raise ParameterError(f"{error} (nothing was run)") from error
        whole = json.dumps(defaults | values, sort_keys=True, default=repr)
        if whole in seen:
            said = name_of(values) or "the run with all defaults"
            raise SweepError(f"{said} is there twice; take one of them out (nothing was run)")
        seen.add(whole)
        key = hashlib.sha256(json.dumps([sources, whole]).encode()).hexdigest()
        runs.append(Run(_folder_name(values), values, key))
    return runs


def _folder_name(values: Mapping[str, Any]) -> str:
    """`name_of`, with a hash where the name alone does not say all."""
    said, name = ",".join(f"{key}={value}" for key, value in values.items()), name_of(values)
    if said != name:
        name = f"{name}-{hashlib.sha256(said.encode()).hexdigest()[:8]}"
    return name or "defaults"


def name_of(values: Mapping[str, Any]) -> str:
    """A file name that says the parameters."""
    said = ",".join(f"{key}={value}" for key, value in values.items())
    return re.sub(r"[^-\w.=,+]", "_", said)[:120]
