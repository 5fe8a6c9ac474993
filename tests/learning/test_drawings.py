"""What the diagrams draw, read from their artists."""

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


def test_cells_that_the_page_does_not_show_are_dashed():
    (ax,) = drawings.cell_runs({"a": [("15", True), ("19", False)], "b": [("20", True)]}).axes
    boxes = {text.get_text(): text.get_bbox_patch() for text in ax.texts if text.get_bbox_patch()}
    assert {name: box.get_linestyle() for name, box in boxes.items()} == {
        "15": "-", "19": "--", "20": "-",
    }  # fmt: skip
    assert boxes["15"].get_edgecolor() == to_rgba(BLUE)
    assert boxes["19"].get_edgecolor() == to_rgba(ORANGE)
    labels = [t.get_text() for t in ax.texts if t.get_text() and not t.get_bbox_patch()]
    assert labels == ["a", "b"]
