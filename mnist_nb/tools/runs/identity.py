"""A run of a sweep: its parameters, the name of its folder, and whether a record is of it."""

import hashlib
import importlib.metadata
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import mnist_nb
from mnist_nb import data
from mnist_nb.errors import ParameterError
from mnist_nb.files import cut
from mnist_nb.tools.runs.declared import declared_parameters, reader
from mnist_nb.tools.runs.plans import SweepError

NUMERICAL = ("torch", "torchvision", "numpy")  # what the numbers may depend on


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
    package = _package_sha256() if "mnist_nb" in "".join(sources) else None
    begun = hashlib.sha256(
        f"[{json.dumps([package, *sources])}, ".encode()
    )  # the same in all keys
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


def not_its_record(run: Run, machine: Mapping[str, Any], dataset: tuple) -> str | None:
    """Why a record, whose notebook says this of its `machine`, is not one of `run`.

    None if it is. `dataset` is what `data.hashes` takes, the run's name and folder of data.
    """
    if machine["sweep_key"] != run.key:
        return "the code of the notebook or of mnist_nb is another one"
    for name in NUMERICAL:
        if (then := machine["versions"].get(name)) != (here := importlib.metadata.version(name)):
            return f"it was made with {name} {then}, and this is {here}"
    here = data.hashes(*dataset) if isinstance(dataset[0], str) else {}
    return "the data are others" if here and machine["data_sha256"] != here else None


def _package_sha256() -> str:
    """One SHA-256 of all modules that notebooks import."""
    whole = hashlib.sha256()
    for path in sorted(Path(mnist_nb.__file__).parent.glob("*.py")):
        whole.update(f"{path.name}\n".encode() + path.read_bytes())
    return whole.hexdigest()


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
