"""Draw the way that gradient descent takes."""

from collections.abc import Callable, Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from mnist_nb.figures import BLUE, GREY, ORANGE, RED


@torch.no_grad()
def surface(loss: Callable[[Tensor], float], across: Tensor, along: Tensor) -> Tensor:
    """Return the `loss` at each place (across, along) of a grid: len(across) x len(along)."""
    return torch.tensor([[loss(torch.stack((b, a))) for a in along] for b in across])


def valley(
    across: Sequence[float], along: Sequence[float], losses: Tensor, paths: dict[str, Tensor]
) -> Figure:
    """Draw up to three walks over a loss surface: label -> n x 2 places (across, along).

    The surface is len(across) x len(along) `losses`, drawn as contours, each at 1.35 times the
    loss of the one inside it. Places beyond its edges are cut off. All walks start together.
    """
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    ax = figure.add_subplot(xlim=(along[0], along[-1]), ylim=(across[0], across[-1]))
    levels = [1.02 * losses.min().item() * 1.35**k for k in range(12)]
    contours = ax.contour(along, across, losses, levels=levels, colors=GREY, linewidths=0.7)
    ax.clabel(contours, levels[1::2], fmt="%.1f", fontsize=11)
    looks = [(BLUE, "o", "-"), (ORANGE, "s", "-"), (RED, "^", "--")][: len(paths)]
    for (label, path), (colour, marker, dashes) in zip(paths.items(), looks, strict=True):
        ax.plot(path[:, 1], path[:, 0], color=colour, linestyle=dashes, marker=marker,
                markersize=4, label=label)  # fmt: skip
    ax.plot(path[0, 1], path[0, 0], "*", color="black", markersize=14, label="start")
    ax.set_xlabel("distance along the valley", fontsize=11)
    ax.set_ylabel("distance across it", fontsize=11)
    figure.legend(frameon=False, ncols=4, loc="outside upper center", fontsize=11)
    return figure
