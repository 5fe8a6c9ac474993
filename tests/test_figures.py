"""What the figures draw: nbval never looks at a picture, so these do."""

import math

import numpy as np
import pytest
import torch

from mnist_nb import figures


def lines(figure) -> dict:
    return {line.get_label(): line.get_xydata().tolist() for line in figure.axes[0].lines}


def test_losses_are_drawn_with_the_published_ones_beside_them():
    rows = [
        {"epoch": 1, "train_loss": 1.0, "val_loss": 0.5},
        {"epoch": 2, "train_loss": 0.4, "val_loss": 0.375},
    ]
    assert lines(figures.losses(rows, {"train_loss": [0.23], "val_loss": [0.25]})) == {
        "training": [[1, 1.0], [2, 0.4]],
        "training, as published": [[1, 0.23]],
        "validation": [[1, 0.5], [2, 0.375]],
        "validation, as published": [[1, 0.25]],
    }


def test_curves_have_their_points_their_names_and_their_axes():
    figure = figures.curves({"a": ([1, 2], [3, 4]), "b": ([1], [0.5])}, xlabel="x", ylabel="y")
    assert lines(figure) == {"a": [[1, 3], [2, 4]], "b": [[1, 0.5]]}
    ax = figure.axes[0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x", "y")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]


def test_a_histogram_counts():
    figure = figures.histogram(np.array([0.05, 0.07, 0.95]), bins=10)
    assert [patch.get_height() for patch in figure.axes[0].patches] == [2] + [0] * 8 + [1]


def test_batch_losses_are_means_of_a_window_placed_at_its_middle():
    losses = torch.arange(6.0)
    drawn = lines(figures.batch_losses({"run": losses}, window=4, dots=True))
    assert drawn["run, mean of 4"] == [[2, 1.5], [3, 2.5], [4, 3.5]]
    assert [y for _, y in drawn["one batch"]] == losses.tolist()
    assert drawn["guessing: ln 10"][0][1] == math.log(10)


def test_bars_stand_side_by_side_at_their_numbers():
    figure = figures.bars({"a": [1, 2], "b": [3, 4]})
    patches = figure.axes[0].patches
    assert [p.get_height() for p in patches] == [1, 2, 3, 4]
    assert [round(p.get_x() + p.get_width() / 2, 9) for p in patches] == [-0.2, 0.8, 0.2, 1.2]


def test_intervals_reach_from_low_to_high():
    figure = figures.intervals(*np.array([[0.5, 0.6], [0.4, 0.55], [0.7, 0.65]]), line=0.5)
    (segments,) = [c.get_segments() for c in figure.axes[0].collections]
    assert [s.tolist() for s in segments] == [
        pytest.approx(np.array([[0, 0.4], [0, 0.7]])),
        pytest.approx(np.array([[1, 0.55], [1, 0.65]])),
    ]


def test_the_confusion_matrix_is_drawn_with_the_truth_in_rows_in_percent():
    shares = torch.tensor([[0.9, 0.1], [0.004, 0.996]])
    ax = figures.confusion(shares).axes[0]
    texts = {tuple(map(int, t.get_position())): t.get_text() for t in ax.texts}
    assert texts == {(0, 0): "90", (1, 0): "10", (1, 1): "100"}  # (column, row)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("answer given", "right answer")
    assert np.allclose(ax.images[0].get_array(), shares.sqrt())


def test_bands_are_mean_and_two_standard_deviations_with_points_on_them():
    runs = np.array([[1.0, 2.0], [3.0, 2.0]])
    figure = figures.bands({"a": runs}, {"seen": ([1], [2.5])})
    assert lines(figure) == {"a": [[1, 2], [2, 2]], "seen": [[1, 2.5]]}
    (band,) = figure.axes[0].collections
    edges = {tuple(np.round(v, 3)) for v in band.get_paths()[0].vertices.tolist()}
    assert edges == {(1, -0.828), (1, 4.828), (2, 2)}  # 2 ± 2 * sqrt(2), and no spread


def test_images_are_drawn_in_order_with_their_titles():
    pictures = torch.rand(3, 28, 28)
    grid = figures.images(pictures, titles=["a", "b", "c"], columns=2).axes
    assert [ax.get_title() for ax in grid[:3]] == ["a", "b", "c"]
    for ax, picture in zip(grid[:3], pictures, strict=True):
        assert np.array_equal(ax.images[0].get_array(), picture)
        assert ax.images[0].get_cmap().name == "gray_r"
    assert not grid[3].images


def test_a_figure_is_the_same_bytes_each_time_and_carries_its_alt_text(monkeypatch):
    import IPython.display

    shown = []
    monkeypatch.setattr(
        IPython.display, "display", lambda data, **more: shown.append((data, more))
    )
    for _ in range(2):
        figures.show(figures.curves({"a": ([1, 2], [3, 4])}), alt="It rises from 3 to 4.")
    (first, more), (second, _) = shown
    assert first == second and b"Software" not in first["image/png"]
    assert first["text/plain"] == more["metadata"]["image/png"]["alt"] == "It rises from 3 to 4."
