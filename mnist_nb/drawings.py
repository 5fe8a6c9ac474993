"""Draw diagrams: how numbers flow from one step to the next."""

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
            _box(ax, 0.5, top + c, logits[i, c], colour, 1)
            _box(ax, 3, top + c, probabilities[i, c], colour)
        _arrow(ax, (1.3, top + (k - 1) / 2), (2.2, top + (k - 1) / 2))
        _box(ax, 5.5, right, probabilities[i, y[i]], ORANGE)
        _box(ax, 7.7, right, losses[i], BLUE)
        _arrow(ax, (3.8, right), (4.7, right))
        _arrow(ax, (6.3, right), (6.9, right))
        _arrow(ax, (8.5, right), (9.1, middle))
    _box(ax, 9.8, middle, losses.mean(), BLUE)
    return figure


def _box(ax, x: float, y: float, value: Tensor, colour: str, places: int = 2) -> None:
    """Write `value` into a box with its middle at `x`, `y` and an edge of `colour`."""
    ax.text(x, y, f"{value.item():.{places}f}".replace("-", "−"), ha="center", va="center",
            fontsize=12, bbox={"boxstyle": "round", "facecolor": "white", "edgecolor": colour,
                               "linewidth": 1 if colour == GREY else 3})  # fmt: skip


def _arrow(ax, start: tuple, end: tuple) -> None:
    """Draw an arrow from `start` to `end`, both (x, y)."""
    ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": GREY, "linewidth": 1.5})


def training_steps() -> Figure:
    """Draw the training loop's five steps, and what each reads (dashed) and writes (solid)."""
    figure = Figure(figsize=(7, 2.9), layout="constrained")
    ax = figure.add_subplot(xlim=(-1, 9.1), ylim=(-1, 1.5))
    ax.set_axis_off()
    steps = ("1. forward\npass", "2. objective", "3. clear", "4. gradients", "5. step")
    places = {step: (2 * i, 1) for i, step in enumerate(steps)}
    places |= {"logits": (1, 0), "J": (3, 0), "gradients": (5.5, 0), "weights": (8, 0)}
    for name, (x, y) in places.items():
        look = {"boxstyle": "round,pad=0.4", "facecolor": "white", "linewidth": 2}
        ax.text(x, y, name, ha="center", va="center", fontsize=12,
                bbox=look | {"edgecolor": BLUE if y else ORANGE})  # fmt: skip
    changed = {"logits": 0, "J": 2, "gradients": 4, "gradients ": 6, "weights": 8}
    words = ("writes", "writes", "empties", "adds to", "changes")
    read = {1: 2, 3: 6, 5.5: 8}  # where what is read stands: where its step stands
    for (name, step), word in zip(changed.items(), words, strict=True):
        to = places[name.strip()][0]
        to += 0.3 * (step - to)
        _line(ax, [(step, 0.68), (to, 0.24)], GREY, "-")
        side, gap = ("right", -0.1) if name == "gradients" else ("left", 0.15)
        ax.text(step + 0.2 * (to - step) + gap, 0.59, word, fontsize=11, ha=side, va="center")
    for store, step in read.items():
        _line(ax, [(store + 0.35, 0.24), (step - 0.3, 0.72)], GREY, "--")
    _line(ax, [(8, -0.25), (8, -0.7), (-0.6, -0.7), (-0.6, 0.62)], GREY, "--")
    ax.text(4, -0.7, "read for the next batch", fontsize=11, ha="center", va="center",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 2})  # fmt: skip
    return figure


def _line(ax, corners: list[tuple], colour: str, dashes: str) -> None:
    """Draw a line through `corners`, each (x, y), with an arrowhead at its end."""
    ax.plot(*zip(*corners[:-1], strict=True), color=colour, linewidth=1.5, linestyle=dashes)
    ax.annotate("", corners[-1], corners[-2], arrowprops={
        "arrowstyle": "->", "color": colour, "linewidth": 1.5, "linestyle": dashes})  # fmt: skip
