"""Compare a notebook's new outputs with the stored ones, beyond what nbval does.

`plugin` calls `compare_more` for each cell. nbval compares text exactly. In a cell tagged
`nbval-approx`, decimal numbers may differ by one unit in the last printed place, or by the
tolerance in the cell's metadata, {"nbval": {"atol": 0.001}}; `rtol` and `ulp` (units in the last
place) are also possible. Words, lines, whole numbers and the number of decimals have to be equal.

A part that computes in the browser has to be equal in all its bytes, whatever the cell's tags.
In all cells, pictures may differ by `ALLOWED`, or by {"nbval": {"picture": 2}} in the metadata.
Alt texts and the order of outputs have to be equal, and a cell that was never executed fails.
"""

import math
import re
from decimal import Decimal
from typing import Any

from nbval.plugin import IPyNbCell

from mnist_nb.tools.verify.normal_form import DEFAULTS, LIVE, WIDGET
from mnist_nb.tools.verify.pictures import ALLOWED, different_pictures

# matches 12, -1.5, .5 and 1e-3; not v1.2, 3.11.2 or 0.5s; a comma ends a number
_NUMBER = re.compile(
    r"(?<![\w.])[-+]?(?:(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][-+]?\d++)?|nan\b|inf\b)(?!\w|\.\d)"
)
_FIELD = re.compile(r"( *)(\S+(?: \S+)*|$)")


def _last_place(number: str) -> Decimal:
    """Return one unit in the last decimal of `number`; 0 if it has no decimals."""
    parts = re.fullmatch(r"[-+]?\d*\.(\d+)(?:[eE]([-+]?\d+))?", number)
    return Decimal(1).scaleb(int(parts[2] or 0) - len(parts[1])) if parts else Decimal(0)


def _shape(number: str) -> tuple[int, bool]:
    """Return how many decimals `number` is printed with, and whether it has an exponent."""
    mantissa, exponent, _ = number.lower().partition("e")
    return len(mantissa.partition(".")[2]), bool(exponent)


def _close(stored: str, new: str, atol: float = 0, rtol: float = 0, ulp: float | None = None):
    """Return whether the printed number `new` is within the tolerance of `stored`."""
    if stored == new:
        return True
    unit = min(_last_place(stored), _last_place(new))
    if not unit or _shape(stored) != _shape(new):
        return False  # whole numbers, nan and inf are exact
    units = ulp if ulp is not None else 0 if atol or rtol else DEFAULTS["ulp"]
    return _within(Decimal(stored), Decimal(new), Decimal(str(units)) * unit, atol, rtol)


def _within(stored: Decimal, new: Decimal, at_least: Decimal, atol: float, rtol: float) -> bool:
    relative = Decimal(str(rtol)) * abs(stored)
    return abs(stored - new) <= max(at_least, Decimal(str(atol)), relative)


def replace_close(stored: Any, new: Any, **tolerance: float) -> Any:
    """Return `new` with each number within the tolerance replaced by the one in `stored`.

    Both are text or JSON values of an output. JSON numbers have no printed decimals, so only
    `atol` and `rtol` apply to them.
    """
    if isinstance(stored, dict) and isinstance(new, dict):
        return {
            k: replace_close(stored[k], v, **tolerance) if k in stored else v
            for k, v in new.items()
        }
    if isinstance(stored, list) and isinstance(new, list) and len(stored) == len(new):
        return [replace_close(s, n, **tolerance) for s, n in zip(stored, new, strict=True)]
    if isinstance(stored, float) and isinstance(new, float) and math.isfinite(stored + new):
        a, r = tolerance.get("atol", 0), tolerance.get("rtol", 0)
        same = _within(Decimal(stored), Decimal(new), Decimal(0), a, r)
        return stored if same else new
    if isinstance(stored, str) and isinstance(new, str):
        return _replace_close_in_text(stored, new, **tolerance)
    return new


def _replace_close_in_text(stored: str, new: str, **tolerance: float) -> str:
    numbers = list(zip(_NUMBER.findall(stored), _NUMBER.findall(new), strict=False))
    if not _same_layout(stored, new, numbers) or _rows_swapped(stored, new):
        return new
    if all(_close(s, n, **tolerance) for s, n in numbers):
        return stored
    replaced = iter([s if _close(s, n, **tolerance) else n for s, n in numbers])
    return _NUMBER.sub(lambda _: next(replaced), new)


def _same_layout(stored: str, new: str, numbers: list[tuple[str, str]]) -> bool:
    """Return whether two texts have the same lines and words, with numbers in the same places.

    If a number has become wider or narrower, the spaces before numbers, and before text that is
    right-aligned with them, may differ accordingly. All other spaces have to be equal.
    """
    if _NUMBER.split(stored) == _NUMBER.split(new):
        return True
    changes = [len(n) - len(s) for s, n in numbers]
    room = max(0, *changes, 0) - min(0, *changes, 0)
    rows = stored.split("\n"), new.split("\n")
    if not room or len(rows[0]) != len(rows[1]):
        return False
    flush = {found.end() for line in rows[0] for found in _NUMBER.finditer(line)}
    return all(_same_row(*lines, room, flush) for lines in zip(*rows, strict=True))


