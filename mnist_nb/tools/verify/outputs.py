"""Compare the outputs of a cell with those of a second run, and say where they first differ.

`comparison` decides what is within the tolerance of a cell. This module also tells outputs with
the same bits from those within the tolerance, and names the first line, or the epoch and the
number, that differs. `records` calls `compare_cell`.
"""

import copy
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from nbval.plugin import coalesce_streams

from mnist_nb.record import MIME
from mnist_nb.tools.runs.digest import dictionary
from mnist_nb.tools.runs.results import number, same, shown
from mnist_nb.tools.verify.comparison import different_order, replace_close_in_outputs
from mnist_nb.tools.verify.normal_form import CEILINGS, LIVE, WIDGET
from mnist_nb.tools.verify.pictures import ALLOWED, different_pictures, without_pictures

SAME, WITHIN, DIFFERS, IGNORED = "the same bits", "within tolerance", "differs", "not compared"
RECORD = "the record"
NOT_COMPARED = {"nbval-ignore-output", "nbval-skip"}  # nbval's tags
_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,16}\b")  # of an object in memory, another one in each run
_FLOAT = re.compile(r"(?<![\w.])\d+\.\d+(?:[eE][-+]?\d+)?(?!\w|\.\d)")


class Output(NamedTuple):
    """One output, compared: what it is, how many numbers it has, and where it first differs."""

    what: str
    numbers: int
    state: str
    where: str = ""


def compare_cell(stored: Mapping, new: Mapping) -> list[Output]:
    """Compare the outputs of a code cell, one by one, within the tolerance that it states."""
    before, now = (_plain(cell["outputs"]) for cell in (stored, new))
    tags = set(stored["metadata"].get("tags", []))
    if NOT_COMPARED & tags:
        return [Output(_what(o), _numbers(o), IGNORED) for o in before]
    if wrong := different_order(before, now):
        return [Output("the outputs", sum(map(_numbers, before)), DIFFERS, wrong)]
    stated = stored["metadata"].get("nbval")
    limits = {k: min(v, CEILINGS[k]) for k, v in dictionary(stated).items()
              if k in CEILINGS and type(v) in (int, float)}  # fmt: skip
    picture = limits.pop("picture", ALLOWED)
    tolerance = limits if "nbval-approx" in tags else None
    return [_compare(b, n, tolerance, picture) for b, n in zip(before, now, strict=True)]


def _compare(before: Any, now: Any, tolerance: dict | None, picture: float) -> Output:
    what, numbers = _what(before), _numbers(before)
    if _text(before) == _text(now):
        return Output(what, numbers, SAME)
    where = "; ".join(_first_differences(before, now))
    kept, closer = without_pictures([before]), without_pictures([now])
    if tolerance is not None:
        replace_close_in_outputs(kept, closer, **tolerance)
    try:
        wrong = different_pictures([before], [now], picture)
    except Exception:  # Pillow raises many kinds
        wrong = "the stored picture cannot be read"
    if not wrong and _text(kept[0], False) == _text(closer[0], False):
        return Output(what, numbers, WITHIN, where or "a picture has other bytes")
    said = "; ".join(filter(None, [where, wrong]))
    return Output(what, numbers, DIFFERS, said or "only in its layout (HTML, line breaks)")


def _plain(outputs: list) -> list:
    """Return a copy of `outputs` without what no two runs share, such as addresses in memory.

    What goes to stderr is left out: progress bars, and warnings with paths.
    """
    plain = [o for o in coalesce_streams(copy.deepcopy(outputs)) if o.get("name") != "stderr"]
    for output in plain:
        output.pop("execution_count", None)
        output.pop("traceback", None)
        data = output.get("data", {})
        data.pop(WIDGET, None)
        for place, key in [(data, mime) for mime in data] + [(output, "text")]:
            if isinstance(place.get(key), str) and key[:6] != "image/" and LIVE not in place[key]:
                place[key] = _ADDRESS.sub("0x...", place[key])
    return plain


def _text(output: Mapping, pictures: bool = True) -> str:
    """Return all of an output as one text, whose equality is that of the bits."""
    data = {k: v for k, v in output.get("data", {}).items() if pictures or k[:6] != "image/"}
    return json.dumps({**output, "data": data}, sort_keys=True)


def _what(output: Mapping) -> str:
    data = output.get("data", {})
    if LIVE in data.get("text/html", ""):
        return "a live part"
    for mime, what in ((MIME, RECORD), ("image/", "a picture"), ("text/html", "a table")):
        if any(name.startswith(mime) for name in data):
            return what
    return "an error" if output["output_type"] == "error" else "text"


def _numbers(output: Mapping) -> int:
    """Return how many numbers with decimals an output shows or records."""
    data = output.get("data", {})
    content = data.get(MIME) or data.get("text/plain") or output.get("text", "")
    return len(_FLOAT.findall(content if isinstance(content, str) else json.dumps(content)))


def _first_differences(before: Mapping, now: Mapping) -> Iterator[str]:
    """Yield a clause on the first place where two outputs differ, per kind of content."""
    old, new = before.get("data", {}), now.get("data", {})
    for mime in old:
        if mime.startswith("image/") or old[mime] == new[mime]:
            continue
        if not isinstance(old[mime], str):
            yield _first_of(_in_json(old[mime], new[mime]))
        elif LIVE in old[mime]:
            yield "its script, style or data"
        elif mime == "text/plain" or "text/plain" not in old:
            yield _first_of(_in_text(old[mime], new[mime]))
    if before.get("text") != now.get("text"):
        yield _first_of(_in_text(before["text"], now["text"]))
    for name in ("ename", "evalue"):  # of an error
        if before.get(name) != now.get(name):
            yield f"{_short(before[name])}, now {_short(now[name])}"
    if before.get("metadata") != now.get("metadata"):
        yield _first_of(_in_json(before.get("metadata"), now.get("metadata")))


def _first_of(differences: Iterator[str]) -> str:
    first, *others = list(differences) or ["only in line breaks, or types of numbers"]
    return first + (f"; and {len(others)} more" if others else "")


def _in_text(before: str, now: str) -> Iterator[str]:
    """Yield the lines in which two texts differ."""
    lines = itertools.zip_longest(before.splitlines(), now.splitlines(), fillvalue="nothing")
    for n, (old, new) in enumerate(lines, start=1):
        if old != new:
            yield f"line {n}: {_short(old.strip())}, now {_short(new.strip())}"


def _in_json(before: Any, now: Any, where: str = "") -> Iterator[str]:
    """Yield the places where two values of JSON differ: `epoch 3, val_loss: 0.4, now 0.5`."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in {**before, **now}:
            inside = f"{where}{key}, " if key != "history" else where
            yield from _in_json(before.get(key), now.get(key), inside)
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for n, (old, new) in enumerate(zip(before, now, strict=True), start=1):
            name = next((f"{k} {new[k]}" for k in ("epoch", "step")
                         if isinstance(new, dict) and k in new), f"item {n}")  # fmt: skip
            yield from _in_json(old, new, f"{where}{name}, ")
    elif not same(number(before), number(now)):
        place = f"{where.removesuffix(', ')}: " if where else ""
        yield f"{place}{_short(shown(before))}, now {_short(shown(now))}"


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:59]}…"
