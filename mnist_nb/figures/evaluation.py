"""Draw how good answers are: against their own confidence, and on two sets of images."""

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from mnist_nb.evaluation import calibration as by_confidence
from mnist_nb.evaluation import wilson_interval
from mnist_nb.figures import ORANGE, intervals, reliability


def calibration(probabilities: Tensor, y: Tensor, bins: int) -> Figure:
    """Plot accuracy against confidence for n answers, in `bins` equal ranges of confidence.

    `probabilities` is n x classes, and `y` holds the n labels. The bars are 95 % intervals.
    """
    rows = by_confidence(probabilities, y, bins)
    confidence, accuracy = ([row[key] for row in rows] for key in ("confidence", "accuracy"))
    right = [(round(row["accuracy"] * row["count"]), row["count"]) for row in rows]
    low, high = zip(*(wilson_interval(*pair) for pair in right), strict=True)
    return reliability(confidence, accuracy, low, high)


def measured_twice(rows: dict[str, tuple], names: tuple[str, str], **labels) -> Figure:
    """Plot fractions measured on two sets: label -> (first, second, low, high).

    `names` are the sets'. Hollow squares mark the first; points the second, with a bar from low to
    high. A label breaks after its comma.
    """
    first, second, low, high = np.array(list(rows.values())).T
    figure = intervals(second, low, high, **labels)
    (ax,) = figure.axes
    ax.containers[0].set_label(names[1])
    x = range(len(rows))
    ax.plot(x, first, "s", color=ORANGE, fillstyle="none", markersize=9, label=names[0])
    ax.set_xticks(x, [label.replace(", ", ",\n") for label in rows])
    ax.margins(x=0.15)  # room for the labels at both ends
    ax.legend(frameon=False)
    return figure