def _same_row(stored: str, new: str, room: int, flush: set[int]) -> bool:
    """Return whether two lines differ by at most `room` spaces of padding (see `_same_layout`)."""
    before, now = _NUMBER.split(stored), _NUMBER.split(new)
    if len(before) != len(now):
        return False
    for old, gap in zip(before[:-1], now[:-1], strict=True):
        text = old.rstrip(" ")
        if text != gap.rstrip(" ") or abs(len(old) - len(gap)) > room:
            return False
    if len(before) > 1 or stored == new:
        return before[-1] == now[-1]
    fields = list(_FIELD.finditer(stored)), list(_FIELD.finditer(new))  # such as a header
    return len(fields[0]) == len(fields[1]) and all(
        old[2] == field[2]
        and (old[1] == field[1] or old.end() in flush)
        and abs(len(old[1]) - len(field[1])) <= room
        for old, field in zip(*fields, strict=True)
    )


def _rows_swapped(stored: str, new: str) -> bool:
    """Return whether `new` has the same rows of decimals as `stored`, in a different order."""
    before, now = (
        [row for line in text.split("\n") if len(row := _decimals(line)) > 1]
        for text in (stored, new)
    )
    return before != now and sorted(before) == sorted(now)


def _decimals(line: str) -> list[str]:
    return [number for number in _NUMBER.findall(line) if _last_place(number)]


def replace_close_in_outputs(stored: list, new: list, **tolerance: float) -> None:
    """Replace the numbers in the `new` outputs that are within the tolerance, in place."""
    places = _texts(stored)
    for kind, slots in _texts(new).items():
        for (box, key), (stored_box, stored_key) in zip(slots, places.get(kind, []), strict=False):
            box[key] = replace_close(stored_box[stored_key], box[key], **tolerance)
    for before, now in zip(stored, new, strict=False):
        if "metadata" in before and "metadata" in now:
            now["metadata"] = replace_close(before["metadata"], now["metadata"], **tolerance)


def _texts(outputs: list) -> dict[str, list[tuple[dict, str]]]:
    """Return kind of output -> (container, key) of each text of that kind, in nbval's order."""
    found: dict[str, list] = {}
    for output in outputs:
        if output.output_type == "stream":
            found.setdefault(output.name, []).append((output, "text"))
        for mime in output.get("data", {}):
            live = mime == "text/html" and LIVE in output.data[mime]
            if not live and not mime.startswith("image/"):
                found.setdefault(mime, []).append((output.data, mime))
    return found


def different_order(stored: list, new: list) -> str:
    """Return a message if the kinds of the `new` outputs or their order differ, else "".

    The caller has to join consecutive streams of the same name first.
    """
    before, now = ([_kind(output) for output in outputs] for outputs in (stored, new))
    if before == now:
        return ""
    return (
        "The outputs are of different kinds, or in a different order: "
        f"{', '.join(now) or 'none'}. The notebook has stored {', '.join(before) or 'none'}."
    )


def _kind(output: dict) -> str:
    if output["output_type"] == "stream":
        return output["name"]
    return f"{output['output_type']} of {' + '.join(sorted({*output.get('data', {})} - {WIDGET}))}"


def different_metadata(stored: list, new: list) -> str:
    """Return a message if the metadata of an output, such as alt text, differs, else ""."""
    for number, (before, now) in enumerate(zip(stored, new, strict=False), start=1):
        if before.get("metadata", {}) != now.get("metadata", {}):
            return (
                f"The alt text or other metadata of output {number} differs from the stored one: "
                f"{now.get('metadata', {})}, not {before.get('metadata', {})}."
            )
    return ""


def different_parts(stored: list, new: list) -> str:
    """Return a message if a part that computes in the browser differs, else ""."""
    for number, (before, now) in enumerate(zip(stored, new, strict=False), start=1):
        shown = [output.get("data", {}).get("text/html", "") for output in (before, now)]
        if shown[0] != shown[1] and all(LIVE in html for html in shown):
            return (  # both are too long to be printed
                f"The live part of output {number} differs from the stored one in its script, its "
                "style or its data. If that is right, run make refresh."
            )
    return ""


def compare_more(item: IPyNbCell) -> None:
    """Add the comparison described above to a cell that pytest has collected."""
    wanted = item.options["check"] and not item.options["skip"]
    if wanted and item.cell.execution_count is None and item.cell.source.strip():

        def never_executed() -> None:
            item.raise_cell_error("This cell was stored without being executed; run make refresh")

        item.runtest = never_executed
    stated = item.cell.metadata.get("nbval", {})
    tolerance = {key: stated[key] for key in ("atol", "rtol", "ulp") if key in stated}
    allowed = stated.get("picture", ALLOWED)
    approximate = "nbval-approx" in item.cell.metadata.get("tags", [])
    exact = item.compare_outputs

    def compare_outputs(new, stored, skip_compare=None) -> bool:
        if wrong := different_parts(stored, new):
            item.comparison_traceback = [wrong]
            return False
        if approximate:
            replace_close_in_outputs(stored, new, **tolerance)
        if not exact(new, stored, skip_compare):
            return False
        wrong = (
            different_pictures(stored, new, allowed)
            or different_order(stored, new)
            or different_metadata(stored, new)
        )
        if wrong:
            item.comparison_traceback.append(wrong)
        return not wrong

    item.compare_outputs = compare_outputs
