"""Read the records of runs from their notebooks; make tables of them and compare them.

The commands `results` and `compare` call it, and so can a notebook.
"""

import json
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mnist_nb.errors import ParameterError
from mnist_nb.record import MIME, NOT_FINITE, SCHEMA

_NUMBERS = ("train_loss", "val_loss", "val_accuracy")
# parts of the metadata that say nothing of the machine, or differ from run to run
_NOT_COMPARED = ("wall_time_s", "digest")  # nor what begins with sweep_


def read_record(path: Path) -> dict[str, Any]:
    """Return the record in the executed notebook at `path`, with its machine metadata.

    Words for numbers that JSON does not have, such as "NaN", become those numbers in its history.
    In older records these are null, whichever they were, and stay None.

    Raises:
        ValueError: there is no file, no valid notebook, or no valid record in it.
    """
    if not os.path.isfile(path):
        raise ValueError(f"{path}: is not a file")
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        outputs = [o for c in notebook["cells"] for o in c.get("outputs", [])]
        records = [o["data"][MIME] for o in outputs if MIME in o.get("data", {})]
        machine = dict(notebook["metadata"].get("mnist_nb", {}))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: is not a complete notebook") from error
    if not records:
        raise ValueError(
            f"{path}: contains no record of a run; a run that ends early, or has no cell with "
            "show_record, leaves none"
        )
    if not _is_complete(records[-1], machine):
        raise ValueError(
            f"{path}: its record is not complete, or not of schema {SCHEMA}; run it again"
        )
    history = [{k: number(v) for k, v in row.items()} for row in records[-1]["history"]]
    of_file = {"file": str(path), "machine": machine}
    return {"file": str(path)} | records[-1] | {"history": history} | of_file


def number(value: Any) -> Any:
    """Return the number for which `value` is the word in a record; others as they are."""
    return NOT_FINITE.get(value, value) if isinstance(value, str) else value


def _is_complete(record: Any, machine: dict) -> bool:
    """Return whether `record` is as `show_record` writes it, and both are strict JSON."""
    try:
        rows = record["history"]
        numbers = [row[key] for row in rows for key in _NUMBERS
                   if row[key] is not None and str(row[key]) not in NOT_FINITE]  # fmt: skip
        json.dumps([record, machine], allow_nan=False, ensure_ascii=False).encode()
        return (
            record["schema"] == SCHEMA
            and isinstance(record["notebook"], str)
            and isinstance(record["parameters"], dict)
            and [row["epoch"] for row in rows] == list(range(1, len(rows) + 1)) != []
            and all(type(number) in (int, float) and math.isfinite(number) for number in numbers)
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return False


def notebooks_in(paths: list[Path]) -> Iterator[Path]:
    """Yield the notebooks in `paths`, and those in folders; skip hidden (unfinished) ones."""
    for path in paths:
        if os.path.isdir(path):
            found = sorted(path.rglob("*.ipynb"))
            yield from (p for p in found if not any(s.startswith(".") for s in p.parts[-2:]))
        else:
            yield path


def latest(records: list[dict]) -> tuple[list[dict], int]:
    """Return `records` without those that a sweep has replaced, and the number left out."""
    of_runs: dict[Any, dict[int, dict]] = {}
    for record in records:
        path = Path(record["file"]).absolute()
        stem = record["machine"].get("sweep_notebook", "")
        versions = re.fullmatch(rf"{re.escape(stem)}(?:-(\d+))?", path.stem) if stem else None
        one = (path.parent, stem) if versions else path
        of_runs.setdefault(one, {})[int(versions[1] or 1) if versions else 1] = record
    found = [numbered[max(numbered)] for numbered in of_runs.values()]
    return found, sum(map(len, of_runs.values())) - len(found)


def table(records: list[dict]):
    """Return a pandas DataFrame with a row per run: parameters, last epoch's numbers, time."""
    import pandas

    rows = []
    for record in records:
        numbers = {k: v for k, v in record["history"][-1].items() if k != "epoch"}
        seconds = record["machine"].get("wall_time_s")
        if type(seconds) is not float:
            seconds = None
        row = {"run": record["file"], **record["parameters"], **numbers, "wall_time_s": seconds}
        rows.append(row)
    frame = pandas.DataFrame(rows)
    numbers = [*_NUMBERS, "wall_time_s"]
    return frame.astype(dict.fromkeys(numbers, float))  # None becomes nan


def grouped(frame, by: list[str]):
    """Group `table`'s frame by the parameters `by`: number of runs, mean, standard deviation.

    Raises:
        ParameterError: no run has a parameter of that name.
    """
    for name in by:
        if name not in frame:
            raise ParameterError(f"{name!r} is not in these records; they have "
                                 f"{', '.join(frame.columns)}")  # fmt: skip
    mixed = {name: frame[name].map(str) for name in by if frame[name].dtype == object}
    groups = frame.assign(**mixed).groupby(by, dropna=False)
    columns = {"runs": groups.size()}
    for name in (*_NUMBERS, "wall_time_s"):
        numbers = groups[name]
        columns |= {f"{name}_mean": numbers.mean(), f"{name}_std": numbers.std()}
    return type(frame)(columns).reset_index()


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
        differ = [f"{key} {shown(one.get(key))} | {shown(other.get(key))}" for key in
                  {**one, **other} if not same(one.get(key), other.get(key))]  # fmt: skip
        if differ:
            lines = [f"the numbers differ from epoch {one['epoch']}: {'; '.join(differ)}"]
            break
    else:
        which = "the other numbers" if unknown else "the numbers"
        shared = f"{which} are identical in {min(len(a), len(b))} epochs"
        more = f"; one has {len(a)} epochs, the other {len(b)}"
        lines = [shared + more * (len(a) != len(b))]
    if unknown:
        lines.insert(0, f"not compared: {', '.join(unknown)}; these records are from a version "
                     "that stored null for NaN and for infinity")  # fmt: skip
    return lines


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
