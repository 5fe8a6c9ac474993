"""Measure how much the pictures that a cell draws differ from the stored ones."""

import base64
import copy
import io
import re

import matplotlib
import numpy as np
from matplotlib import ft2font
from PIL import Image

from mnist_nb.tools.verify.normal_form import DEFAULTS

# In levels of 255. Between processors, pictures differed by at most 0.2, except in cells with a
# tolerance. One wrong letter makes a difference of 1.7, two swapped series one of 5 to 30.
ALLOWED = DEFAULTS["picture"]
_PICTURES = "image/png", "image/jpeg"  # nbval ignores these
_IN_HTML = re.compile(r"(?<=\bdata:image/)(png|jpeg|webp);base64,([A-Za-z0-9+/=]+)")


def picture_distance(stored: Image.Image, new: Image.Image) -> float:
    """Return the distance of two pictures of the same size, in levels of 255.

    Each pixel counts by how far it is outside the range of the 3 x 3 pixels around its place in
    the other picture, so a line that has moved by one pixel adds nothing. The distance is the
    root mean square over all pixels, in the colour channel where it is largest.
    """
    before, now = _on_white(stored), _on_white(new)
    outside = np.maximum(_outside(before, now), _outside(now, before)).astype(float)
    return float(np.sqrt((outside**2).mean(axis=(0, 1))).max())


def _outside(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Return how far each pixel is outside the range of the 3 x 3 around its place in `there`."""
    height, width, _ = there.shape
    edged = np.pad(there, ((1, 1), (1, 1), (0, 0)), mode="edge")
    rows = [edged[i : i + height] for i in range(3)]
    low, high = np.minimum.reduce(rows), np.maximum.reduce(rows)
    low = np.minimum.reduce([low[:, i : i + width] for i in range(3)])
    high = np.maximum.reduce([high[:, i : i + width] for i in range(3)])
    return np.maximum(here, high) - high + (low - np.minimum(here, low))


def _on_white(picture: Image.Image) -> np.ndarray:
    """Return `picture` on a white background, as an array of height x width x 3."""
    picture = picture.convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    return np.asarray(Image.alpha_composite(white, picture).convert("RGB"))


def pictures(outputs: list) -> list[Image.Image]:
    """Return the pictures among the `outputs` and inside their HTML, in their order."""
    return [Image.open(io.BytesIO(base64.b64decode(picture))) for picture in _encoded(outputs)]


def _encoded(outputs: list) -> list[str]:
    found = []
    for data in (output.get("data", {}) for output in outputs):
        found += [data[kind] for kind in _PICTURES if kind in data]
        found += [picture for _, picture in _IN_HTML.findall(str(data.get("text/html", "")))]
    return found


def without_pictures(outputs: list) -> list:
    """Return a copy of `outputs` whose HTML has no pictures in it, to compare the rest as text."""
    copied = copy.deepcopy(outputs)
    for data in (output.get("data", {}) for output in copied):
        if isinstance(data.get("text/html"), str):
            data["text/html"] = _IN_HTML.sub("picture", data["text/html"])
    return copied


def different_pictures(stored: list, new: list, allowed: float = ALLOWED) -> str:
    """Return a sentence about the first difference among the pictures, or ""."""
    if _encoded(stored) == _encoded(new):
        return ""
    before, now = pictures(stored), pictures(new)
    if len(before) != len(now):
        return f"The cell draws {len(now)} pictures, but {len(before)} are stored."
    for number, (old, picture) in enumerate(zip(before, now, strict=True), start=1):
        if old.size != picture.size:
            return f"Picture {number} has the size {picture.size}, but {old.size} is stored."
        if (distance := picture_distance(old, picture)) > allowed:
            return (
                f"Picture {number} differs from the stored one by {distance:.2g} levels of 255, "
                f"and {allowed:g} is allowed (it was drawn by Matplotlib {matplotlib.__version__} "
                f"with FreeType {ft2font.__freetype_version__}; versions that are not those of "
                "environment.yml may draw letters differently)."
            )
    return ""
