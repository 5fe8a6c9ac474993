"""What the diagrams draw, read from their artists."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba
from matplotlib.text import Annotation

from mnist_nb.figures import BLUE, ORANGE, RED, dataset, descent, diagrams, loop, networks


def lines(figure) -> dict:
    """Label -> points of each line."""
    return {line.get_label(): line.get_xydata().tolist() for line in figure.axes[0].lines}


def names_of_axes(figure) -> tuple:
    return figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()


def test_the_steps_of_a_loss_show_each_number_once_in_its_column_and_pick_the_right_class():
    logits = torch.tensor([[0.0, 0.0], [2.0, -1.0], [0.0, 0.0]])
    (ax,) = diagrams.loss_steps(logits, torch.tensor([1, 0, 0])).axes
    boxes = [text for text in ax.texts if text.get_bbox_patch()]
    columns = {}
    for box in boxes:
        columns.setdefault(box.get_position()[0], []).append(box.get_text())
    assert list(columns.values()) == [
        ["0.0", "0.0", "2.0", "−1.0", "0.0", "0.0"],
        ["0.500", "0.500", "0.953", "0.047", "0.500", "0.500"],
        ["0.500", "0.953", "0.500"],
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
    figure = descent.valley(across, along, surface, walks)
    start = {"start": [[-2, -1]]}  # along to the right, across upwards
    assert lines(figure) == {n: [[-2, -1], [k, 0.5]] for k, n in enumerate("xyz")} | start
    assert [line.get_color() for line in figure.axes[0].lines] == [BLUE, ORANGE, RED, "black"]
    (contours,) = figure.axes[0].collections
    assert np.allclose(contours.levels[:3], [1.02, 1.377, 1.85895])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [*"xyz", "start"]
    assert names_of_axes(figure) == ("distance along the valley", "distance across it")
    with pytest.raises(ValueError):
        descent.valley(across, along, surface, walks | {"fourth": walks["x"]})


def test_the_graph_is_that_of_the_loss_with_each_parameter_at_its_operation():
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU(), torch.nn.Linear(2, 4))
    loss = torch.nn.functional.cross_entropy(model(torch.rand(5, 3)), torch.arange(5) % 4)
    (ax,) = loop.graph(loss, model).axes
    boxes = {t.get_position(): t.get_text() for t in ax.texts if t.get_text()}
    assert boxes == {
        (0, 0): "Addmm", (0, 1.2): "0.bias\n2", (0, -1.2): "0.weight\n2 × 3",
        (1, 0): "Relu",
        (2, 0): "Addmm", (2, 1.2): "2.bias\n4", (2, -1.2): "2.weight\n4 × 2",
        (3, 0): "Log\nSoftmax", (4, 0): "Nll\nLoss", (5, 0): f"loss\n{loss.item():.3f}",
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
    left, right = dataset.close_up(picture, range(1, 3), range(2, 5)).axes
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
    _, right = dataset.close_up(torch.tensor([[127, 128]]), range(1), range(2)).axes
    assert [text.get_color() for text in right.texts] == ["black", "white"]


def test_the_start_of_a_file_is_a_box_per_byte_with_the_meaning_of_each_field():
    figure = dataset.file_start(b"\x07\x00\xff!", [(1, "type"), (2, "length")], "one …")
    (ax,) = figure.axes
    assert words(ax) == ["7", "type", "0", "255", "length", "one …", "header"]
    assert [left for left, *_ in boxes(ax)] == [0, 1, 2, 3.1]
    edges = [box.get_edgecolor() for box in ax.patches[:3]]
    assert edges == [to_rgba(BLUE), to_rgba(ORANGE), to_rgba(ORANGE)]


def test_a_split_is_drawn_to_scale_with_its_sizes_and_what_stays_apart():
    (ax,) = dataset.split({"a": range(300, 1200), "b": range(5, 305)}, {"c": 500}).axes
    assert words(ax) == ["training files\n1,200", "c\n500", "a\n900", "b\n300"]
    assert boxes(ax) == [(0, 2.1, 1200, 0.8), (1300, 2.1, 500, 0.8), (0, 0, 900, 0.8),
                         (900, 0, 300, 0.8)]  # fmt: skip
    (marks,) = ax.collections
    assert [mark[0][0] for mark in marks.get_segments()] == [5, 105, 205]


@pytest.mark.parametrize(
    ("sizes", "counts", "dots"),
    [([784, 64, 64, 10], [50_240, 4_160, 650], [8, 8, 8, 10]), ([3, 2], [8], [3, 2])],
)
def test_a_network_is_drawn_with_its_sizes_and_its_parameters(sizes, counts, dots):
    picture = torch.rand(5, 5)
    first, chain, bar = networks.network(sizes, picture).axes
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
    across, up = networks.regions(points, right, nets).axes
    assert [across.get_title(), up.get_title()] == ["right", "above"]
    for ax, picture in ((across, "columns"), (up, "rows")):
        answers = np.asarray(ax.images[0].get_array())
        answers = answers if picture == "columns" else answers.T
        assert not answers[:, :100].any() and answers[:, 101:].all()
        assert ax.images[0].origin == "lower"
        assert ax.images[0].get_extent() == pytest.approx([-2.2, 2.2, -2.2, 2.2])
        drawn = {line.get_label(): line.get_xydata().tolist() for line in ax.lines}
        assert drawn == {"class 0": [[-1, 0]], "class 1": [[1, 0], [0, 2]]}


def test_the_training_steps_stand_in_order_and_each_store_is_written_by_its_step():
    (ax,) = loop.training_steps().axes
    boxes = {text.get_text(): text for text in ax.texts if text.get_bbox_patch()}
    steps = ["1. forward\npass", "2. objective", "3. clear", "4. backward", "5. step"]
    stores = ["logits", "J", "gradients", "weights"]
    assert list(boxes) == [*steps, *stores, "read for the next batch"]
    words = ["writes", "writes", "empties", "adds to", "changes"]
    assert [t.get_text() for t in ax.texts if t.get_text() in words] == words
    places = [boxes[name].get_position()[0] for name in steps]
    assert places == sorted(places) and len(set(places)) == 5
    heads = [note.xy for note in ax.texts if getattr(note, "arrow_patch", None)]
    written = [x for x, y in heads if y < 0.5]  # arrows that end above a store
    near = [min(stores, key=lambda s: abs(boxes[s].get_position()[0] - x)) for x in written]
    assert near == ["logits", "J", "gradients", "gradients", "weights"]
    read = [x for x, y in heads if y > 0.5]  # arrows that end below a step
    near = [min(steps, key=lambda s: abs(boxes[s].get_position()[0] - x))[0] for x in read]
    assert near == ["2", "4", "5", "4", "1"]


def test_cells_that_the_page_does_not_show_are_dashed():
    (ax,) = diagrams.cell_runs({"a": [("15", True), ("19", False)], "b": [("20", True)]}).axes
    boxes = {text.get_text(): text.get_bbox_patch() for text in ax.texts if text.get_bbox_patch()}
    assert {name: box.get_linestyle() for name, box in boxes.items()} == {
        "15": "-", "19": "--", "20": "-",
    }  # fmt: skip
    assert boxes["15"].get_edgecolor() == to_rgba(BLUE)
    assert boxes["19"].get_edgecolor() == to_rgba(ORANGE)
    labels = [t.get_text() for t in ax.texts if t.get_text() and not t.get_bbox_patch()]
    assert labels == ["a", "b"]


def test_each_cell_of_a_row_leads_to_the_place_that_opens_it_up():
    (ax,) = diagrams.opened_up(
        [("data", "04", True), ("lost", "07", False), ("end", "", True)]
    ).axes
    boxes = {text.get_text(): text.get_bbox_patch() for text in ax.texts if text.get_bbox_patch()}
    assert {name: box.get_linestyle() for name, box in boxes.items()} == {
        "data": "-", "lost": "--", "end": "-",
    }  # fmt: skip
    places = {text.get_text(): text for text in ax.texts if text.get_text() in ("04", "07")}
    cells = {text.get_text(): text for text in ax.texts if text.get_bbox_patch()}
    for cell, place in (("data", "04"), ("lost", "07")):
        assert places[place].get_position()[0] == cells[cell].get_position()[0]
        assert places[place].get_position()[1] < cells[cell].get_position()[1]
    assert len([text for text in ax.texts if isinstance(text, Annotation)]) == 2  # arrows
