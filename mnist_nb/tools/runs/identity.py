"""A run of a sweep: its parameters, checked, the name of its folder, and its key."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from mnist_nb.errors import ParameterError
from mnist_nb.files import cut
from mnist_nb.tools.runs.declared import declared_parameters, reader
from mnist_nb.tools.runs.plans import SweepError


class Run(NamedTuple):
    """One run of a sweep: its folder's name, its parameters, and what it is known by."""

    name: str
    values: dict[str, Any]
    key: str


def checked_runs(notebook, rows: Iterable[Mapping[str, str]]) -> list[Run]:
    """The runs of `notebook` with the parameters of `rows`, each checked, none of them twice.

    Raises:
        ParameterError: a name, a type, a value, or a name that the notebook never reads.
        SweepError: two runs are the same.
    """
    defaults = {n: d.default for n, d in (declared_parameters(notebook) or {}).items()}
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    begun = hashlib.sha256(f"[{json.dumps(sources)}, ".encode())  # the same in all keys
    read, runs, seen, names = reader(notebook), [], set(), set()
    for row in rows:
        try:
            values = read(row)
        except ParameterError as error:
            raise ParameterError(f"{error} (nothing was run)") from error
        whole = json.dumps(defaults | values, sort_keys=True, default=repr)
        hashed = begun.copy()
        hashed.update(f"{json.dumps(whole)}]".encode())
        key = hashed.hexdigest()
        if key in seen:
            said = name_of(values) or "the run with all defaults"
            raise SweepError(f"{said} is there twice; take one of them out (nothing was run)")
        seen.add(key)
        name = _folder_name(values)
        if name.casefold() in names:  # as 1 and '1' are in a file's name
            name = f"{name}-{key[:8]}"
        names.add(name.casefold())
        runs.append(Run(name, values, key))
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
    return cut(re.sub(r"[^-\w.=,+]", "_", said), 120)
