"""Draw the training loop: its steps, the graph that backward() follows, and what training did."""

import re

from matplotlib.figure import Figure
from torch import Tensor, nn

from mnist_nb.figures import BLUE, GREEN, GREY, ORANGE, RED, curves
from mnist_nb.figures.diagrams import arrow, box, line


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
    # x of what is read, x of the step that reads it, and 1 if the arrow goes right, -1 if left
    read = ((1, 2, 1), (3, 6, 1), (5.5, 8, 1), (8, 6, -1))
    for (name, step), word in zip(changed.items(), words, strict=True):
        to = 0.7 * places[name.strip()][0] + 0.3 * step
        line(ax, [(step, 0.68), (to, 0.24)], GREY, "-")
        side, gap = ("right", -0.1) if "gradients" in name else ("left", 0.15)
        at = 0.08 if word == "empties" else 0.5  # how far down its arrow the word stands
        ax.text(step + at * (to - step) + gap, 0.63 - 0.44 * at, word, fontsize=11, ha=side)
    for store, step, side in read:
        line(ax, [(store + 0.35 * side, 0.24), (step - 0.3 * side, 0.72)], GREY, "--")
    line(ax, [(8, -0.25), (8, -0.7), (-0.6, -0.7), (-0.6, 0.62)], GREY, "--")
    ax.text(4, -0.7, "read for the next batch", fontsize=11, ha="center", va="center",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 2})  # fmt: skip
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
    box(ax, len(chain), 0, f"loss\n{loss.item():.3f}", RED)
    for x, (operation, parameters) in enumerate(reversed(chain)):
        box(ax, x, 0, operation, BLUE)
        arrow(ax, (x + 0.64, 0), (x + 0.37, 0))
        for side, name in zip((1, -1), parameters, strict=False):  # above: bias, below: weight
            box(ax, x, 1.2 * side, name, ORANGE)
            arrow(ax, (x, 0.25 * side), (x, 0.85 * side))
    return figure


def _parameter(node) -> Tensor | None:
    """Return the parameter that `node` leads to, directly or through one operation, or None."""
    for to in (node, *(to for to, _ in node.next_functions)):
        if hasattr(to, "variable"):
            return to.variable if to is node or len(node.next_functions) == 1 else None
    return None


def layers_over_training(panels: dict[str, Tensor], per_epoch: int, window: int = 100) -> Figure:
    """Plot panels side by side: label of the y axis -> steps x 3 numbers, one line per layer.

    A point is the mean of `window` steps, of which an epoch has `per_epoch`.
    """
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    looks = ("first layer", BLUE, "-"), ("second layer", RED, "--"), ("last layer", GREEN, "-.")
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    for ax, (label, values) in zip(grid, panels.items(), strict=True):
        means = values.unfold(0, window, window).mean(dim=2)  # windows x layers
        epochs = [(i + 0.5) * window / per_epoch for i in range(len(means))]
        for row, (name, colour, dashes) in zip(means.T, looks, strict=True):
            ax.plot(epochs, row, color=colour, linestyle=dashes, linewidth=2, label=name)
        ax.set(xlabel=f"epochs (means of {window} steps)", ylabel=label)
        ax.set_ylim(bottom=0)
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(axis="y", color="#dddddd")
    handles, names = grid[0].get_legend_handles_labels()
    figure.legend(handles, names, frameon=False, ncols=3, loc="outside upper center")
    return figure


def losses_by_epoch(losses: dict[str, Tensor], mark: int, top: float) -> Figure:
    """Plot up to four rows of losses: label -> n losses (nats), of the epochs 1 to n.

    The axis ends at a loss of `top`; a dotted line marks epoch `mark`.
    """
    lines = {label: (range(1, len(row) + 1), row) for label, row in losses.items()}
    xlabel = f"epoch (losses above {top:g} are cut off)"
    figure = curves(lines, xlabel=xlabel, ylabel="loss (nats)", ylim=(0, top))
    (ax,) = figure.axes
    ax.axvline(mark, color=GREY, linestyle=":", label=f"epoch {mark}")
    ax.legend(frameon=False)
    return figure
