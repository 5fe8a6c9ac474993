"""Draw figures from numbers, in colours that colour-blind readers can tell apart.

Most functions return a Matplotlib figure; `show` displays one with its alt text.
"""

import math
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from torch import Tensor

from mnist_nb.figures.showing import show as show

# Okabe and Ito's palette, without its black and yellow
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")  # fmt: skip
GREY = "#595959"

matplotlib.rc("font", size=12)  # readable at the back of a room


def axes(width: float = 7, height: float = 4, **labels: str) -> tuple[Figure, object]:
    """Return a figure of `width` x `height` inches and its axes, with `labels` set on them."""
    figure = Figure(figsize=(width, height), layout="constrained")
    ax = figure.add_subplot()
    ax.set(**labels)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color="#dddddd")
    return figure, ax


def losses(history: list[dict], published: dict[str, list[float]] | None = None) -> Figure:
    """Plot training and validation loss per epoch, with `published` losses as dashed lines.

    Each row of `history` has epoch, train_loss and val_loss; `published` lists the last two.
    The axis of the losses is logarithmic. A dotted line marks ln 10, the loss of guessing.
    """
    figure, ax = axes(xlabel="epoch", ylabel="cross-entropy loss (nats)", yscale="log")
    epochs = [row["epoch"] for row in history]
    kinds = ("train_loss", "training", BLUE, "o"), ("val_loss", "validation", RED, "s")
    for key, label, colour, marker in kinds:
        look = {"color": colour, "marker": marker}
        ours = f"{label}, this run" if published else label
        ax.plot(epochs, [row[key] for row in history], label=ours, **look)
        if published:
            past = published[key]
            ax.plot(range(1, len(past) + 1), past, linestyle="--", markerfacecolor="white",
                    label=f"{label}, as published", **look)  # fmt: skip
    ax.axhline(math.log(10), color=GREY, linestyle=":", label="guessing: ln 10")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    plain_ticks(ax.yaxis)
    ax.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1))
    return figure


