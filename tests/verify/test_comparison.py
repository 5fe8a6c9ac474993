"""What makes a notebook pass and what makes it fail: the tolerance, tried from both sides."""

import base64
import io
import subprocess
import sys
from functools import cache, partial
from unittest import mock

import nbformat
import numpy as np
import pytest
import torch
from conftest import NOTEBOOKS
from PIL import Image, ImageChops, ImageOps

from mnist_nb import figures
from mnist_nb.loading import load
from mnist_nb.tools.verify.comparison import (
    different_parts,
    replace_close,
    replace_close_in_outputs,
)
from mnist_nb.tools.verify.normal_form import CEILINGS
from mnist_nb.tools.verify.outputs import compare_cell
from mnist_nb.tools.verify.pictures import ALLOWED, picture_distance, pictures, without_pictures


@pytest.mark.parametrize(
    ("stored", "new", "tolerance"),
    [
        ("loss 0.28", "loss 0.28", {}),
        ("loss 0.28", "loss 0.29", {}),
        ("loss 0.28 acc 91.5", "loss 0.27 acc 91.6", {}),
        ("1.000e-3", "1.001e-3", {"rtol": 0.01}),
        ("1.00e-3", "9.99e-4", {}),
        ("2.5000", "2.5004", {"ulp": 5}),
        ("loss 0.2870", "loss 0.2879", {"atol": 0.001}),
        ("-1.2500", "-1.2494", {"atol": 0.001}),
        ("  0.9\n 10.1", " 10.0\n 10.1", {"atol": 10}),
        ("     x     y\n0  9.9  10.0", "      x    y\n0  10.0  9.9", {"atol": 0.2}),
        ("   share right   \na          9.9\nb          1.0",
         "   share right   \na         10.0\nb          1.0", {}),
        ("        x\nname     \nmean  9.9", "         x\nname      \nmean  10.0", {}),
        ("tensor([[ 0.001,  0.002],\n        [ 0.003, -0.001]])",
         "tensor([[0.001, 0.002],\n        [0.003, 0.000]])", {}),
        ("loss 9.99, done", "loss 10.00, done", {"atol": 0.01}),
        ({"history": [{"epoch": 1, "loss": 0.5}]}, {"history": [{"epoch": 1, "loss": 0.5001}]},
         {"atol": 0.001}),
    ],
)  # fmt: skip
def test_numbers_within_the_tolerance_pass(stored, new, tolerance):
    assert replace_close(stored, new, **tolerance) == stored


def with_part(script: str, *tags: str):
    """A cell whose output computes in the browser, with this in its script."""
    html = f'<div class="mnist-nb-live" data-part="x"></div><script>{script}</script>'
    data = {"text/html": html, "text/plain": "a part"}
    output = nbformat.v4.new_output("display_data", data)
    return nbformat.v4.new_code_cell("f()", outputs=[output], metadata={"tags": [*tags]})


@pytest.mark.parametrize(
    ("stored", "new"), [("a = 0.51", "a = 0.52"), ("0x9e3779b9", "0x9e3779b8")]
)
def test_a_live_part_is_compared_exactly_whatever_the_cells_tolerance(stored, new):
    before, now = with_part(stored, "nbval-approx"), with_part(new)
    again = with_part(stored)
    assert [o.state for o in compare_cell(before, again)] == ["the same bits"]
    (found,) = compare_cell(before, now)
    assert (found.what, found.state) == ("a live part", "differs") and "script" in found.where
    assert different_parts(before.outputs, again.outputs) == ""
    assert "output 1" in different_parts(before.outputs, now.outputs)
    replace_close_in_outputs(before.outputs, now.outputs, atol=9)
    assert now == with_part(new) | {"id": now.id}


