"""Draw networks: their layers, and how they divide the plane."""

from collections.abc import Callable, Sequence
from itertools import pairwise, product

import torch
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from torch import Tensor

from mnist_nb.figures import BLUE, GREEN, ORANGE, RED, SKY


def network(sizes: Sequence[int], picture: Tensor) -> Figure:
    """Draw a chain of up to three linear layers, and how many parameters each of them has.

    sizes: how many numbers the input, each hidden layer and the output have; of more than
    ten, eight are drawn. picture: the input, h x w, from 0 (white) to 1.
    """
    figure = Figure(figsize=(7, 4.8), layout="constrained")
    panels = figure.subplot_mosaic(
        [["input", "chain"], ["bar", "bar"]], width_ratios=[1, 5], height_ratios=[9, 2]
    )
    panels["input"].imshow(picture, cmap="gray_r", vmin=0, vmax=1)
    chain, bar = panels["chain"], panels["bar"]
    counts = [a * b + b for a, b in pairwise(sizes)]
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
        colour, part = (BLUE, ORANGE, GREEN)[x], f"{counts[x]:,} ({counts[x] / sum(counts):.0%})"
        for ends in product(heights[x], heights[x + 1]):
            chain.plot([x, x + 1], ends, color=colour, linewidth=0.4, zorder=1)
        chain.text(x + 0.5, -10.5, f"{a} × {b} + {b}\n= {part}", ha="center", va="top",
                   fontsize=12)  # fmt: skip
        bar.barh(0, counts[x], left=sum(counts[:x]), color=colour, edgecolor="white")
    chain.set_ylim(-15.5, 14.5)
    bar.set_title(f"the {sum(counts):,} parameters, layer by layer")
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
