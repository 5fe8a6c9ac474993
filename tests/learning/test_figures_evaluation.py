"""What the figures of chapter 06 draw, read from their artists."""

import numpy as np
import torch

from mnist_nb.evaluation import wilson_interval
from mnist_nb.figures import evaluation


def test_each_range_of_confidence_is_a_point_with_wilsons_interval():
    probabilities = torch.tensor([[0.6, 0.4], [0.3, 0.7], [0.1, 0.9], [1.0, 0.0]])
    (ax,) = evaluation.calibration(probabilities, torch.tensor([1, 1, 1, 0]), 4).axes
    points, _, (bars,) = ax.containers[0]
    assert np.allclose(points.get_xydata(), [[0.65, 0.5], [0.95, 1.0]])
    ends = [segment[:, 1] for segment in bars.get_segments()]
    assert np.allclose(ends, [wilson_interval(1, 2), wilson_interval(2, 2)])


def test_what_was_measured_twice_has_a_hollow_square_and_a_point_with_its_interval():
    rows = {"a": (0.5, 0.6, 0.55, 0.65), "b, long": (0.8, 0.7, 0.6, 0.75)}
    figure = evaluation.measured_twice(rows, ("then", "now"), ylabel="fraction")
    (ax,) = figure.axes
    points, _, (bars,) = ax.containers[0]
    assert points.get_xydata().tolist() == [[0, 0.6], [1, 0.7]]
    assert np.allclose(bars.get_segments(), [[[0, 0.55], [0, 0.65]], [[1, 0.6], [1, 0.75]]])
    squares = {line.get_label(): line for line in ax.lines}["then"]
    assert squares.get_xydata().tolist() == [[0, 0.5], [1, 0.8]]
    assert (squares.get_marker(), squares.get_fillstyle()) == ("s", "none")
    assert {text.get_text() for text in ax.get_legend().texts} == {"then", "now"}
    assert [text.get_text() for text in ax.get_xticklabels()] == ["a", "b,\nlong"]
    assert ax.get_ylabel() == "fraction"
