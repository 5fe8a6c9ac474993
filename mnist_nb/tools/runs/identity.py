"""Identify the runs of a sweep: parameters, folder names, and keys to recognise their records.

`sweep.prepare` builds the runs, `work` compares their keys with stored records.
"""

import hashlib
import importlib.metadata
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import mnist_nb
from mnist_nb.errors import ParameterError
from mnist_nb.tools import checksums
from mnist_nb.tools.runs.code import bare, code_sha256, modules_sha256
from mnist_nb.tools.runs.declared import defaults_of
from mnist_nb.tools.runs.given import reader
from mnist_nb.tools.runs.plans import SweepError

NUMERICAL = ("torch", "torchvision", "numpy")  # packages that may change the results
_ADDED_HASH = re.compile(r"-[0-9a-f]{8}$")  # at the end of a folder's name


class Run(NamedTuple):
    """One run of a sweep: its folder's name, its parameters, and a hash of what it computes.

    `made_from` is what that hash is made of: hashes of all parameters, of the notebook's code, of
    mnist_nb (None if the notebook does not use it), of the modules that `modules_sha256` finds,
    and the name of the kernel if one was chosen.
    `dataset` has the two arguments of `checksums.of_dataset`: the dataset's name and folder.
    """

    name: str
    values: dict[str, Any]
    key: str
    made_from: dict[str, Any]
    dataset: tuple = (None, None)


def checked_runs(
    notebook, rows: Iterable[Mapping[str, str]], folder: Path = Path(), elsewhere: bool = False,
    kernel: str | None = None,
) -> list[Run]:  # fmt: skip
    """Return the runs of `notebook`, which is in `folder`, with the parameters of `rows`.

    With `elsewhere`, they may need what this machine lacks. `kernel` is a chosen kernel's name.

    Raises:
        ParameterError: see `read_values`.
        SweepError: two runs are the same.
    """
    defaults = defaults_of(notebook)
    uses = any("mnist_nb" in cell.source for cell in notebook.cells if cell.cell_type == "code")
    code = {
        "code": code_sha256(notebook),
        "package": package_sha256() if uses else None,
        "modules": modules_sha256(notebook, (Path.cwd(), folder.absolute())),
    }
    if kernel:
        code["kernel"] = kernel
    read, runs, seen, names = reader(notebook, elsewhere), [], set(), set()
    for row in rows:
        try:
            values = read(row)
        except ParameterError as error:
            raise ParameterError(f"{error} (nothing was run)") from error
        whole = defaults | values
        parameters = _sha256(whole)
        if parameters in seen:
            said = name_of(values) or "the run with all defaults"
            raise SweepError(f"{said} occurs twice; remove one of them (nothing was run)")
        seen.add(parameters)
        name = _folder_name(values)
        if name.casefold() in names:  # such as 1 and '1', or a and A
            name = f"{name}-{parameters[:8]}"
        names.add(name.casefold())
        made_from = {"parameters": parameters, **code}
        dataset = whole.get("dataset"), whole.get("data_dir")
        runs.append(Run(name, values, _sha256(made_from), made_from, dataset))
    return runs


def _sha256(values: Mapping[str, Any]) -> str:
    """Return a hash of `values` that does not depend on their order."""
    text = json.dumps(_with_text_keys(values), sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()


def _with_text_keys(value: Any) -> Any:
    """Return `value` with the keys of its dictionaries as text that tells 1 from "1"."""
    if isinstance(value, Mapping):
        return {repr(key): _with_text_keys(inner) for key, inner in value.items()}
    return [*map(_with_text_keys, value)] if isinstance(value, list | tuple) else value


def is_of_other_parameters(run: Run, machine: Mapping[str, Any]) -> bool:
    """Return whether the record with this `machine` metadata says that it is not of `run`."""
    made_from = machine.get("sweep_made_from")
    then = made_from.get("parameters") if isinstance(made_from, dict) else None
    return then not in (None, run.made_from["parameters"])


def not_its_record(run: Run, machine: Mapping[str, Any]) -> str | None:
    """Return why a stored record of the run's parameters does not count, or None if it does.

    `machine` is the record's machine metadata. Builds of one version, such as torch 2.14.1 and
    2.14.1+cpu, count as the same.
    """
    try:
        if "sweep_key" not in machine:
            return "the file there is not a record of a sweep"
        if "sweep_made_from" not in machine:
            return "its record does not say which code made it"
        whys = list(_changes(machine["sweep_made_from"], run.made_from))
        for name in () if "kernel" in run.made_from else NUMERICAL:  # it has its own packages
            if (then := machine["versions"][name].split("+")[0]) != (here := _version(name)):
                whys.append(f"it was made with {name} {then}, not {here}")
        then, here = machine["data_sha256"], checksums.of_dataset(*run.dataset)
        if then and here and then != here:
            whys.append("the data have changed")
        return "; ".join(whys) or None
    except (KeyError, TypeError, AttributeError):
        return "the file there is not a record of a sweep"


def _changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield what of the code that runs were made from has changed, a clause each."""
    if then["code"] != now["code"]:
        yield "the code of the notebook has changed"
    if then.get("kernel") != now.get("kernel"):
        yield f"its kernel was {then.get('kernel') or 'this Python'}"
    if then["package"] != now["package"]:
        yield "the package mnist_nb has changed"
    old, new = then["modules"], now["modules"]
    if changed := sorted(name for name in old | new if old.get(name) != new.get(name)):
        has = "module {} has" if len(changed) == 1 else "modules {} have"
        yield f"the {has.format(', '.join(changed))} changed"


@cache
def _version(name: str) -> str:
    return importlib.metadata.version(name).split("+")[0]


def package_sha256() -> str:
    """Return one hash of the code in mnist_nb/ and figures/, but not of live/ and tools/.

    Comments and blank lines do not count.
    """
    folder = Path(mnist_nb.__file__).parent
    paths = [*folder.glob("[!.]*.py"), *folder.glob("figures/[!.]*.py")]
    return _sha256({str(p.relative_to(folder)): bare(p.read_text("utf-8")) for p in paths})


def _folder_name(values: Mapping[str, Any]) -> str:
    """Return `name_of(values)`, with a hash added if that name had to be shortened or changed."""
    said, name = ",".join(f"{key}={value}" for key, value in values.items()), name_of(values)
    if said != name:
        name = f"{name}-{hashlib.sha256(said.encode()).hexdigest()[:8]}"
    return name or "defaults"


def folder_reader(notebook) -> Callable[[str], frozenset[str]]:
    """Return a function that takes a folder's name and returns which parameters it says.

    They are in no order, and those at their defaults are left out.
    """
    left_out = {name_of({name: value}) for name, value in defaults_of(notebook).items()}
    left_out.add("defaults")
    return lambda name: frozenset(_ADDED_HASH.sub("", name).split(",")) - left_out


def cut(name: str, size: int) -> str:
    """Return `name`, cut to at most `size` bytes, as file systems limit names."""
    return name.encode(errors="surrogateescape")[:size].decode(errors="ignore")


def name_of(values: Mapping[str, Any]) -> str:
    """Return a file name that lists the parameters, such as `lr=0.1,seed=1`."""
    said = ",".join(f"{key}={value}" for key, value in values.items())
    return cut(re.sub(r"[^-\w.=,+]", "_", said), 120)
