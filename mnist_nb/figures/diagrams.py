"""Draw diagrams of boxes and arrows: from scores to a loss, the order in which cells ran."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from torch import Tensor

from mnist_nb.figures import BLUE, GREY, ORANGE


def loss_steps(logits: Tensor, y: Tensor) -> Figure:
    """Draw how the scores of n images, n x k, and the n right classes `y` become one loss.

    From left to right: scores, softmax, the right class's probability, -ln of it, the mean.
    """
    n, k = logits.shape
    figure = Figure(figsize=(7, 0.9 + 0.5 * n * (k + 0.6)), layout="constrained")
    ax = figure.add_subplot(xlim=(-1.6, 10.5), ylim=(n * (k + 0.6) - 1, -1.5))
    ax.set_axis_off()
    probabilities = logits.softmax(dim=1)
    losses = -probabilities[range(n), y].log()
    steps = {0.5: "scores", 3: "softmax", 5.5: "pick", 7.7: "−ln", 9.8: "mean"}
    for x, step in steps.items():
        ax.text(x, -1, step, ha="center", fontsize=13, fontweight="bold")
    ax.text(-0.7, -1, "class", ha="center", fontsize=11, color=GREY)
    middle = (n * (k + 0.6) - 1.6) / 2
    for i in range(n):
        top = i * (k + 0.6)
        right = top + y[i].item()
        ax.text(-1.5, top + (k - 1) / 2, f"image {i + 1}", va="center", rotation=90, fontsize=12)
        for c in range(k):
            colour = ORANGE if c == y[i] else GREY
            ax.text(-0.7, top + c, f"{c}", ha="center", va="center", fontsize=11, color=GREY)
            box(ax, 0.5, top + c, f"{logits[i, c]:.1f}".replace("-", "−"), colour)
            box(ax, 3, top + c, f"{probabilities[i, c]:.3f}", colour)
        for x, tip in ((1.2, 1.1), (2.15, 2.25)):  # brackets, as softmax needs all k scores
            ax.plot([tip, x, x, tip], [top - 0.3] * 2 + [top + k - 0.7] * 2, color=GREY)
        arrow(ax, (1.3, top + (k - 1) / 2), (2.05, top + (k - 1) / 2))
        box(ax, 5.5, right, f"{probabilities[i, y[i]]:.3f}", ORANGE)
        box(ax, 7.7, right, f"{losses[i]:.2f}", BLUE)
        arrow(ax, (3.8, right), (4.7, right))
        arrow(ax, (6.3, right), (6.9, right))
        arrow(ax, (8.2, right), (9.1, middle))
    box(ax, 9.8, middle, f"{losses.mean():.2f}", BLUE)
    return figure


def cell_runs(stories: dict[str, Sequence[tuple[str, bool]]]) -> Figure:
    """Draw the order in which cells ran, one row per story: label -> (text, seen) for each run.

    Runs that the published page shows (`seen`) are solid boxes; those it does not show are dashed.
    """
    figure = Figure(figsize=(7, 1.55 * len(stories)), layout="constrained")
    ax = figure.add_subplot(xlim=(-0.6, max(map(len, stories.values())) - 0.4),
                            ylim=(1.6 * len(stories) - 0.65, -1.1))  # fmt: skip
    ax.set_axis_off()
    for row, (label, runs) in enumerate(stories.items()):
        ax.text(-0.45, 1.6 * row - 0.75, label, fontsize=12, fontweight="bold", va="center")
        for x, (text, seen) in enumerate(runs):
            box(ax, x, 1.6 * row + 0.1, text, BLUE if seen else ORANGE)
            ax.texts[-1].get_bbox_patch().set_linestyle("-" if seen else "--")
            if x:
                arrow(ax, (x - 0.56, 1.6 * row + 0.1), (x - 0.44, 1.6 * row + 0.1))
    return figure


def box(ax, x: float, y: float, text: str, colour: str) -> None:
    """Write `text` into a box with its middle at `x`, `y` and an edge of `colour`."""
    ax.text(x, y, text, ha="center", va="center", fontsize=11,
            bbox={"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": colour,
                  "linewidth": 1 if colour == GREY else 2})  # fmt: skip


def arrow(ax, start: tuple, end: tuple) -> None:
    """Draw an arrow from `start` to `end`, both (x, y)."""
    ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": GREY, "linewidth": 1.5})


def line(ax, corners: list[tuple], colour: str, dashes: str) -> None:
    """Draw a line through `corners`, each (x, y), with an arrowhead at its end."""
    ax.plot(*zip(*corners[:-1], strict=True), color=colour, linewidth=1.5, linestyle=dashes)
    ax.annotate("", corners[-1], corners[-2], arrowprops={
        "arrowstyle": "->", "color": colour, "linewidth": 1.5, "linestyle": dashes})  # fmt: skip


def opened_up(cells: Sequence[tuple[str, str, bool]]) -> Figure:
    """Draw `cells` in a row, each (text, its chapter or "", whether the page shows the cell).

    An arrow leads from a cell down to the chapter that explains it. A cell that the published page
    does not show is dashed.
    """
    figure = Figure(figsize=(7, 2.1), layout="constrained")
    ax = figure.add_subplot(xlim=(-0.5, len(cells) - 0.5), ylim=(-1.35, 0.5))
    ax.set_axis_off()
    for x, (cell, place, shown) in enumerate(cells):
        box(ax, x, 0, cell, BLUE if shown else ORANGE)
        ax.texts[-1].get_bbox_patch().set_linestyle("-" if shown else "--")
        if place:
            arrow(ax, (x, -0.38), (x, -0.85))
            ax.text(x, -1.1, place, ha="center", va="center", fontsize=12, fontweight="bold")
    return figure
