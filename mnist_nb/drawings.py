"""Draw diagrams that explain: steps in their order, a valley, a graph, fits to printed losses."""

import re
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor, nn

from mnist_nb.figures import BLUE, GREY, ORANGE, RED, band


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
            _box(ax, 0.5, top + c, f"{logits[i, c]:.1f}".replace("-", "−"), colour)
            _box(ax, 3, top + c, f"{probabilities[i, c]:.3f}", colour)
        for x, tip in ((1.2, 1.1), (2.15, 2.25)):  # brackets, as softmax needs all k scores
            ax.plot([tip, x, x, tip], [top - 0.3] * 2 + [top + k - 0.7] * 2, color=GREY)
        _arrow(ax, (1.3, top + (k - 1) / 2), (2.05, top + (k - 1) / 2))
        _box(ax, 5.5, right, f"{probabilities[i, y[i]]:.3f}", ORANGE)
        _box(ax, 7.7, right, f"{losses[i]:.2f}", BLUE)
        _arrow(ax, (3.8, right), (4.7, right))
        _arrow(ax, (6.3, right), (6.9, right))
        _arrow(ax, (8.2, right), (9.1, middle))
    _box(ax, 9.8, middle, f"{losses.mean():.2f}", BLUE)
    return figure


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


def graph(loss: Tensor, model: nn.Module) -> Figure:
    """Draw the operations from the parameters of `model` to the scalar `loss`, left to right.

    They are read from `loss.grad_fn`, and the arrows go the way of `loss.backward()`. What
    stands between a parameter and the chain, such as a transposition, is left out.
    """
    names = {id(p): f"{name}\n{' × '.join(map(str, p.shape))}"
             for name, p in model.named_parameters()}  # fmt: skip
    chain, node = [], loss.grad_fn
    while node:
        inputs = [to for to, _ in node.next_functions if to]
        found = {to: _parameter(to) for to in inputs}
        operation = re.sub(r"Backward\d*$|(?<=[a-z])(?=[A-Z])", "\n", node.name()).strip()
        chain.append((operation, [names[id(p)] for p in found.values() if p is not None]))
        node = next((to for to, p in found.items() if p is None), None)
    figure = Figure(figsize=(7, 2.7), layout="constrained")
    ax = figure.add_subplot(xlim=(-0.5, len(chain) + 0.4), ylim=(-1.5, 1.5))
    ax.set_axis_off()
    _box(ax, len(chain), 0, f"loss\n{loss.item():.3f}", RED)
    for x, (operation, parameters) in enumerate(reversed(chain)):
        _box(ax, x, 0, operation, BLUE)
        _arrow(ax, (x + 0.64, 0), (x + 0.37, 0))
        for side, name in zip((1, -1), parameters, strict=False):  # above: bias, below: weight
            _box(ax, x, 1.2 * side, name, ORANGE)
            _arrow(ax, (x, 0.25 * side), (x, 0.85 * side))
    return figure


def training_steps() -> Figure:
    """Draw the training loop's five steps, and what each reads (dashed) and writes (solid)."""
    figure = Figure(figsize=(7, 2.9), layout="constrained")
    ax = figure.add_subplot(xlim=(-1, 9.1), ylim=(-1, 1.5))
    ax.set_axis_off()
    steps = ("1. forward\npass", "2. objective", "3. clear", "4. backward", "5. step")
    places = {step: (2 * i, 1) for i, step in enumerate(steps)}
    places |= {"logits": (1, 0), "J": (3, 0), "gradients": (5.5, 0), "weights": (8, 0)}
    for name, (x, y) in places.items():
        look = {"boxstyle": "round,pad=0.4", "facecolor": "white", "linewidth": 2}
        ax.text(x, y, name, ha="center", va="center", fontsize=12,
                bbox=look | {"edgecolor": BLUE if y else ORANGE})  # fmt: skip
    changed = {"logits": 0, "J": 2, "gradients": 4, "gradients ": 6, "weights": 8}
    words = ("writes", "writes", "empties", "adds to", "changes")
    read = ((1, 2, 1), (3, 6, 1), (5.5, 8, 1), (8, 6, -1))  # places of store and step; direction
    for (name, step), word in zip(changed.items(), words, strict=True):
        to = 0.7 * places[name.strip()][0] + 0.3 * step
        _line(ax, [(step, 0.68), (to, 0.24)], GREY, "-")
        side, gap = ("right", -0.1) if "gradients" in name else ("left", 0.15)
        at = 0.08 if word == "empties" else 0.5  # how far down its arrow the word stands
        ax.text(step + at * (to - step) + gap, 0.63 - 0.44 * at, word, fontsize=11, ha=side)
    for store, step, side in read:
        _line(ax, [(store + 0.35 * side, 0.24), (step - 0.3 * side, 0.72)], GREY, "--")
    _line(ax, [(8, -0.25), (8, -0.7), (-0.6, -0.7), (-0.6, 0.62)], GREY, "--")
    ax.text(4, -0.7, "read for the next batch", fontsize=11, ha="center", va="center",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 2})  # fmt: skip
    return figure


def cell_runs(stories: dict[str, Sequence[tuple[str, bool]]]) -> Figure:
    """Draw the order in which cells ran, one row per story: label -> (text, seen) for each run.

    Runs that the page shows (`seen`) are solid boxes; those it does not show are dashed.
    """
    figure = Figure(figsize=(7, 1.55 * len(stories)), layout="constrained")
    ax = figure.add_subplot(xlim=(-0.6, max(map(len, stories.values())) - 0.4),
                            ylim=(1.6 * len(stories) - 0.65, -1.1))  # fmt: skip
    ax.set_axis_off()
    for row, (label, runs) in enumerate(stories.items()):
        ax.text(-0.45, 1.6 * row - 0.75, label, fontsize=12, fontweight="bold", va="center")
        for x, (text, seen) in enumerate(runs):
            _box(ax, x, 1.6 * row + 0.1, text, BLUE if seen else ORANGE)
            ax.texts[-1].get_bbox_patch().set_linestyle("-" if seen else "--")
            if x:
                _arrow(ax, (x - 0.56, 1.6 * row + 0.1), (x - 0.44, 1.6 * row + 0.1))
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
            band(ax, x, some, 2, BLUE)
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


def _parameter(node) -> Tensor | None:
    """Return the parameter that `node` leads to, directly or through one operation, or None."""
    for to in (node, *(to for to, _ in node.next_functions)):
        if hasattr(to, "variable"):
            return to.variable if to is node or len(node.next_functions) == 1 else None
    return None


def _box(ax, x: float, y: float, text: str, colour: str) -> None:
    """Write `text` into a box with its middle at `x`, `y` and an edge of `colour`."""
    ax.text(x, y, text, ha="center", va="center", fontsize=11,
            bbox={"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": colour,
                  "linewidth": 1 if colour == GREY else 2})  # fmt: skip


def _arrow(ax, start: tuple, end: tuple) -> None:
    """Draw an arrow from `start` to `end`, both (x, y)."""
    ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": GREY, "linewidth": 1.5})


def _line(ax, corners: list[tuple], colour: str, dashes: str) -> None:
    """Draw a line through `corners`, each (x, y), with an arrowhead at its end."""
    ax.plot(*zip(*corners[:-1], strict=True), color=colour, linewidth=1.5, linestyle=dashes)
    ax.annotate("", corners[-1], corners[-2], arrowprops={
        "arrowstyle": "->", "color": colour, "linewidth": 1.5, "linestyle": dashes})  # fmt: skip
