"""How a notebook's outputs are compared: nbval, and what it lacks.

A pytest plugin, active wherever this package is installed. nbval compares
exactly. Here, in a cell tagged `nbval-approx`, a decimal number may differ from
the stored one: by one unit in its last printed place, or by what the cell's
metadata states: {"nbval": {"atol": 0.001}}, with `rtol` and `ulp` (units in the
last printed place) as further keys. Words, layout, whole numbers and how many
numbers there are stay exact. And a cell that was never executed, which nbval
lets pass without a look, fails.
"""

import re
from decimal import Decimal
from typing import Any

from nbval.plugin import IPyNbCell

_NUMBER = re.compile(
    r"""(?<![\w.])[-+]?\d[\d_,]*(?:\.\d*)?(?:[eE][-+]?\d+)?(?!\w)  # 12  -1.5  1e-3
      | (?<!\w)[-+]?\.\d+(?:[eE][-+]?\d+)?                         # .5
      | (?<!\w)[-+]?(?:nan|inf)\b""",
    re.VERBOSE,
)


def _last_place(number: str) -> Decimal:
    """One unit in the last printed place of `number`; 0 for a whole number or nan."""
    parts = re.fullmatch(r"[-+]?[\d_,]*(?:\.(\d*))?(?:[eE]([-+]?\d+))?", number)
    if not parts or (parts[1] is None and parts[2] is None):
        return Decimal(0)
    return Decimal(1).scaleb(int(parts[2] or 0) - len(parts[1] or ""))


def _close(stored: str, new: str, atol: float = 0, rtol: float = 0, ulp: float | None = None):
    if stored == new:
        return True
    unit = _last_place(stored)
    if not unit or not _last_place(new):
        return False  # whole numbers, nan and inf are exact
    a, b = (Decimal(text.replace(",", "").replace("_", "")) for text in (stored, new))
    units = ulp if ulp is not None else 0 if atol or rtol else 1
    allowed = max(Decimal(str(units)) * unit, Decimal(str(atol)), Decimal(str(rtol)) * abs(a))
    return abs(a - b) <= allowed


def forgive(stored: Any, new: Any, **tolerance: float) -> Any:
    """`new`, with each number that is close enough to the one in `stored` replaced by it.

    Both are an output: a text, or what JSON can hold.
    """
    if isinstance(stored, dict) and isinstance(new, dict):
        return {
            k: forgive(stored[k], v, **tolerance) if k in stored else v for k, v in new.items()
        }
    if isinstance(stored, list) and isinstance(new, list) and len(stored) == len(new):
        return [forgive(s, n, **tolerance) for s, n in zip(stored, new, strict=True)]
    if isinstance(stored, float) and isinstance(new, float):
        return stored if _close(repr(stored), repr(new), **tolerance) else new
    if not (isinstance(stored, str) and isinstance(new, str)):
        return new
    between = [[" ".join(gap.split()) for gap in _NUMBER.split(text)] for text in (stored, new)]
    if between[0] != between[1]:  # other words; how columns are padded may follow the numbers
        return new
    pairs = list(zip(_NUMBER.findall(stored), _NUMBER.findall(new), strict=True))
    if all(_close(s, n, **tolerance) for s, n in pairs):
        return stored
    kept = iter([s if _close(s, n, **tolerance) else n for s, n in pairs])
    return _NUMBER.sub(lambda _: next(kept), new)


def _texts(outputs: list) -> dict[str, list[tuple[dict, str]]]:
    """Kind of output -> where each output of that kind lies, in nbval's own order."""
    found: dict[str, list] = {}
    for output in outputs:
        if output.output_type == "stream":
            found.setdefault(output.name, []).append((output, "text"))
        for mime in output.get("data", {}):
            if not mime.startswith("image/"):
                found.setdefault(mime, []).append((output.data, mime))
    return found


def pytest_itemcollected(item) -> None:
    """Give the cells of notebooks the comparison described above."""
    if not isinstance(item, IPyNbCell):
        return
    if item.cell.execution_count is None and item.cell.source.strip():

        def never_executed() -> None:
            item.raise_cell_error("This cell was stored without being executed: `make refresh`")

        item.runtest = never_executed
    if "nbval-approx" not in item.cell.metadata.get("tags", []):
        return
    tolerance = dict(item.cell.metadata.get("nbval", {}))
    exact = item.compare_outputs

    def compare_outputs(new, stored, skip_compare=None) -> bool:
        places = _texts(stored)
        for kind, slots in _texts(new).items():
            for (box, key), (stored_box, stored_key) in zip(
                slots, places.get(kind, []), strict=False
            ):
                box[key] = forgive(stored_box[stored_key], box[key], **tolerance)
        return exact(new, stored, skip_compare)

    item.compare_outputs = compare_outputs
