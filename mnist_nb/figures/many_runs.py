"""Draw many runs beside each other: pairs, gaps, maps of numbers."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from mnist_nb.figures import BLUE, GREY, ORANGE, RED, SKY, axes, spreads


def paired(pairs: dict[str, tuple[float, float]], names: tuple[str, str], **labels) -> Figure:
    """Plot pairs of numbers, label -> (first, second), each joined by a line; call them `names`.

    A pair that rises is red, one that falls is blue.
    """
    figure, ax = axes(**labels)
    for place, (first, second) in enumerate(pairs.values()):
        ax.plot(
            [place, place],
            [first, second],
            color=RED if second > first else BLUE,
            linewidth=6,
            zorder=2,
        )
    for at, (name, marker, face) in enumerate(zip(names, "os", ("white", "black"), strict=True)):
        ax.plot(range(len(pairs)), [pair[at] for pair in pairs.values()], marker, color="black",
                markerfacecolor=face, label=name, zorder=3)  # fmt: skip
    ax.set_xticks(range(len(pairs)), pairs)
    ax.margins(y=0.2)  # room for the legend
    ax.legend(frameon=False, ncols=2, loc="upper center")
    return figure


def tried(lines: dict, **labels) -> Figure:
    """Plot means over runs, with bands from lowest to highest, at the values tried.

    lines: label -> data frame with a row per run and a column per value, for up to four labels.
    The first frame's values are the only marks of the x axis.
    """
    figure = spreads({name: (f.columns, f.to_numpy()) for name, f in lines.items()}, **labels)
    (ax,) = figure.axes
    first, *_ = lines.values()
    ax.xaxis.set_major_locator(FixedLocator(list(first.columns)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    title = f"line: mean of {len(first)} runs; band: lowest to highest"
    ax.set_title(title, fontsize=11)
    return figure


def ratios(values: Sequence[float], limits: Sequence[float], reach: int = 6) -> Figure:
    """Draw a histogram of n `values`, with a line at plus and minus each of up to two `limits`.

    Its first and last bar, at -reach and reach, also hold the values beyond.
    """
    label = f"mean gap in standard errors (end bars: all beyond {reach})"
    figure, ax = axes(xlabel=label, ylabel="comparisons")
    bins = np.arange(-reach, reach + 0.1, 0.25)
    ax.hist(np.clip(values, -reach, reach), bins=bins, color=SKY, zorder=2)
    looks = ((ORANGE, "--"), (RED, "-"))[: len(limits)]
    for limit, (colour, dashes) in zip(limits, looks, strict=True):
        look = {"color": colour, "linestyle": dashes, "linewidth": 2, "zorder": 3}
        ax.axvline(-limit, label=f"± {limit}", **look)
        ax.axvline(limit, **look)
    ax.legend(frameon=False, title="standard errors")
    return figure


def gaps(rows: dict[str, tuple[float, float]], errors: int = 3, **labels) -> Figure:
    """Plot gaps, label -> (mean, standard error), from top to bottom, and print both numbers.

    A bar reaches `errors` standard errors to both sides; blue if it excludes zero, else grey.
    """
    figure, ax = axes(7, 1.2 + 0.42 * len(rows), **labels)
    for place, (mean, error) in enumerate(rows.values()):
        counts = abs(mean) > errors * error
        ax.errorbar(mean, place, xerr=errors * error, fmt="o" if counts else "s", capsize=4,
                    linewidth=5, markersize=10, color=BLUE if counts else GREY,
                    markerfacecolor=BLUE if counts else "white")  # fmt: skip
        text = f"{mean:+.2f} ± {error:.2f}".replace("-", "−")
        ax.text(1.02, place, text, transform=ax.get_yaxis_transform(), va="center")
    ax.axvline(0, color=GREY, linestyle=":")
    ax.set_yticks(range(len(rows)), rows)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.grid(visible=False)
    title = f"bars: ± {errors} standard errors; numbers: ± 1; dotted: no difference"
    ax.set_title(title, fontsize=11)
    return figure


def number_map(
    values: np.ndarray, rows: Sequence, columns: Sequence, low: float, high: float, **labels
) -> Figure:
    """Draw `values`, n x m, from `low` (white) to `high` (light blue), each with its number.

    `rows` names the n rows and `columns` the m columns. Each column's largest number is bold.
    """
    figure, ax = axes(6, 0.9 + 0.5 * len(rows), **labels)
    ax.imshow(values, cmap="Blues", vmin=low, vmax=low + 2 * (high - low), aspect="auto")
    ax.grid(visible=False)
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    for (row, column), value in np.ndenumerate(values):
        weight = "bold" if value == values[:, column].max() else "normal"
        ax.text(column, row, f"{value:.1f}", ha="center", va="center", weight=weight)
    return figure
