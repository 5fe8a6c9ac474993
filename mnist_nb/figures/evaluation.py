"""Draw how good answers are, against their own confidence."""

from matplotlib.figure import Figure
from torch import Tensor

from mnist_nb.evaluation import calibration as by_confidence
from mnist_nb.evaluation import wilson_interval
from mnist_nb.figures import reliability


def calibration(probabilities: Tensor, y: Tensor, bins: int) -> Figure:
    """Plot accuracy against confidence for n answers, in `bins` equal ranges of confidence.

    `probabilities` is n x classes, and `y` holds the n labels. The bars are 95% intervals.
    """
    rows = by_confidence(probabilities, y, bins)
    confidence, accuracy = ([row[key] for row in rows] for key in ("confidence", "accuracy"))
    right = [(round(row["accuracy"] * row["count"]), row["count"]) for row in rows]
    low, high = zip(*(wilson_interval(*pair) for pair in right), strict=True)
    return reliability(confidence, accuracy, low, high)
