"""Draw the data: pixels, bytes of a file, a split, and what the order of the images changes."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from mnist_nb.figures import BLUE, GREY, ORANGE, RED, SKY, axes, curves


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

    parts: name -> positions in the whole set. Lines in the bar of the whole set mark every
    hundredth position of the last part.
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
    right = bar(0, 2.1, whole, "training files", colours[0])
    for name, size in apart.items():
        right = bar(right + gap, 2.1, size, name, GREY)
    ax.vlines(list(parts.values())[-1][::100], 2.1, 2.9, color=colours[-1], linewidth=1)
    left = 0
    for (name, positions), colour in zip(parts.items(), colours, strict=True):
        left = bar(left, 0, len(positions), name, colour)
    return figure


def differences(values: Sequence[float], xlabel: str, ylabel: str) -> Figure:
    """Plot n signed `values` as bars from a line at zero, at 0 to n - 1, each with its number."""
    figure, ax = axes(7, 3.2, xlabel=xlabel, ylabel=ylabel)
    bars = ax.bar(range(len(values)), values, color=BLUE, zorder=2)
    numbers = [f"{value:+z.2f}".replace("-", "−") for value in values]
    ax.bar_label(bars, numbers, padding=2, fontsize=11)
    ax.axhline(0, color=GREY)
    ax.set_xticks(range(len(values)))
    ax.margins(y=0.15)  # room for the numbers
    return figure


def noted(lines: dict[str, tuple], notes: dict[str, Sequence[str]], **labels) -> Figure:
    """Plot lines of percentages, label -> (x, y), n numbers each, on an axis from 0 to 100.

    notes: label of a line -> n texts, written above its points in red.
    """
    figure = curves(lines, ylim=(0, 100), **labels)
    (ax,) = figure.axes
    for label, texts in notes.items():
        for x, y, text in zip(*lines[label], texts, strict=True):
            ax.text(x, y + 4, text, ha="center", color=RED, fontsize=11)
    ax.set_xticks(next(iter(lines.values()))[0])
    ax.legend(frameon=False, loc="center right", bbox_to_anchor=(1, 0.45))
    return figure