def plain_ticks(axis) -> None:
    """Mark a logarithmic axis at 1, 2 and 5 times the powers of ten, as plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def images(
    pictures: Tensor,
    titles: Sequence[str] = (),
    columns: int = 8,
    rows: Sequence[str] = (),
    limit: float | None = None,
) -> Figure:
    """Draw `pictures`, n x 28 x 28, in a grid, with `titles` above them and `rows` as row labels.

    Draw 0 in white and 1 in black; with a `limit`, -limit in blue, 0 in white, limit in red.
    """
    height = -(-len(pictures) // columns)
    figure = Figure(figsize=(7, 7 / columns * 1.25 * height), layout="constrained")
    grid = figure.subplots(height, columns, squeeze=False)
    cmap, low, high = ("RdBu_r", -limit, limit) if limit else ("gray_r", 0, 1)
    for ax in grid.flat:
        ax.set(xticks=[], yticks=[], frame_on=bool(limit))
    for ax, picture in zip(grid.flat, pictures, strict=False):
        drawn = ax.imshow(picture, cmap=cmap, vmin=low, vmax=high)
    for ax, title in zip(grid.flat, titles, strict=False):
        ax.set_title(title, fontsize=11)
    for ax, row in zip(grid[:, 0], rows, strict=False):
        ax.set_ylabel(row, fontsize=11)
    if limit:
        figure.colorbar(drawn, ax=grid, label="weight")
    return figure


def answer(picture: Tensor, probabilities: Tensor, names: Sequence[str] = ()) -> Figure:
    """Draw `picture`, h x w from 0 to 1, beside the k `probabilities` of its classes (`names`)."""
    figure = Figure(figsize=(7, 2.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, 2])
    left.imshow(picture, cmap="gray_r", vmin=0, vmax=1)
    left.set_axis_off()
    places = range(len(probabilities))
    right.bar(places, probabilities, color=BLUE)
    right.set_xticks(places, names or places)
    right.set(ylim=(0, 1), xlabel="answer", ylabel="probability")
    right.spines[["top", "right"]].set_visible(False)
    return figure


def curves(lines: dict[str, tuple], **labels) -> Figure:
    """Plot up to four lines: label -> (x, y), n numbers each; `labels` go to the axes.

    Lines with up to 12 points have markers. More than four lines raise a ValueError.
    """
    figure, ax = axes(**labels)
    looks = [(BLUE, "o", "-"), (RED, "s", "--"), (GREEN, "^", "-."), (PURPLE, "D", ":")]
    looks = looks[: len(lines)]
    for (label, (x, y)), (colour, marker, dashes) in zip(lines.items(), looks, strict=True):
        ax.plot(x, y, color=colour, linestyle=dashes, linewidth=2, label=label,
                marker=marker if len(x) <= 12 else "")  # fmt: skip
    if len(lines) > 1:
        ax.legend(frameon=False)
    return figure


def batch_losses(losses: dict[str, Tensor], window: int = 50, dots: bool = False) -> Figure:
    """Plot the loss per batch: label -> n losses, as means over `window` consecutive batches.

    With `dots`, also plot the loss of each batch. A dotted line marks ln 10, the loss of guessing.
    """
    lines = {}
    for label, values in losses.items():
        means = values.unfold(0, window, 1).mean(dim=1)
        middles = range(window // 2, window // 2 + len(means))
        lines[f"{label}, mean of {window}"] = (middles, means)
    figure = curves(lines, xlabel="batch", ylabel="cross-entropy loss (nats)")
    (ax,) = figure.axes
    for values in losses.values() if dots else ():
        ax.plot(values, ".", color=SKY, markersize=3, zorder=1, label="one batch")
    ax.axhline(math.log(10), color=GREY, linestyle=":", label="guessing: ln 10")
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False)
    return figure


def bars(groups: dict[str, Sequence[float]], **labels) -> Figure:
    """Plot up to three groups of bars: label -> n heights, at the whole numbers from 0."""
    figure, ax = axes(**labels)
    width = 0.8 / len(groups)
    for place, (label, heights) in enumerate(groups.items()):
        x = [i + (place - (len(groups) - 1) / 2) * width for i in range(len(heights))]
        ax.bar(x, heights, width, label=label, color=(BLUE, ORANGE, GREEN)[place], zorder=2)
    ax.set_xticks(range(len(heights)))
    ax.margins(y=0.15)  # room for the legend
    ax.legend(frameon=False, ncols=len(groups), loc="upper center")
    return figure


def intervals(shares, low, high, line: float | None = None, **labels) -> Figure:
    """Plot n `shares`, numbered from 0, with bars from `low` to `high`, and a dotted `line`."""
    figure, ax = axes(**labels)
    x, reach = range(len(shares)), [shares - low, high - shares]
    ax.errorbar(x, shares, reach, fmt="o", color=BLUE, capsize=5, linewidth=2)
    if line is not None:
        ax.axhline(line, color=GREY, linestyle=":")
    ax.set_xticks(x)
    return figure


def confusion(shares: Tensor) -> Figure:
    """Draw a confusion matrix of n x n `shares` (0 to 1); print percentages of 0.5 or more."""
    figure, ax = axes(6, 5.5, xlabel="answer given", ylabel="right answer")
    ax.imshow(shares.sqrt(), cmap="Blues", vmin=0, vmax=1)  # the root makes small shares visible
    ax.grid(visible=False)
    ax.set(xticks=range(len(shares)), yticks=range(len(shares)))
    for row, column in (shares >= 0.005).nonzero().tolist():
        share = shares[row, column].item()
        ax.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=11,
                color="white" if share > 0.4 else "black")  # fmt: skip
    return figure


def bands(groups: dict[str, np.ndarray], points: dict[str, tuple], **labels) -> Figure:
    """Plot the spread of runs as bands, and single `points` over them.

    groups: label -> runs x n numbers, drawn at 1 to n as mean ± two standard deviations.
    points: label -> (x, y). More than three groups or labels of points raise a ValueError.
    """
    figure, ax = axes(**labels)
    looks = [(BLUE, "o"), (RED, "s"), (GREEN, "D")]
    for (label, runs), (colour, _) in zip(groups.items(), looks[: len(groups)], strict=True):
        x = range(1, runs.shape[1] + 1)
        band(ax, x, runs, colour)
        ax.plot(x, runs.mean(0), color=colour, label=label)
    looks = looks[: len(points)]
    for (label, (x, y)), (colour, marker) in zip(points.items(), looks, strict=True):
        ax.plot(x, y, marker, color=colour, markeredgecolor="black", markersize=8, label=label)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(frameon=False)
    return figure


def spreads(lines: dict[str, tuple], **labels) -> Figure:
    """Plot up to four lines with bands: label -> (n values of x, runs x n numbers).

    A line is the mean over the runs, and its band reaches from the lowest to the highest.
    A nan leaves a gap. More than four lines raise a ValueError.
    """
    figure = curves({label: (x, runs.mean(0)) for label, (x, runs) in lines.items()}, **labels)
    (ax,) = figure.axes
    for line, (x, runs) in zip(list(ax.lines), lines.values(), strict=True):
        look = {"color": line.get_color(), "alpha": 0.25, "linewidth": 0}
        ax.fill_between(x, runs.min(0), runs.max(0), **look)
    return figure


def reliability(confidence, accuracy, low, high) -> Figure:
    """Plot the `accuracy` of n ranges of confidence against their mean `confidence`.

    All are n numbers from 0 to 1; bars reach from `low` to `high`. A dotted diagonal marks
    perfect calibration.
    """
    labels = {"xlabel": "mean confidence", "ylabel": "fraction right"}
    figure, ax = axes(**labels, xlim=(0, 1), ylim=(0, 1.03))
    ax.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="perfectly calibrated")
    reach = np.array([np.subtract(accuracy, low), np.subtract(high, accuracy)])
    reach = reach.clip(0)  # rounding can take an end past the point, by 1e-16
    ax.errorbar(confidence, accuracy, reach, fmt="o", color=BLUE, capsize=3, linewidth=1.5,
                markersize=5, label="this network")  # fmt: skip
    ax.legend(frameon=False, loc="lower right")
    return figure


def band(ax, x: Sequence[float], runs: np.ndarray, colour: str) -> None:
    """Fill the band of mean ± two standard deviations over `runs`, runs x n numbers."""
    mean, spread = runs.mean(0), 2 * runs.std(0, ddof=1)
    ax.fill_between(x, mean - spread, mean + spread, color=colour, alpha=0.25, linewidth=0)
