"""What the diagrams draw, read from their artists."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba

from mnist_nb import drawings
from mnist_nb.figures import BLUE, ORANGE, RED


def lines(figure) -> dict:
    """Label -> points of each line."""
    return {line.get_label(): line.get_xydata().tolist() for line in figure.axes[0].lines}


def names_of_axes(figure) -> tuple:
    return figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()


def legend(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_the_steps_of_a_loss_show_each_number_once_in_its_column_and_pick_the_right_class():
    logits = torch.tensor([[0.0, 0.0], [2.0, -1.0], [0.0, 0.0]])
    (ax,) = drawings.loss_steps(logits, torch.tensor([1, 0, 0])).axes
    boxes = [text for text in ax.texts if text.get_bbox_patch()]
    columns = {}
    for box in boxes:
        columns.setdefault(box.get_position()[0], []).append(box.get_text())
    assert list(columns.values()) == [
        ["0.0", "0.0", "2.0", "−1.0", "0.0", "0.0"],
        ["0.50", "0.50", "0.95", "0.05", "0.50", "0.50"],
        ["0.50", "0.95", "0.50"],
        ["0.69", "0.05", "0.69"],
        ["0.48"],
    ]
    picked = [box.get_bbox_patch().get_edgecolor() == to_rgba(ORANGE) for box in boxes]
    scores = [p for p, box in zip(picked, boxes, strict=True) if box.get_position()[0] == 0.5]
    assert scores == [False, True, True, False, True, False]
    names = [text.get_text() for text in ax.texts if text.get_fontweight() == "bold"]
    assert names == ["scores", "softmax", "pick", "−ln", "mean"]


def test_a_valley_has_contours_and_walks_that_start_together():
    across, along = torch.linspace(-1, 1, 5), torch.linspace(-3, 3, 7)
    surface = 1 + across[:, None] ** 2 + along**2 / 9
    walks = {name: torch.tensor([[-1.0, -2.0], [0.5, k]]) for k, name in enumerate("xyz")}
    figure = drawings.valley(across, along, surface, walks)
    start = {"start": [[-2, -1]]}  # along to the right, across upwards
    assert lines(figure) == {n: [[-2, -1], [k, 0.5]] for k, n in enumerate("xyz")} | start
    assert [line.get_color() for line in figure.axes[0].lines] == [BLUE, ORANGE, RED, "black"]
    (contours,) = figure.axes[0].collections
    assert np.allclose(contours.levels[:3], [1.02, 1.377, 1.85895])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [*"xyz", "start"]
    assert names_of_axes(figure) == ("distance along the valley", "distance across it")
    with pytest.raises(ValueError):
        drawings.valley(across, along, surface, walks | {"fourth": walks["x"]})


def test_learning_rates_are_drawn_on_logarithmic_axes_beside_the_unstable_ones():
    figure = drawings.learning_rates({0.01: 0.5, 0.1: 0.2}, unstable=(1, 10))
    (ax,) = figure.axes
    assert lines(figure)["after one epoch"] == [[0.01, 0.5], [0.1, 0.2]]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0.01", "0.1", "1", "10"]
    (shaded,) = ax.patches
    assert (shaded.get_x(), shaded.get_width()) == (1, 9)
    assert legend(figure) == [
        "after one epoch", "unstable: no two runs alike", "guessing: ln 10",
    ]  # fmt: skip


def test_the_graph_is_that_of_the_loss_with_each_parameter_at_its_operation():
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU(), torch.nn.Linear(2, 4))
    loss = torch.nn.functional.cross_entropy(model(torch.rand(5, 3)), torch.arange(5) % 4)
    (ax,) = drawings.graph(loss, model).axes
    boxes = {t.get_position(): t.get_text() for t in ax.texts if t.get_text()}
    assert boxes == {
        (0, 0): "Addmm", (0, 1.2): "0.bias\n2", (0, -1.2): "0.weight\n2 × 3",
        (1, 0): "Relu",
        (2, 0): "Addmm", (2, 1.2): "2.bias\n4", (2, -1.2): "2.weight\n4 × 2",
        (3, 0): "Log\nSoftmax", (4, 0): "Nll\nLoss", (5, 0): f"loss\n{loss.item():.2f}",
    }  # fmt: skip
    arrows = [t for t in ax.texts if not t.get_text()]
    assert len(arrows) == 5 + 4
    assert all(t.xy[0] < t.get_position()[0] for t in arrows if t.xy[1] == 0)  # backwards


def words(ax) -> list[str]:
    return [text.get_text() for text in ax.texts if text.get_text()]


def boxes(ax) -> list[tuple]:
    """Left, bottom, width and height of each box."""
    return [(*box.get_xy(), box.get_width(), box.get_height()) for box in ax.patches]


def test_a_close_up_frames_a_piece_and_writes_its_bytes():
    picture = torch.arange(36, dtype=torch.uint8).view(6, 6) * 7
    left, right = drawings.close_up(picture, range(1, 3), range(2, 5)).axes
    assert np.array_equal(left.images[0].get_array(), picture)
    assert boxes(left) == [(1.5, 0.5, 3, 2)]
    assert np.array_equal(right.images[0].get_array(), picture[1:3, 2:5])
    assert right.images[0].get_extent() == [1.5, 4.5, 2.5, 0.5]  # row 1 on top
    assert [(*text.get_position(), text.get_text()) for text in right.texts] == [
        (2, 1, "56"), (3, 1, "63"), (4, 1, "70"), (2, 2, "98"), (3, 2, "105"), (4, 2, "112"),
    ]  # fmt: skip
    for ax in (left, right):
        assert ax.images[0].get_clim() == (0, 255)
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("column", "row")


def test_bytes_are_written_in_white_on_dark_pixels():
    _, right = drawings.close_up(torch.tensor([[127, 128]]), range(1), range(2)).axes
    assert [text.get_color() for text in right.texts] == ["black", "white"]


def test_the_start_of_a_file_is_a_box_per_byte_with_the_meaning_of_each_field():
    figure = drawings.file_start(b"\x07\x00\xff!", [(1, "type"), (2, "length")], ["one", "…"])
    (ax,) = figure.axes
    assert words(ax) == ["7", "type", "0", "255", "length", "one", "…", "header",
                         "one byte per pixel"]  # fmt: skip
    assert [round(left, 2) for left, *_ in boxes(ax)] == [0.05, 1.05, 2.05, 3.05, 12.05]
    edges = [box.get_edgecolor() for box in ax.patches[:3]]
    assert edges == [to_rgba(BLUE), to_rgba(ORANGE), to_rgba(ORANGE)]


def test_a_split_is_drawn_to_scale_with_its_sizes_and_what_stays_apart():
    (ax,) = drawings.split({"a": 900, "b": 300}, {"c": 500}).axes
    assert words(ax) == ["in the training files\n1,200", "c\n500", "a\n900", "b\n300"]
    assert boxes(ax) == [(0, 2.1, 1200, 0.8), (1300, 2.1, 500, 0.8), (0, 0, 900, 0.8),
                         (900, 0, 300, 0.8)]  # fmt: skip
    arrows = [text.xy[0] for text in ax.texts if not text.get_text()]
    assert arrows == [450, 1050]


@pytest.mark.parametrize(
    ("sizes", "counts", "dots"),
    [([784, 64, 64, 10], [50_240, 4_160, 650], [8, 8, 8, 10]), ([3, 2], [8], [3, 2])],
)
def test_a_network_is_drawn_with_its_sizes_and_its_parameters(sizes, counts, dots):
    picture = torch.rand(5, 5)
    first, chain, bar = drawings.network(sizes, picture).axes
    assert np.array_equal(first.images[0].get_array(), picture)
    columns = [line for line in chain.lines if line.get_marker() == "o"]
    assert [len(line.get_xdata()) for line in columns] == dots
    assert [set(line.get_xdata()) for line in columns] == [{k} for k in range(len(sizes))]
    connected = sum(a * b for a, b in pairwise(dots))
    assert len(chain.lines) == len(columns) + connected
    names = ["pixels", *["hidden"] * (len(sizes) - 2), "scores"]
    said = words(chain)
    for n, name in zip(sizes, names, strict=True):
        assert f"{n}\n{name}" in said
    for (a, b), count in zip(pairwise(sizes), counts, strict=True):
        assert f"{a} × {b} + {b}\n= {count:,} ({count / sum(counts):.0%})" in said
    assert [patch.get_width() for patch in bar.patches] == counts
    assert [patch.get_x() for patch in bar.patches] == [
        sum(counts[:k]) for k in range(len(counts))
    ]
    assert f"{sum(counts):,}" in bar.get_title()


def test_regions_have_the_colour_of_the_answer_at_their_place():
    points = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0]])
    right = torch.tensor([1, 1, 0])
    nets = {
        "right": lambda p: torch.stack([-p[:, 0], p[:, 0]], dim=1),
        "above": lambda p: torch.stack([-p[:, 1], p[:, 1]], dim=1),
    }
    across, up = drawings.regions(points, right, nets).axes
    assert [across.get_title(), up.get_title()] == ["right", "above"]
    for ax, picture in ((across, "columns"), (up, "rows")):
        answers = np.asarray(ax.images[0].get_array())
        answers = answers if picture == "columns" else answers.T
        assert not answers[:, :100].any() and answers[:, 101:].all()
        assert ax.images[0].origin == "lower"
        assert ax.images[0].get_extent() == pytest.approx([-2.2, 2.2, -2.2, 2.2])
        drawn = {line.get_label(): line.get_xydata().tolist() for line in ax.lines}
        assert drawn == {"class 0": [[-1, 0]], "class 1": [[1, 0], [0, 2]]}
