"""Draw published numbers beside those of many runs, to see whether any run comes close."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from mnist_nb.figures import BLUE, RED, axes, band


def cloud(pairs: np.ndarray, point: Sequence[float], distance: float, **labels) -> Figure:
    """Plot `pairs` of numbers, runs x 2, as dots and a published `point` as a square.

    On the ellipse, the Mahalanobis distance D from the mean of the pairs is `distance`.
    """
    turn = np.linspace(0, 2 * np.pi, 100)
    circle = distance * np.array([np.cos(turn), np.sin(turn)])
    ellipse = pairs.mean(0)[:, None] + np.linalg.cholesky(np.cov(pairs.T)) @ circle
    figure, ax = axes(**labels)
    ax.plot(*pairs.T, "o", color=BLUE, markersize=4, label=f"{len(pairs)} runs")
    ax.plot(*ellipse, color=BLUE, label=f"D = {distance:g}")
    ax.plot(*point, "s", color=RED, markersize=8, label="published")
    ax.legend(frameon=False)
    return figure


def fits(histories: dict[str, tuple], losses: Sequence[float]) -> Figure:
    """Compare 2n printed `losses` with the spread of many runs, one column of panels per history.

    histories: title -> (number of the first epoch, runs x 2n losses). The first n of 2n numbers
    are training losses, in the upper panels; the last n are validation losses, in the lower ones.
    Losses more than two standard deviations from the mean are drawn hollow.
    """
    figure = Figure(figsize=(7, 5.4), layout="constrained")
    grid = figure.subplots(2, len(histories), sharex="col", sharey="row", squeeze=False)
    for column, (title, (first, runs)) in zip(grid.T, histories.items(), strict=True):
        halves = np.split(runs, 2, axis=1), np.split(np.asarray(losses), 2)
        for ax, some, printed in zip(column, *halves, strict=True):
            x = np.arange(first, first + len(printed))
            ax.plot(x, some.mean(0), color=BLUE, label=f"mean of {len(runs)} runs")
            band(ax, x, some, BLUE)
            ax.collections[-1].set_label("± 2 standard deviations")
            near = abs(printed - some.mean(0)) < 2 * some.std(0, ddof=1)
            for which, fill, label in ((near, RED, "inside"), (~near, "white", "outside")):
                ax.plot(x[which], printed[which], "o", color=RED, markerfacecolor=fill,
                        markersize=5, label=f"published, {label}")  # fmt: skip
            ax.spines[["top", "right"]].set_visible(False)
            ax.grid(axis="y", color="#dddddd")
            ax.set_xticks(x)
        column[0].set_title(title, fontsize=12)
        column[1].set_xlabel("epochs since the weights were new")
    for ax, kind in zip(grid[:, 0], ("training", "validation"), strict=True):
        ax.set_ylabel(f"{kind} loss (nats)")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center",
                  ncols=2, frameon=False)  # fmt: skip
    return figure
