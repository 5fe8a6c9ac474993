"""Identify the runs of a sweep: parameters, folder names, and keys to recognise their records.

`sweep.prepare` builds the runs, `work` compares their keys with stored records.
"""

import hashlib
import importlib.metadata
import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import mnist_nb
from mnist_nb import data
from mnist_nb.errors import ParameterError
from mnist_nb.tools.runs.declared import defaults_of
from mnist_nb.tools.runs.given import reader
from mnist_nb.tools.runs.plans import SweepError

NUMERICAL = ("torch", "torchvision", "numpy")  # packages that may change the results


class Run(NamedTuple):
    """One run of a sweep: its folder's name, its parameters, and a hash of parameters and code.

    `package` is the hash of mnist_nb, or None if the notebook does not use it. `dataset` has the
    two arguments of `data.hashes`: the dataset's name and folder.
    """

    name: str
    values: dict[str, Any]
    key: str
    package: str | None = None
    dataset: tuple = (None, None)


def checked_runs(notebook, rows: Iterable[Mapping[str, str]]) -> list[Run]:
    """Return the runs of `notebook` with the parameters of `rows`, after checking each.

    Raises:
        ParameterError: see `read_values`.
        SweepError: two runs are the same.
    """
    defaults = defaults_of(notebook)
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    package = package_sha256() if "mnist_nb" in "".join(sources) else None
    begun = hashlib.sha256(f"[{json.dumps([package, *sources])}, ".encode())  # shared by all keys
    read, runs, seen, names = reader(notebook), [], set(), set()
    for row in rows:
        try:
            values = read(row)
        except ParameterError as error:
            raise ParameterError(f"{error} (nothing was run)") from error
        whole = defaults | values
        hashed = begun.copy()
        hashed.update(f"{json.dumps(json.dumps(whole, sort_keys=True, default=repr))}]".encode())
        key = hashed.hexdigest()
        if key in seen:
            said = name_of(values) or "the run with all defaults"
            raise SweepError(f"{said} occurs twice; remove one of them (nothing was run)")
        seen.add(key)
        name = _folder_name(values)
        if name.casefold() in names:  # such as 1 and '1', or a and A
            name = f"{name}-{key[:8]}"
        names.add(name.casefold())
        dataset = whole.get("dataset"), whole.get("data_dir")
        runs.append(Run(name, values, key, package, dataset))
    return runs


def not_its_record(run: Run, machine: Mapping[str, Any]) -> str | None:
    """Return why a stored record does not count as one of `run`, or None if it does.

    `machine` is the record's machine metadata. Builds of one version, such as torch 2.14.1 and
    2.14.1+cpu, count as the same.
    """
    try:
        if machine["sweep_key"] != run.key:
            return "the code of the notebook or of mnist_nb has changed"
        for name in NUMERICAL:
            if (then := machine["versions"][name].split("+")[0]) != (here := _version(name)):
                return f"it was made with {name} {then}, not {here}"
        then, here = machine["data_sha256"], data.hashes(*run.dataset)
        return "the data have changed" if then and here and then != here else None
    except (KeyError, TypeError, AttributeError):
        return "it is not a record of a sweep"


@cache
def _version(name: str) -> str:
    return importlib.metadata.version(name).split("+")[0]


def package_sha256() -> str:
    """Return one SHA-256 hash of the modules in mnist_nb/ and figures/, but not of tools/."""
    whole, folder = hashlib.sha256(), Path(mnist_nb.__file__).parent
    for path in sorted([*folder.glob("[!.]*.py"), *folder.glob("figures/[!.]*.py")]):
        whole.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    return whole.hexdigest()


def _folder_name(values: Mapping[str, Any]) -> str:
    """Return `name_of(values)`, with a hash added if that name had to be shortened or changed."""
    said, name = ",".join(f"{key}={value}" for key, value in values.items()), name_of(values)
    if said != name:
        name = f"{name}-{hashlib.sha256(said.encode()).hexdigest()[:8]}"
    return name or "defaults"


def cut(name: str, size: int) -> str:
    """Return `name`, cut to at most `size` bytes, as file systems limit names."""
    return name.encode(errors="surrogateescape")[:size].decode(errors="ignore")


def name_of(values: Mapping[str, Any]) -> str:
    """Return a file name that lists the parameters, such as `lr=0.1,seed=1`."""
    said = ",".join(f"{key}={value}" for key, value in values.items())
    return cut(re.sub(r"[^-\w.=,+]", "_", said), 120)
