"""Compare the workers of a cluster with this machine, before the first run.

`sweep.carry_out` is the caller; `cluster.check_workers` has looked at the folder before.
"""

import importlib.metadata
import platform
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mnist_nb.errors import ParameterError
from mnist_nb.tools.runs.declared import named_checker
from mnist_nb.tools.runs.identity import NUMERICAL, Run, defaults_of
from mnist_nb.tools.runs.plans import SweepError


def environment() -> dict[str, str]:
    """Return the versions here that a record depends on, without the build, such as +cpu."""
    found = {"python": ".".join(platform.python_version_tuple()[:2])}
    for name in ("mnist-nb", *NUMERICAL):
        try:
            found[name] = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def check_environments(client) -> None:
    """Raise a SweepError if a worker has different versions of Python or of packages."""
    here, different = environment(), {}
    answers = client.run(environment)
    for address, there in answers.items():
        words = [f"{n} {there[n]} (here {here[n]})" for n in here if there[n] != here[n]]
        if words:
            different[address] = f"{address} has {', '.join(words)}"
    if different:
        raise SweepError(
            f"{len(different)} of {len(answers)} workers have a different environment, and their "
            f"results would not count here: {'; '.join(different.values())} (nothing was run); "
            "install the environment of this machine there"
        )


def check_rows(client, notebook: Mapping, runs: list[Run]) -> None:
    """Raise a SweepError if a worker refuses the parameters of a run, such as without a card."""
    check = named_checker(notebook)
    if check is None:
        return
    rows = list(_each_value_once(defaults_of(notebook) | run.values for run in runs))
    answers = client.run(_refused, check, rows)
    whys: dict[str, list[str]] = {}
    for address, why in answers.items():
        if why:
            whys.setdefault(why, []).append(address)
    if whys:
        said = "; ".join(f"{why} (says {', '.join(at)})" for why, at in whys.items())
        number = sum(map(len, whys.values()))
        raise SweepError(f"{number} of {len(answers)} workers cannot do these runs: {said}; "
                         "nothing was run")  # fmt: skip


def _each_value_once(rows: Iterator[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield those rows in which a parameter has a value that no row before had."""
    seen: set[tuple[str, str]] = set()
    for row in rows:
        values = {(name, repr(value)) for name, value in row.items()}
        if values - seen:
            seen |= values
            yield row


def _refused(check: Callable, rows: list[Mapping[str, Any]]) -> str:
    """Return why this worker refuses one of `rows`, or ""."""
    for row in rows:
        try:
            check(row)
        except ParameterError as error:
            return str(error)
    return ""