@pytest.mark.parametrize(
    ("stored", "new", "tolerance"),
    [
        ("loss 0.28", "loss 0.30", {}),
        ("loss 0.2870", "loss 0.2885", {"atol": 0.001}),
        ("loss 0.28", "cost 0.28", {}),
        ("loss 0.28", "loss 0.28 0.28", {}),
        ("5 epochs", "6 epochs", {"atol": 10}),
        ("0.5", "nan", {"atol": 10}),
        ("nan", "0.5", {"atol": 10}),
        ("0.5", "1", {"atol": 10}),
        ("v1.2", "v1.3", {}),
        ("True", "False", {"atol": 10}),
        ({"epoch": 1}, {"epoch": 2}, {"atol": 10}),
        ({"loss": 0.5}, {"loss": None}, {"atol": 10}),
        ([0.5], [0.5, 0.5], {"atol": 10}),
        ("loss 0.29", "loss 0.2866", {"atol": 0.01}),
        ("loss 0.2866", "loss 0.29", {"atol": 0.01}),
        ("0.0010", "1.0e-3", {"atol": 0.01}),
        ("1.00e-3", "9.80e-4", {}),
        ("1e-3", "2e-3", {}),
        ("a b 0.5", "a\nb 0.6", {}),
        ("a b 0.5", "a  b 0.6", {}),
        ("a b  9.9", "a  b 10.0", {}),
        ("a\n  loss 0.5", "a\nloss 0.6", {}),
        ("a\n loss 9.9", "a\nloss 10.0", {}),
        ("a 0.5\n", "a 0.6", {}),
        ("a   0.5", "a  0.6", {}),
        ("a   9.9", "a 10.0", {}),
        ("  x\n     9.9", " x\n    10.0", {}),
        ("tensor([1., 0., 0.])", "tensor([0., 1., 1.])", {}),
        ("tensor([1., 0., 0.])", "tensor([0., 1., 1.])", {"atol": 10}),
        ("5,1719,9.99", "5,1719,0.2866", {"rtol": 0.001}),
        ("5,1719,0.2866", "5,1720,0.2866", {"rtol": 0.001}),
        ("[0.28, 0.30]", "[0.28, 0.30, 0.30]", {"atol": 0.1}),
        ("0  0.28  0.91\n1  0.29  0.92", "0  0.29  0.92\n1  0.28  0.91", {"atol": 0.1}),
        ("Python 3.11.2", "Python 3.12.2", {"atol": 0.1}),
        ("0.5", "0.59", {"ulp": 1}),
        ({"loss": 0.5}, {"loss": 0.51}, {}),
    ],
)  # fmt: skip
def test_anything_else_does_not(stored, new, tolerance):
    assert replace_close(stored, new, **tolerance) != stored


def png(figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return file.getvalue()


def picture(figure) -> Image.Image:
    return Image.open(io.BytesIO(png(figure)))


TRAINING = [1.2604, 0.4454, 0.3687, 0.3208, 0.2866]
VALIDATION = [0.5418, 0.386, 0.33, 0.303, 0.29]
EARLIER = [0.23, 0.21, 0.20, 0.18, 0.17], [0.25, 0.24, 0.22, 0.21, 0.20]
SHARES = np.array([0.976, 0.889, 0.874, 0.972]) + np.array([[0.0], [-0.03], [0.02]])
the_digits = cache(load)


def losses(training=TRAINING, validation=VALIDATION, published=EARLIER):
    rows = zip(training, validation, strict=True)
    history = [{"epoch": i, "train_loss": t, "val_loss": v} for i, (t, v) in enumerate(rows, 1)]
    return figures.losses(history, dict(zip(("train_loss", "val_loss"), published, strict=False)))


def digits(chosen, titles=()):
    return figures.images(the_digits().x[list(chosen), 0], titles)


def bars(colour=figures.BLUE):
    figure = figures.bars({"a": [1, 2, 0]})
    for bar in figure.axes[0].patches:
        bar.set_facecolor(colour)
    return figure


@pytest.mark.parametrize(
    ("right", "elsewhere"),
    [
        (losses, lambda: losses([x + 1e-4 for x in TRAINING], [x - 1e-4 for x in VALIDATION])),
        (losses, lambda: losses([x - 1e-4 for x in TRAINING], [x + 1e-4 for x in VALIDATION])),
        (partial(figures.intervals, *SHARES, line=0.9254),
         partial(figures.intervals, *SHARES, line=0.9256)),
        (lambda: figures.confusion(torch.eye(10) * 0.8 + 0.02),
         lambda: figures.confusion(torch.eye(10) * 0.8 + 0.0201)),
    ],
)  # fmt: skip
def test_a_picture_that_another_processor_would_draw_is_the_same(right, elsewhere):
    assert picture_distance(picture(right()), picture(elsewhere())) < ALLOWED / 2


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (losses, lambda: losses(VALIDATION, TRAINING)),
        (losses, lambda: losses(published=EARLIER[::-1])),
        (losses, lambda: losses(published=([x + 0.03 for x in EARLIER[0]], EARLIER[1]))),
        (losses, lambda: losses(TRAINING[:-1], VALIDATION[:-1])),
        (losses, lambda: losses([x * 1.02 for x in TRAINING])),
        (partial(figures.intervals, *SHARES, line=0.9254), partial(figures.intervals, *SHARES)),
        (partial(figures.intervals, *SHARES), partial(figures.intervals, *SHARES[:, ::-1])),
        (lambda: digits(range(8)), lambda: digits([0, 1, 2, 3, 4, 5, 6, 14])),  # another 1
        (lambda: digits(range(8)), lambda: digits([0, 1, 2, 6, 4, 5, 3, 7])),  # two 1s swapped
        (lambda: digits(range(8), "50419213"), lambda: digits(range(8), "04192131")),
        (lambda: digits(range(8), "50419213"), lambda: digits(range(8), "50419218")),
        (bars, lambda: bars(figures.GREEN)),  # no redder, no less red
        (lambda: figures.confusion(torch.eye(10) * 0.896),  # a white 90 for a white 89
         lambda: figures.confusion(torch.eye(10) * 0.894)),
    ],
)  # fmt: skip
def test_a_wrong_picture_is_another_one(right, wrong):
    assert picture_distance(picture(right()), picture(wrong())) > 3 * ALLOWED


