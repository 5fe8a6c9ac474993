"""Pictures as files: those that the notebooks store, and a reference of each kind of figure.

The references are drawn anew, when a figure is meant to look different, by

    pytest tests/learning/test_pictures.py --mpl-generate-path=tests/learning/reference

and looked at before they are committed.
"""

import base64
import io
import re

import nbformat
import numpy as np
import pytest
import torch
from conftest import NOTEBOOKS
from PIL import Image

from mnist_nb import figures
from mnist_nb.figures import diagrams, loop
from mnist_nb.loading import load
from mnist_nb.tools.verify.pictures import pictures

HISTORY = [
    {"epoch": epoch, "train_loss": training, "val_loss": validation}
    for epoch, training, validation in ((1, 1.26, 0.54), (2, 0.45, 0.39), (3, 0.37, 0.33))
]
FALLING = 0.5 + 1.8 * torch.exp(-torch.arange(600) / 200)  # a loss per batch
SCATTER = 0.2 * torch.sin(torch.arange(600.0) ** 2)
SHARES = np.array([0.976, 0.889, 0.874, 0.972]) + np.array([[0.0], [-0.03], [0.02]])
RUNS = np.array([[1.1], [1.0], [0.9]]) / np.arange(1, 7)
# kind of figure -> how one is drawn
DRAWN = {
    "losses": lambda: figures.losses(
        HISTORY, {"train_loss": [0.23, 0.21], "val_loss": [0.25, 0.24]}
    ),
    "images": lambda: figures.images(load().x[:7, 0], "5041921", columns=4),
    "weights": lambda: figures.images(
        load().x[:8, 0] - load().x[8:16, 0], columns=4, rows=["above", "below"], limit=1
    ),
    "curves": lambda: figures.curves(
        {"down": (range(5), [5, 3, 2, 1, 0]), "up": (range(20), np.arange(20) / 4),
         "level": ([0, 19], [4, 4]), "steep": ([8, 9], [1, 5])},
        xlabel="across", ylabel="up",
    ),
    "batch_losses": lambda: figures.batch_losses(
        {"this": FALLING + SCATTER}, dots=True
    ),
    "bars": lambda: figures.bars(
        {"one": [1, 4, 2], "two": [2, 3, 5], "three": [4, 4, 1]}, xlabel="digit", ylabel="count"
    ),
    "intervals": lambda: figures.intervals(*SHARES, line=0.93, xlabel="digit", ylabel="share"),
    "confusion": lambda: figures.confusion(
        torch.tensor([[0.9, 0.096, 0.004], [0.05, 0.55, 0.4], [0.3, 0.2, 0.5]])
    ),
    "bands": lambda: figures.bands(
        {"training": RUNS, "validation": 0.3 + RUNS / 2, "test": 0.6 + RUNS / 3},
        {"seen": ([1, 3], [1.0, 0.5]), "said": ([2, 4], [0.6, 0.7]), "heard": ([5], [0.9])},
        xlabel="epoch", ylabel="loss",
    ),
    "spreads": lambda: figures.spreads(
        {"one": (range(1, 7), RUNS), "two": (range(1, 7), 1 - RUNS / 2)}, xscale="log"
    ),
    "reliability": lambda: figures.reliability(
        [0.3, 0.6, 0.95], [0.4, 0.65, 0.98], [0.1, 0.6, 0.97], [0.7, 0.7, 0.99]
    ),
    "loss_steps": lambda: diagrams.loss_steps(
        torch.tensor([[2.0, 1.0, -1.0], [0.5, 0.0, 3.0]]), torch.tensor([0, 1])
    ),
    "training_steps": loop.training_steps,
}  # fmt: skip


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
@pytest.mark.mpl_image_compare(
    baseline_dir="reference",
    style="default",
    savefig_kwargs={"dpi": 60, "metadata": {"Software": None}},
    tolerance=1,
)
def test_picture(draw):
    return draw()


# every picture in the committed notebooks
STORED = [
    pytest.param(output, cell, notebook, id=f"{path.stem}-{cell.execution_count}")
    for path in NOTEBOOKS
    for notebook in [nbformat.read(path, as_version=4)]
    for cell in notebook.cells
    for output in cell.get("outputs", [])
    if any(kind.startswith("image/") for kind in output.get("data", {}))
]


@pytest.mark.parametrize(("output", "cell", "notebook"), STORED)
def test_a_stored_picture_is_whole_fits_the_page_and_shows_something(output, cell, notebook):
    assert set(output.data) == {"text/html", "image/png", "text/plain"}
    picture = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"], validate=True)))
    picture.load()  # all of it, or an error
    assert picture.format == "PNG" and set(picture.info) == {"dpi"}  # no version, no date
    assert 300 <= picture.width <= 700 and 80 <= picture.height <= 700
    ink = np.asarray(picture.convert("L")) < 200
    assert 0.01 < ink.mean() < 0.5
    assert ink[:, : picture.width // 2].any() and ink[:, picture.width // 2 :].any()


@pytest.mark.parametrize(("output", "cell", "notebook"), STORED)
def test_a_stored_picture_is_the_one_in_the_html_with_half_its_pixels(output, cell, notebook):
    small, large = pictures([output])
    assert large.format == "WEBP"
    assert all(abs(b - 2 * s) <= 1 for b, s in zip(large.size, small.size, strict=True))
    both = [np.asarray(p.convert("L").resize((70, 40)), dtype=float) for p in (small, large)]
    assert np.abs(both[0] - both[1]).mean() < 15  # of 255; charts differ by about 1


NUMBER = re.compile(r"\d+\.\d+%?|\d+%")


def stands_in(number: str, text: str) -> bool:
    """Is `number`, at its own precision, among the numbers in `text`? 64% is 0.64 too."""
    places = len(number.rstrip("%").partition(".")[2])
    value = float(number.rstrip("%"))
    numbers = [float(found) for found in re.findall(r"\d+(?:\.\d+)?", text)]
    if number.endswith("%"):
        numbers += [100 * found for found in numbers]
    return any(abs(found - value) <= 0.5 * 10**-places + 1e-9 for found in numbers)


@pytest.mark.parametrize(("output", "cell", "notebook"), STORED)
def test_an_alt_text_says_in_words_what_is_true_elsewhere_too(output, cell, notebook):
    alt = output.metadata["image/png"]["alt"]
    assert alt == output.data["text/plain"]  # which nbval compares
    assert not alt[0].islower() and 8 <= len(alt.split()) <= 80
    others = [
        c.source if c.cell_type == "markdown" else str([o.get("text") or o.get("data")])
        for c in notebook.cells
        for o in c.get("outputs", [{}])
        if "image/png" not in o.get("data", {})
    ]
    for number in NUMBER.findall(alt):  # each is computed here, or stands elsewhere
        assert number not in cell.source or stands_in(number, " ".join(others)), number


def test_no_two_figures_of_a_notebook_have_the_same_alt_text():
    alts = [(id(p.values[2]), p.values[0].data["text/plain"]) for p in STORED]
    assert len(set(alts)) == len(alts) >= 20
