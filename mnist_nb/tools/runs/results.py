"""Read the records of runs from their notebooks, and compare two of them.

The commands `results` and `compare` call it, and so can a notebook.
"""

import contextlib
import gc
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mnist_nb.record import NOT_FINITE
from mnist_nb.tools.runs.elsewhere import record_of, was_run, why_unfinished
from mnist_nb.tools.runs.places import is_address, notebooks_in, read, reason
from mnist_nb.tools.runs.stored import Stored, stored
from mnist_nb.tools.runs.validity import wrong_with

# parts of the metadata that say nothing of the machine, or differ from run to run
_NOT_COMPARED = ("wall_time_s", "digest")
_NAMED_UNFINISHED = re.compile(r"\.(failed|interrupted)(-\d+)?\.ipynb$")
_REQUESTS = 16  # to a store at the same time


class Unfinished(ValueError):
    """The run in a notebook failed, was interrupted, or never started."""


def read_record(place: Path | str) -> dict[str, Any]:
    """Return the record in the executed notebook at `place`, with its machine metadata.

    Words in its history for numbers that JSON does not have, such as "NaN", become those numbers.
    In older records these are null, whichever they were, and stay None.

    Raises:
        ValueError: there is no file, no valid notebook, or no valid record in it; or papermill
            has prepared the notebook, and nobody has run it.
    """
    return _record(place, _stored(place))


def read_run(place: Path | str) -> dict[str, Any]:
    """Return the record in the notebook at `place`, or else what papermill noted of its run.

    Raises:
        Unfinished: the run failed, was interrupted or never started.
        ValueError: see `read_record`.
    """
    if _NAMED_UNFINISHED.search(str(place)):
        raise Unfinished("the run failed or was interrupted")
    found = _stored(place)
    if why := found.papermill and why_unfinished(found.papermill, found.counts):
        raise Unfinished(why)
    if found.papermill:
        noted = {"wall_time_s": found.papermill.get("duration")}
        found = found._replace(machine=noted | found.machine)
    if found.record is None and found.papermill:
        try:
            record = record_of(str(place), found.notebook)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{place}: is not a complete notebook") from error
        found = found._replace(record=record)
    return _record(place, found)


def _stored(place: Path | str) -> Stored:
    """Return what the notebook at `place` says of its run."""
    if not is_address(place) and not os.path.isfile(place):
        raise ValueError(f"{place}: is not a file")
    try:
        text = read(place)
    except Exception as error:  # each store has its own errors
        raise ValueError(f"{place}: cannot be read ({reason(error)})") from error
    try:
        return stored(text)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{place}: is not a complete notebook") from error


def _record(place: Path | str, found: Stored) -> dict[str, Any]:
    """Return the checked record of the notebook at `place`, from what the notebook says."""
    record, machine = found.record, found.machine
    if record is None:
        raise ValueError(
            f"{place}: contains no record of a run; a run that ends early, or has no cell with "
            "show_record, leaves none"
        )
    if found.papermill and not was_run(found.papermill, found.counts):
        raise ValueError(f"{place}: papermill has prepared it, but it was not run")
    if wrong := wrong_with(record, machine):
        raise ValueError(f"{place}: {wrong}")
    history = [{name: number(value) for name, value in row.items()} for row in record["history"]]
    of_file = {"file": str(place), "machine": machine}
    return {"file": str(place)} | record | {"history": history} | of_file


def number(value: Any) -> Any:
    """Return the number for which `value` is the word in a record; others as they are."""
    return NOT_FINITE.get(value, value) if isinstance(value, str) else value


