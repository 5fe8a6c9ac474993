"""Draw diagrams that explain: the steps of a loss, a valley, the graph of a computation."""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise, product

import torch
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from mnist_nb.figures import BLUE, GREEN, GREY, ORANGE, RED, SKY


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
    _box(ax, len(chain), 0, f"loss\n{loss.item():.2f}", RED)
    for x, (operation, parameters) in enumerate(reversed(chain)):
        _box(ax, x, 0, operation, BLUE)
        _arrow(ax, (x + 0.64, 0), (x + 0.37, 0))
        for side, name in zip((1, -1), parameters, strict=False):  # above: bias, below: weight
            _box(ax, x, 1.2 * side, name, ORANGE)
            _arrow(ax, (x, 0.25 * side), (x, 0.85 * side))
    return figure


def close_up(picture: Tensor, rows: range, columns: range) -> Figure:
    """Draw `picture`, h x w bytes, and beside it the framed `rows` and `columns` with their bytes.

    Byte 0 is white and 255 is black.
    """
    figure = Figure(figsize=(7, 2.7), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.85])
    edges = (columns.start - 0.5, columns.stop - 0.5, rows.stop - 0.5, rows.start - 0.5)
    piece = picture[rows.start : rows.stop, columns.start : columns.stop]
    left.imshow(picture, cmap="gray_r", vmin=0, vmax=255)
    left.add_patch(Rectangle((edges[0], edges[3]), len(columns), len(rows), fill=False,
                             edgecolor=RED, linewidth=2))  # fmt: skip
    right.imshow(piece, cmap="gray_r", vmin=0, vmax=255, extent=edges)
    for row, numbers in zip(rows, piece.tolist(), strict=True):
        for column, number in zip(columns, numbers, strict=True):
            right.text(column, row, number, ha="center", va="center", fontsize=11,
                       color="white" if number > 127 else "black")  # fmt: skip
    right.set(xticks=columns, yticks=rows)
    right.spines[:].set(color=RED, linewidth=2)
    for ax in (left, right):
        ax.tick_params(labelsize=11)
        ax.set_xlabel("column", fontsize=11)
        ax.set_ylabel("row", fontsize=11)
    return figure


def file_start(content: bytes, fields: Sequence[tuple[int, str]], rest: str) -> Figure:
    """Draw the first bytes of a file as boxes, with the meaning of each field under them.

    fields: (number of bytes, meaning), from the first byte on.
    rest: what follows, in one wide box that is open to the right.
    """
    total = sum(size for size, _ in fields)
    figure = Figure(figsize=(7, 1.4), layout="constrained")
    ax = figure.add_subplot(xlim=(-0.1, total + 3.6), ylim=(-1.4, 1.5))
    ax.set_axis_off()
    start = 0
    for place, (size, meaning) in enumerate(fields):
        colour = (BLUE, ORANGE)[place % 2]
        for at in range(start, start + size):
            ax.add_patch(Rectangle((at, 0), 1, 1, facecolor="white", edgecolor=colour))
            ax.text(at + 0.5, 0.5, content[at], ha="center", va="center", fontsize=11)
        ax.plot([start + 0.1, start + size - 0.1], [-0.2, -0.2], color=colour, linewidth=2)
        ax.text(start + size / 2, -0.4, meaning, ha="center", va="top", fontsize=11)
        start += size
    ax.add_patch(Rectangle((total + 0.1, 0), 4, 1, facecolor=SKY, alpha=0.4))
    ax.text(total + 1.85, 0.5, rest, ha="center", va="center", fontsize=11)
    ax.text(0, 1.15, "header", fontsize=11)
    return figure


def split(parts: dict[str, Sequence[int]], apart: dict[str, int]) -> Figure:
    """Draw how one set is split into `parts`, beside sets that stay `apart`.

    parts: name -> positions in the whole set; one in a hundred of the last part's is marked there.
    apart: name -> size. The width of a bar is its size.
    """
    figure = Figure(figsize=(7, 2.7), layout="constrained")
    whole = sum(map(len, parts.values()))
    gap = whole / 12
    ax = figure.add_subplot(xlim=(-gap / 4, whole + sum(apart.values()) + (len(apart) + 1) * gap),
                            ylim=(-0.9, 3))  # fmt: skip
    ax.set_axis_off()

    def bar(left: float, bottom: float, size: int, name: str, colour: str) -> float:
        ax.add_patch(Rectangle((left, bottom), size, 0.8, facecolor=colour, edgecolor="white"))
        ax.text(left + size / 2, bottom - 0.1, f"{name}\n{size:,}", ha="center", va="top",
                fontsize=11)  # fmt: skip
        return left + size

    colours = (BLUE, ORANGE, RED)[: len(parts)]
    right = bar(0, 2.1, whole, "in the training files", colours[0])
    for name, size in apart.items():
        right = bar(right + gap, 2.1, size, name, GREY)
    ax.vlines(list(parts.values())[-1][::100], 2.1, 2.9, color=colours[-1], linewidth=2)
    left = 0
    for (name, positions), colour in zip(parts.items(), colours, strict=True):
        left = bar(left, 0, len(positions), name, colour)
    return figure


