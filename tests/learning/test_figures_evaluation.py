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
