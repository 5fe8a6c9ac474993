"""How far the pictures that a cell draws are from the stored ones."""

import base64
import io

import matplotlib
import numpy as np
from matplotlib import ft2font
from PIL import Image

from mnist_nb.tools.verify.normal_form import DEFAULTS

# In levels of 255. As other processors round, no picture of the notebooks was further off than
# 0.2, but for those whose cells say so; one wrong letter is 1.7, two series swapped are 5 to 30.
ALLOWED = DEFAULTS["picture"]
_PICTURES = "image/png", "image/jpeg"  # the ones that nbval passes over


def picture_distance(stored: Image.Image, new: Image.Image) -> float:
    """How far two pictures of one size are apart, in levels of 255.

    The root mean square over all pixels, in the worst of the three colours, of how far a pixel
    lies outside the range of the 3 x 3 around its place in the other picture: so a line that
    rounding has moved by one pixel is at no distance.
    """
    before, now = _on_white(stored), _on_white(new)
    outside = np.maximum(_outside(before, now), _outside(now, before)).astype(float)
    return float(np.sqrt((outside**2).mean(axis=(0, 1))).max())


def _outside(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Return how far each pixel lies outside the 3 x 3 around its place in `there`."""
    height, width, _ = there.shape
    edged = np.pad(there, ((1, 1), (1, 1), (0, 0)), mode="edge")
    rows = [edged[i : i + height] for i in range(3)]
    low, high = np.minimum.reduce(rows), np.maximum.reduce(rows)
    low = np.minimum.reduce([low[:, i : i + width] for i in range(3)])
    high = np.maximum.reduce([high[:, i : i + width] for i in range(3)])
    return np.maximum(here, high) - high + (low - np.minimum(here, low))


def _on_white(picture: Image.Image) -> np.ndarray:
    """Return `picture` as a page shows it, height x width x 3; what is transparent is white."""
    picture = picture.convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    return np.asarray(Image.alpha_composite(white, picture).convert("RGB"))


def pictures(outputs: list) -> list[Image.Image]:
    """Return the PNG and JPEG pictures among the `outputs`, in their order."""
    data = [o.data[kind] for o in outputs for kind in _PICTURES if kind in o.get("data", {})]
    return [Image.open(io.BytesIO(base64.b64decode(picture))) for picture in data]


def other_pictures(stored: list, new: list, allowed: float = ALLOWED) -> str:
    """What is wrong with the pictures among the `new` outputs, one sentence; "" if nothing is."""
    before, now = pictures(stored), pictures(new)
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
