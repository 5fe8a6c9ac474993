"""Find where the runs of a sweep are stored, or will be: a folder, or an address such as s3://...

`sweep` looks up all runs before the first one starts; workers look again at theirs.
"""

import itertools
import json
import os
from collections.abc import Iterable
from typing import NamedTuple

from mnist_nb.tools.runs.identity import Run, is_of_other_parameters, not_its_record
from mnist_nb.tools.runs.places import is_address, read, reason
from mnist_nb.tools.runs.run import NotStarted

AGAIN = "--force asks for it"


class Place(NamedTuple):
    """Where the notebook of a run is or will be: a path, or an address such as s3://..."""

    path: str
    seconds: float | None  # that the run took; None if it is still to do
    older: str = ""  # why an older record of the run does not count


def place_of(
    folder: str, run: Run, stem: str, names: Iterable[str] = (), again: bool = False
) -> Place:
    """Return where `run` is stored in `folder`, or a new path: only the latest record counts.

    `names` are other folders there that may have it: of a sweep that gave its parameters in
    another order, for example. With `again`, return a new path in any case.

    Raises:
        NotStarted: the address cannot be read.
    """
    outdated = new = None
    for name in dict.fromkeys([run.name, *names]):
        latest, machine, free = _latest("/".join([folder.rstrip("/"), name]), stem)
        if latest is None:
            new = Place(free, None) if name == run.name else new
        elif is_of_other_parameters(run, machine):
            continue
        elif name == run.name or "sweep_made_from" in machine:
            older = AGAIN if again else not_its_record(run, machine)
            if not older:
                return Place(latest, machine.get("wall_time_s") or 0)
            outdated = outdated or Place(free, None, older)
    if place := outdated or new:
        return place
    apart = f"{run.name}-{run.made_from['parameters'][:8]}"  # the name is that of another run
    return place_of(folder, run._replace(name=apart), stem, again=again)


def _latest(folder: str, stem: str) -> tuple[str | None, dict, str]:
    """Return path and metadata of the latest record in a run's folder, and the next free path."""
    latest, machine = None, {}
    for number in itertools.count(1):
        name = f"{stem}-{number}.ipynb" if number > 1 else f"{stem}.ipynb"
        path = f"{folder}/{name}"
        if (found := _machine_metadata(path)) is None:
            return latest, machine, path
        latest, machine = path, found
    raise AssertionError("count() never ends")


def folders_in(place: str) -> list[str]:
    """Return the names in the folder or at the address `place`; [] if they cannot be listed."""
    try:
        if not is_address(place):
            return os.listdir(place)
        from papermill.iorw import papermill_io

        return [str(path).rstrip("/").rpartition("/")[2] for path in papermill_io.listdir(place)]
    except Exception:  # each store has its own errors, and some make no lists
        return []


def seconds_taken(place: str, key: str) -> float | None:
    """Return the seconds of the run stored at `place`; None if it is not the run with `key`."""
    machine = _machine_metadata(place) or {}
    return machine.get("wall_time_s") if machine.get("sweep_key") == key else None


def _machine_metadata(place: str) -> dict | None:
    """Return the machine metadata at `place`: None if nothing is there, {} if it has none."""
    try:
        text = read(place)
    except Exception as error:  # each store has its own errors
        if not is_address(place):
            return {} if os.path.lexists(place) else None
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            raise NotStarted(f"{place} cannot be read ({reason(error)}); try again") from error
        return None
    try:
        return dict(json.loads(text)["metadata"]["mnist_nb"])
    except (ValueError, KeyError, TypeError):
        return {}
