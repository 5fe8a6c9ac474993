"""Figures: made from numbers, in colours that colour-blind readers tell apart.

Each function returns a Matplotlib figure; `show` displays it with its alt text.
"""

import io

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Okabe and Ito's palette, without its yellow
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")  # fmt: skip
GREY = "#595959"


def show(figure: Figure, alt: str) -> None:
    """Display `figure` as a PNG, with `alt` as its alt text and its text form.

    The picture's bytes depend on the figure alone: no version, no date in them.
    """
    from IPython.display import display

    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=100, metadata={"Software": None})
    display(
        {"image/png": png.getvalue(), "text/plain": alt},
        metadata={"image/png": {"alt": alt}},
        raw=True,
    )


def axes(width: float = 7, height: float = 4, **labels: str) -> tuple[Figure, object]:
    """A figure of `width` x `height` inches with one pair of axes, labelled."""
    figure = Figure(figsize=(width, height), layout="constrained")
    ax = figure.add_subplot()
    ax.set(**labels)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color="#dddddd")
    return figure, ax


def losses(history: list[dict], published: dict[str, list[float]] | None = None) -> Figure:
    """Training and validation loss per epoch, and the `published` ones dotted beside them."""
    figure, ax = axes(xlabel="epoch", ylabel="cross-entropy loss (nats)")
    epochs = [row["epoch"] for row in history]
    for key, label, colour, marker in (
        ("train_loss", "training", BLUE, "o"),
        ("val_loss", "validation", RED, "s"),
    ):
        values = [row[key] for row in history]
        ax.plot(epochs, values, color=colour, marker=marker, label=label)
        if published:
            past = published[key]
            ax.plot(range(1, len(past) + 1), past, color=colour, marker=marker, linestyle=":",
                    markerfacecolor="white", label=f"{label}, as published")  # fmt: skip
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False)
    return figure
