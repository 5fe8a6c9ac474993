"""Draw what follows from the probability of the right class: the loss, the push on each score."""

import math
from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from mnist_nb.figures import BLUE, GREY, bars, curves


def measures(marks: Sequence[float]) -> Figure:
    """Plot -ln p (in nats) and 1 - p for p from 0.005 to 1; write -ln p at the `marks`."""
    p = torch.linspace(0.005, 1, 200)
    lines = {"loss: −ln p (nats)": (p, -p.log()), "1 − p": (p, 1 - p)}
    figure = curves(lines, xlabel="probability p of the right class", ylabel="how wrong")
    (ax,) = figure.axes
    for mark in marks:
        loss = -math.log(mark)
        ax.plot(mark, loss, "o", color=BLUE)
        ax.text(min(mark + 0.02, 0.85), loss + 0.25, f"{loss:.2f} at {mark}")
    return figure


def pushes(push: Tensor, y: Tensor) -> Figure:
    """Plot the `push` on the k scores of up to three images, and mark their right classes `y`.

    `push` is the negative gradient of the loss with respect to the scores, n x k.
    """
    groups = {f"image {i + 1}": row for i, row in enumerate(push)}
    figure = bars(groups, xlabel="class", ylabel="push on the score")
    (ax,) = figure.axes
    ax.axhline(0, color=GREY, linewidth=1)
    ax.set_ylim(1.3 * push.min(), 1.9 * push.max())  # room for the labels and the legend
    for drawn, right in zip(ax.containers, y, strict=True):
        values = [f"{bar.get_height():.2f}".replace("-", "−") for bar in drawn]
        values[right] = f"right class\n{values[right]}"
        ax.bar_label(drawn, values, padding=2)
    return figure


def loss_by_probability(p: Tensor) -> Figure:
    """Plot how many images have the right digit's probability `p` (n numbers) in each tenth.

    Beside each count stands what these images add to the total loss; both are in percent.
    """
    tenth = (p * 10).long().clamp(max=9)
    images = torch.bincount(tenth, minlength=10) / len(p)
    loss = torch.bincount(tenth, weights=-p.log(), minlength=10) / -p.log().sum()
    groups = {"of the images": 100 * images, "of the total loss": 100 * loss}
    figure = bars(groups, xlabel="probability of the right digit", ylabel="percent")
    (ax,) = figure.axes
    ax.set_xticks(range(10), [f"{k / 10}\nto {(k + 1) / 10}" for k in range(10)])
    for drawn in ax.containers:
        ax.bar_label(drawn, fmt="%.0f", fontsize=11)
    return figure