def wrong_pictures(right: Image.Image):
    """Pictures that nobody would take for the `right` one, by what is wrong with them."""
    yield "blank", Image.new("RGB", right.size, "white")
    yield "transparent", Image.new("RGBA", right.size, (0, 0, 0, 0))
    yield "mirrored", ImageOps.mirror(right)
    yield "upside down", ImageOps.flip(right)
    yield "inverted", ImageOps.invert(right)
    yield "moved", ImageChops.offset(right, 3, 0)
    yield "half of it", Image.composite(right, Image.new("RGB", right.size, "white"),
                                        Image.linear_gradient("L").resize(right.size).point(
                                            lambda level: 255 * (level > 127)))  # fmt: skip
    red, green, blue = right.split()
    if ImageChops.difference(red, blue).getbbox():  # not grey
        yield "other colours", Image.merge("RGB", (blue, green, red))


# Of the ways to spoil a picture every sixth, others for the next picture: each is tried with many.
@pytest.mark.parametrize("step", [6, pytest.param(1, marks=pytest.mark.whole)])
def test_nothing_that_a_person_sees_at_a_glance_passes_for_a_committed_picture(step):
    committed = {
        f"{path.stem} {cell.id}": (shown.convert("RGB"), cell.metadata.get("nbval", {}))
        for path in NOTEBOOKS
        for cell in nbformat.read(path, as_version=4).cells
        for shown in pictures(cell.get("outputs", []))
    }
    assert len(committed) >= 20
    for number, (name, (right, stated)) in enumerate(committed.items()):
        allowed = stated.get("picture", ALLOWED)
        assert allowed <= CEILINGS["picture"], name
        others = [(other, there) for other, (there, _) in committed.items()
                  if there.size == right.size and there.tobytes() != right.tobytes()]  # fmt: skip
        for what, wrong in [*others[:1], *wrong_pictures(right)][number % step :: step]:
            assert picture_distance(right, wrong) > 2 * CEILINGS["picture"], f"{name}: {what}"


def nbval(folder, *cells) -> str:
    """Run pytest on a notebook of these (source, stored output, metadata) cells; its report.

    The output is what the cell printed, or a list of outputs.
    """
    notebook = nbformat.v4.new_notebook()
    for number, (source, stored, metadata) in enumerate(cells, start=1):
        if isinstance(stored, str):
            stored = [nbformat.v4.new_output("stream", text=stored)] if stored else []
        notebook.cells.append(
            nbformat.v4.new_code_cell(
                source, execution_count=number, outputs=stored, metadata=metadata
            )
        )
    if not cells[-1][1]:
        notebook.cells[-1].execution_count = None
    nbformat.write(notebook, folder / "copy.ipynb")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "--color=no",
         *(word for name in ("hypothesispytest", "pytest_mpl", "cacheprovider")
           for word in ("-p", f"no:{name}")),
         "-p", "mnist_nb.tools.verify.plugin", "copy.ipynb"],
        cwd=folder, capture_output=True, text=True,
    ).stdout  # fmt: skip


def test_only_tagged_cells_are_forgiven_and_unexecuted_ones_never(tmp_path):
    approx = {"tags": ["nbval-approx"]}
    report = nbval(
        tmp_path,
        ("print('loss 0.29')", "loss 0.28\n", approx),
        ("print('loss 0.30')", "loss 0.28\n", approx),
        ("print('loss 0.2879')", "loss 0.2870\n", approx | {"nbval": {"atol": 0.001}}),
        ("print('loss 0.2881')", "loss 0.2870\n", approx | {"nbval": {"atol": 0.001}}),
        ("print('loss 0.29')", "loss 0.28\n", {}),
        ("print('a word')", "a worm\n", approx),
        ("1 + 1", "", {}),
    )
    failed = {line.split("::")[1].split()[1] for line in report.splitlines() if "FAILED" in line}
    assert failed == {"1", "3", "4", "5", "6"}, report
    assert "stored without being executed" in report