def runs_in(places: list[Path | str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the runs at `places` (notebooks, or folders of them), and why others are left out.

    A notebook that is named twice counts once, and so does a run that a sweep has done again.
    """
    found, left_out, why = [], [], Counter()
    for run in _collected(places):
        if isinstance(run, Unfinished):
            why[str(run)] += 1
        elif isinstance(run, ValueError):
            left_out.append(str(run))
        else:
            found.append(run)
    found, older = latest(found)
    if older:
        left_out.append(f"outdated records left out, as a sweep replaced them: {older}")
    return found, left_out + [f"left out: {n} ({reason})" for reason, n in why.items()]


def _collected(places: list[Path | str]) -> list[dict[str, Any] | ValueError]:
    """Return the runs of `_read_all`, read without Python's garbage collector.

    It would look at all records again and again, and finds nothing.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        return list(_read_all(places))
    finally:
        if was_on:
            gc.enable()


def _read_all(places: list[Path | str]) -> Iterator[dict[str, Any] | ValueError]:
    """Yield the run in each notebook at `places`, or why it has none."""

    def run(place: Path | str) -> dict[str, Any] | ValueError:
        try:
            return read_run(place)
        except ValueError as error:
            return error

    once: dict[Any, Path | str] = {}
    for place in places:
        try:
            for path in notebooks_in([place]):
                once.setdefault(_identity(path), path)
        except Exception as error:  # each store has its own errors
            yield ValueError(f"{place}: cannot be read ({reason(error)})")
    if not any(map(is_address, once.values())):
        yield from map(run, once.values())
        return
    with ThreadPoolExecutor(_REQUESTS) as pool:
        yield from pool.map(run, once.values())


def _identity(place: Path | str) -> Any:
    """Return what is the same for all names of one notebook."""
    with contextlib.suppress(OSError):  # it is not there, which is reported when it is read
        if not is_address(place):
            there = os.stat(place)
            return there.st_dev, there.st_ino
    return str(place)


def latest(records: list[dict]) -> tuple[list[dict], int]:
    """Return `records` without those that a sweep has replaced, and the number left out."""
    of_runs: dict[Any, dict[int, dict]] = {}
    for record in records:
        folder, name = os.path.split(os.path.abspath(record["file"]))
        stem = str(record["machine"].get("sweep_notebook", ""))
        versions = re.fullmatch(rf"{re.escape(stem)}(?:-(\d+))?\.ipynb", name) if stem else None
        one = (folder, stem) if versions else record["file"]
        of_runs.setdefault(one, {})[int(versions[1] or 1) if versions else 1] = record
    found = [numbered[max(numbered)] for numbered in of_runs.values()]
    return found, sum(map(len, of_runs.values())) - len(found)


def differences(a: dict, b: dict) -> list[str]:
    """Return the differences of two records, a line each; the last is about the numbers."""
    lines = []
    for part in ("parameters", "machine"):
        flat = [dict(flatten(record[part])) for record in (a, b)]
        for name in sorted(flat[0].keys() | flat[1].keys()):
            here, there = (values.get(name, "nothing") for values in flat)
            if here != there:
                lines.append(f"{part}: {name}: {here} | {there}")
    return [*lines, *_different_numbers(a["history"], b["history"])]


def _different_numbers(a: list[dict], b: list[dict]) -> list[str]:
    """Return a sentence on where two histories differ, after one on what cannot be compared."""
    lines, unknown = [], []
    for one, other in zip(a, b, strict=False):
        unknown += [f"{key} of epoch {one['epoch']}" for key in one
                    if one[key] is None and other.get(key, 0) is None]  # fmt: skip
        differ = [f"{key} {shown(one.get(key))} | {shown(other.get(key))}"
                  for key in {**one, **other}
                  if not same(one.get(key), other.get(key))]  # fmt: skip
        if differ:
            lines = [f"the numbers differ from epoch {one['epoch']}: {'; '.join(differ)}"]
            break
    else:
        which = "the other numbers" if unknown else "the numbers"
        shared = f"{which} are identical in {_epochs(min(len(a), len(b)))}"
        more = f"; one has {_epochs(len(a))}, the other {len(b)}"
        lines = [shared + more * (len(a) != len(b))]
    if unknown:
        lines.insert(0, f"not compared: {', '.join(unknown)}; these records are from a version "
                     "that stored null for NaN and for infinity")  # fmt: skip
    return lines


def _epochs(number: int) -> str:
    return f"{number} epoch{'s' * (number != 1)}"


def same(one: Any, other: Any) -> bool:
    """Return whether two values of JSON are the same; NaN is the same as itself."""
    return one == other or (one != one and other != other)


def shown(value: Any) -> str:
    """Return a value as a record stores it, such as 0.25, NaN or null."""
    return json.dumps(value)


def flatten(values: dict, above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield nested items with dotted names, such as (`versions.torch`, "2.13")."""
    for name, value in values.items():
        if name in _NOT_COMPARED or name.startswith("sweep_"):
            continue
        if isinstance(value, dict):
            yield from flatten(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value