def network(sizes: Sequence[int], picture: Tensor) -> Figure:
    """Draw a chain of up to three linear layers, and how many parameters each of them has.

    sizes: how many numbers there are from the input to the output; of more than ten, eight
    are drawn. picture: the input, h x w, from 0 (white) to 1.
    """
    figure = Figure(figsize=(7, 4.8), layout="constrained")
    panels = figure.subplot_mosaic(
        [["input", "chain"], ["bar", "bar"]], width_ratios=[1, 5], height_ratios=[9, 2]
    )
    panels["input"].imshow(picture, cmap="gray_r", vmin=0, vmax=1)
    chain, bar, total = panels["chain"], panels["bar"], 0
    drawn = [range(1 - min(n, 10), min(n, 10), 2) for n in sizes]
    heights = [
        [y for y in ys if n <= 10 or abs(y) > 1] for n, ys in zip(sizes, drawn, strict=True)
    ]
    names = ["pixels", *["hidden"] * (len(sizes) - 2), "scores"]
    for x, (n, name, dots) in enumerate(zip(sizes, names, heights, strict=True)):
        chain.plot(
            [x] * len(dots), dots, "o", color="white", markeredgecolor="black", markersize=10
        )
        chain.text(x, 0, "⋮" if n > 10 else "", ha="center", va="center", fontsize=18)
        chain.text(x, 10.5, f"{n}\n{name}", ha="center", va="bottom")
    for x, (a, b) in enumerate(pairwise(sizes)):
        colour, count = (BLUE, ORANGE, GREEN)[x], a * b + b
        for ends in product(heights[x], heights[x + 1]):
            chain.plot([x, x + 1], ends, color=colour, linewidth=0.4, zorder=1)
        chain.text(x + 0.5, -10.5, f"{a} × {b} + {b}\n= {count:,}", ha="center", va="top",
                   fontsize=12)  # fmt: skip
        bar.barh(0, count, left=total, color=colour, edgecolor="white")
        total += count
    chain.set_ylim(-15.5, 14.5)
    bar.set_title(f"the {total:,} parameters, layer by layer")
    for ax in panels.values():
        ax.set_axis_off()
    return figure


def regions(points: Tensor, labels: Tensor, nets: dict[str, Callable]) -> Figure:
    """Draw, side by side, how each of `nets` divides the plane between two classes.

    points, labels: n x 2 numbers, and n zeros and ones. nets: title -> a function from b x 2
    points to b x 2 scores.
    """
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    reach = 1.1 * points.abs().max().item()
    line = torch.linspace(-reach, reach, 201)
    plane = torch.cartesian_prod(line, line).flip(1)  # row by row, from below
    panels = figure.subplots(1, len(nets), squeeze=False)[0]
    for ax, (title, net) in zip(panels, nets.items(), strict=True):
        with torch.no_grad():
            answers = net(plane).argmax(dim=1).view(201, 201)
        ax.imshow(answers, cmap=ListedColormap([SKY, ORANGE]), vmin=0, vmax=1, alpha=0.4,
                  origin="lower", extent=(-reach, reach) * 2)  # fmt: skip
        for label, colour, marker in ((0, BLUE, "o"), (1, RED, "s")):
            ax.plot(*points[labels == label].T, marker, color=colour, markersize=4,
                    label=f"class {label}")  # fmt: skip
        ax.set_title(title)
        ax.set_xlabel("$x_1$")
        ax.set_ylabel("$x_2$")
    handles = panels[0].get_legend_handles_labels()
    figure.legend(*handles, frameon=False, ncols=2, loc="outside lower center")
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


def _line(ax, corners: list[tuple], colour: str, dashes: str) -> None:
    """Draw a line through `corners`, each (x, y), with an arrowhead at its end."""
    ax.plot(*zip(*corners[:-1], strict=True), color=colour, linewidth=1.5, linestyle=dashes)
    ax.annotate("", corners[-1], corners[-2], arrowprops={
        "arrowstyle": "->", "color": colour, "linewidth": 1.5, "linestyle": dashes})  # fmt: skip