def shown(figure, pictures=True) -> list:
    """The output of a cell that shows `figure` as "alt", with or without its pictures."""
    with mock.patch("IPython.display.display") as display:
        figures.show(figure, alt="alt")
    data = dict(display.call_args.args[0])
    data["image/png"] = base64.b64encode(data["image/png"]).decode()
    metadata = display.call_args.kwargs["metadata"]
    output = nbformat.v4.new_output("display_data", data, metadata=metadata)
    if not pictures:
        (output,) = without_pictures([output])
        del output.data["image/png"]
    return [output]


def with_other_html(outputs: list, there: str, instead: str) -> list:
    outputs[0].data["text/html"] = outputs[0].data["text/html"].replace(there, instead)
    return outputs


def test_a_picture_that_is_not_the_stored_one_fails_and_the_report_says_how(tmp_path):
    up, down = ([1, 2], [1, 2]), ([1, 2], [2, 1])
    cell = (
        "from mnist_nb import figures\n"
        "up, down = ([1, 2], [1, 2]), ([1, 2], [2, 1])\n"
        "figures.show(figures.curves({'a': up, 'b': down}), alt='alt')"
    )
    right, swapped = figures.curves({"a": up, "b": down}), figures.curves({"a": down, "b": up})
    lower = figures.curves({"a": up, "b": down})
    lower.set_size_inches(7, 3)
    only_in_the_html = shown(right)
    only_in_the_html[0].data["text/html"] = shown(swapped)[0].data["text/html"]
    report = nbval(
        tmp_path,
        (cell, shown(right), {}),
        (cell, shown(swapped), {}),
        (cell, shown(swapped), {"tags": ["nbval-approx"], "nbval": {"atol": 0.1}}),
        (cell, shown(swapped), {"nbval": {"picture": 60}}),
        (cell, shown(lower), {"nbval": {"picture": 60}}),
        (cell, shown(right, pictures=False), {}),
        (cell, only_in_the_html, {}),
        (cell, with_other_html(shown(right), 'alt="alt"', 'alt="all"'), {}),
    )
    failed = {line.split("::")[1].split()[1] for line in report.splitlines() if "FAILED" in line}
    assert failed == {"1", "2", "4", "5", "6", "7"}, report
    told = report.partition("short test summary")[0]  # which repeats it all where CI is set
    assert told.count("Picture 1 differs from the stored one") == 2 and "by Matplotlib 3." in told
    assert told.count("Picture 2 differs from the stored one") == 1
    assert "size (700, 400), but (700, 300) is stored" in report
    assert "draws 2 pictures, but 0 are stored" in report


def jpeg(colour: str) -> str:
    file = io.BytesIO()
    Image.new("RGB", (20, 20), colour).save(file, format="jpeg")
    return base64.b64encode(file.getvalue()).decode()


def test_jpeg_pictures_alt_texts_and_the_order_of_outputs_are_compared(tmp_path):
    data = {"text/plain": "a", "image/jpeg": jpeg("red")}
    show = (
        "from IPython.display import display\n"
        f"display({data!r}, metadata={{'image/jpeg': {{'alt': 'loss 0.28'}}}}, raw=True)\n"
        "print('done')"
    )

    def outputs(colour="red", alt="loss 0.28"):
        picture = nbformat.v4.new_output(
            "display_data",
            data=data | {"image/jpeg": jpeg(colour)},
            metadata={"image/jpeg": {"alt": alt}},
        )
        return [picture, nbformat.v4.new_output("stream", text="done\n")]

    approx = {"tags": ["nbval-approx"]}
    report = nbval(
        tmp_path,
        (show, outputs(), {}),
        (show, outputs(colour="blue"), {}),
        (show, outputs(alt="loss 0.29"), {}),
        (show, outputs(alt="loss 0.29"), approx),
        (show, outputs(alt="cost 0.28"), approx),
        (show, outputs()[::-1], {}),
    )
    failed = {line.split("::")[1].split()[1] for line in report.splitlines() if "FAILED" in line}
    assert failed == {"1", "2", "4", "5"}, report
