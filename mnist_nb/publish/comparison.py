"""How a notebook's outputs are compared: nbval, and what it lacks.

`mnist_nb.publish.plugin` brings it into pytest. nbval compares exactly.
Here, in a cell tagged `nbval-approx`, a decimal number may differ from
the stored one: by one unit in its last printed place, or by what the cell's
metadata states: {"nbval": {"atol": 0.001}}, with `rtol` and `ulp` (units in the
last printed place) as further keys. Words, layout, whole numbers and how many
numbers there are stay exact. A cell that was never executed, which nbval lets
pass without a look, fails. And pictures, which nbval never compares, have to be
the stored ones within `ALLOWED`, or within what the cell's metadata states:
{"nbval": {"picture": 5}}.
"""

import base64
import io
import re
from decimal import Decimal
from typing import Any

import matplotlib
from matplotlib import ft2font
from nbval.plugin import IPyNbCell
from PIL import Image, ImageChops, ImageFilter, ImageStat

# In levels of 255. As other processors round, no picture of the notebooks was further off than
# 0.2, but for those whose cells say so; one wrong letter is 1.7, two series swapped are 5 to 30.
ALLOWED = 0.5

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


def picture_distance(stored: Image.Image, new: Image.Image) -> float:
    """How far two pictures of one size are apart, in levels of 255.

    The root mean square over all pixels, in the worst of the three colours, of how far a pixel
    lies outside the range of the 3 x 3 around its place in the other picture: so a line that
    rounding has moved by one pixel is at no distance.
    """
    stored, new = stored.convert("RGB"), new.convert("RGB")
    outside = [
        ImageChops.add(
            ImageChops.subtract(here, there.filter(ImageFilter.MaxFilter(3))),
            ImageChops.subtract(there.filter(ImageFilter.MinFilter(3)), here),
        )
        for here, there in ((stored, new), (new, stored))
    ]
    return max(ImageStat.Stat(ImageChops.lighter(*outside)).rms)


def _pictures(outputs: list) -> list[Image.Image]:
    pngs = [o.data["image/png"] for o in outputs if "image/png" in o.get("data", {})]
    return [Image.open(io.BytesIO(base64.b64decode(png))) for png in pngs]


def other_pictures(stored: list, new: list, allowed: float = ALLOWED) -> str:
    """What is wrong with the pictures among the `new` outputs, one sentence; "" if nothing is."""
    before, now = _pictures(stored), _pictures(new)
    if len(before) != len(now):
        return f"The cell draws another number of pictures: {len(now)}, and {len(before)} stored."
    for number, (old, picture) in enumerate(zip(before, now, strict=True), start=1):
        if old.size != picture.size:
            return f"Picture {number} has another size: {picture.size}, and {old.size} stored."
        if (distance := picture_distance(old, picture)) > allowed:
            return (
                f"Picture {number} is not the stored one: they are {distance:.2g} levels of 255 "
                f"apart, and {allowed:g} is allowed (it was drawn by Matplotlib "
                f"{matplotlib.__version__} with FreeType {ft2font.__freetype_version__}; with "
                "other versions than environment.yml's, letters alone can do that)."
            )
    return ""


def compare_more(item: IPyNbCell) -> None:
    """Give a cell of a notebook the comparison described above."""
    if item.cell.execution_count is None and item.cell.source.strip():

        def never_executed() -> None:
            item.raise_cell_error("This cell was stored without being executed: `make refresh`")

        item.runtest = never_executed
    tolerance = dict(item.cell.metadata.get("nbval", {}))
    allowed = tolerance.pop("picture", ALLOWED)
    approximate = "nbval-approx" in item.cell.metadata.get("tags", [])
    exact = item.compare_outputs

    def compare_outputs(new, stored, skip_compare=None) -> bool:
        places = _texts(stored) if approximate else {}
        for kind, slots in _texts(new).items():
            for (box, key), (stored_box, stored_key) in zip(
                slots, places.get(kind, []), strict=False
            ):
                box[key] = forgive(stored_box[stored_key], box[key], **tolerance)
        if not exact(new, stored, skip_compare):
            return False
        if wrong := other_pictures(stored, new, allowed):
            item.comparison_traceback.append(wrong)
        return not wrong

    item.compare_outputs = compare_outputs
