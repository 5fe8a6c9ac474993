"""Draw runs, in colours that colour-blind readers can tell apart, with alt text.

`draw` chooses the kind: curves over epochs, means over a parameter's values, or a map of two.
"""

import html
import io
import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from mnist_nb.errors import ParameterError
from mnist_nb.tools.runs.selection import is_uneven, varying
from mnist_nb.tools.runs.tables import grouped, numbers_of, ordered, table

# Dark enough on white for thin lines (a contrast of 3 or more); markers and dashes differ, too.
LOOKS = [("#0072B2", "o", "-"), ("#D55E00", "s", "--"), ("#008A64", "^", "-."),
         ("#882255", "D", ":"), ("#000000", "v", (0, (6, 1))), ("#8A6D00", "P", (0, (3, 1, 1, 1))),
         ("#7B61C4", "X", (0, (1, 1)))]  # fmt: skip
MOST_PANELS = 6
LARGEST = 1e300  # Matplotlib computes with numbers somewhat larger than those that it draws
KINDS = ("png", "svg")


class Drawing(NamedTuple):
    """A figure, and the text that says what it shows."""

    figure: Figure
    alt: str


def draw(runs: list[dict[str, Any]], by: list[str]) -> Drawing:
    """Draw the numbers of `runs`, a panel each, as means over the runs with equal values of `by`.

    Without `by`, take the parameters that vary, but no seeds. With one of them or none, draw a
    line per value over the epochs, with bands of one standard deviation; if that gives too many
    lines, or there is one epoch, draw the last numbers over the values; with two, draw maps.

    A curve ends where the first of its runs does: with fewer runs, its mean would jump.

    Raises:
        ParameterError: `by` has more than two names, more than two parameters vary, or no run
            has a number.
    """
    panels = dict(list(numbers_of(runs).items())[:MOST_PANELS])
    epochs, last = table(runs, epochs=True), table(runs)
    panels = [column for column in panels.values() if epochs[column].notna().any()]
    if not panels:
        raise ParameterError("these records have no numbers to plot")
    if len(by) > 2:
        raise ParameterError(f"--by names {len(by)} parameters ({', '.join(by)}), and a plot "
                             "shows at most two")  # fmt: skip
    by = by or varying(runs)
    if len(by) > 2:
        raise ParameterError(f"{len(by)} parameters vary ({', '.join(by)}), and a plot shows two "
                             "at most; choose them with --by")  # fmt: skip
    if len(by) == 2:
        return _maps(_grouped(last, by, panels), panels, by)
    values = last[by[0]].map(str).nunique() if by else 1
    if by and (values > len(LOOKS) or len(epochs) == len(last) or by == ["epoch"]):
        return _points(_grouped(last, by, panels), panels, by[0])
    frame = _grouped(epochs, [*by, "epoch"], panels, epochs=True)
    return _curves(frame, panels, by, is_uneven(runs, by))


def _grouped(
    frame: pd.DataFrame, by: list[str], panels: list[str], epochs: bool = False
) -> pd.DataFrame:
    """Group like `grouped`; values of several types become categories, in order and by name."""
    found = grouped(frame, by, panels, epochs)
    for name in by:
        if found[name].dtype == object:
            names = dict.fromkeys(ordered(found, [name])[name].map(str))
            found[name] = pd.Categorical(found[name].map(str), names, ordered=True)
    return found


def _panels(names: list[str], size: tuple[float, float], **labels) -> tuple[Figure, list]:
    """Return a figure with axes for each of `names`, at most three in a row."""
    across = min(len(names), 3)
    down = math.ceil(len(names) / across)
    figure = Figure(figsize=(size[0] * across, size[1] * down), layout="constrained")
    axes = list(figure.subplots(down, across, squeeze=False).flat)
    for ax in axes[len(names) :]:
        ax.remove()
    for ax, name in zip(axes, names, strict=False):
        ax.set(title=_text(name), **labels)
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(axis="y", color="#dddddd")
    return figure, axes[: len(names)]


def _curves(frame: pd.DataFrame, panels: list[str], by: list[str], is_cut: bool) -> Drawing:
    """Draw lines over the epochs: one for each value of the parameter in `by`, if there is one.

    With `is_cut`, some runs go on after their line has ended, and the picture says so.
    """
    figure, axes = _panels(panels, (4, 3.4), xlabel="epoch")
    lines = list(frame.groupby(by[0], observed=True, dropna=False)) if by else [("", frame)]
    for (label, rows), (colour, marker, dashes) in zip(lines, LOOKS, strict=False):
        for ax, name in zip(axes, panels, strict=True):
            mean, spread = _finite(rows[f"{name}_mean"]), _finite(rows[f"{name}_std"])
            ax.plot(rows["epoch"], mean, color=colour, linestyle=dashes, linewidth=2,
                    marker=marker if len(rows) <= 12 else "", label=_text(label))  # fmt: skip
            ax.fill_between(rows["epoch"], mean - spread, mean + spread, color=colour, alpha=0.2,
                            linewidth=4 * (len(rows) == 1))  # fmt: skip
    most = frame["epoch"].max()
    for ax in axes:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True) if most > 1 else FixedLocator([1]))
    if by:
        figure.legend(handles=axes[0].lines, title=_text(by[0]), loc="outside right upper",
                      frameon=False)  # fmt: skip
    cut = "a curve stops where its first run ends"
    figure.suptitle(_note(frame) + f"\n{cut}" * is_cut, fontsize=10)
    note = _note(frame) + f"; {cut}" * is_cut
    each = f", a line for each {by[0]} ({_listed(label for label, _ in lines)})" if by else ""
    last = pd.concat(rows.tail(1) for _, rows in lines)
    return Drawing(figure, f"{_listed(panels)} by epoch, 1 to {most}{each}; {note}. "
                   f"{_ends(last, panels, by)}")  # fmt: skip


def _points(frame: pd.DataFrame, panels: list[str], name: str) -> Drawing:
    """Draw the numbers of the last epoch over the values of the parameter `name`."""
    figure, axes = _panels(panels, (4, 3.4), xlabel=_text(name))
    places, labels = range(len(frame)), list(frame[name])
    colour, marker, _ = LOOKS[0]
    for ax, panel in zip(axes, panels, strict=True):
        ax.errorbar(places, _finite(frame[f"{panel}_mean"]), _finite(frame[f"{panel}_std"]),
                    color=colour, marker=marker, capsize=4)  # fmt: skip
        _label(ax.set_xticks, labels)
    note = _note(frame)
    figure.suptitle(note, fontsize=10)
    return Drawing(figure, f"{_listed(panels)} after the last epoch, by {name} "
                   f"({_listed(labels)}); {note}. {_ends(frame, panels, [name])}")  # fmt: skip


def _maps(frame: pd.DataFrame, panels: list[str], by: list[str]) -> Drawing:
    """Draw the numbers of the last epoch over two parameters: light is high, empty is no run."""
    down, across = by
    rows, columns = (list(dict.fromkeys(frame[name].sort_values())) for name in by)
    figure, axes = _panels(panels, (4.4, 3.6), xlabel=_text(across), ylabel=_text(down))
    number = frame.pivot(index=down, columns=across, values="runs").loc[rows, columns]
    for ax, name in zip(axes, panels, strict=True):
        means = frame.pivot(index=down, columns=across, values=f"{name}_mean").loc[rows, columns]
        drawn = ax.imshow(_finite(means).to_numpy(), cmap="cividis", aspect="auto", origin="lower")
        figure.colorbar(drawn, ax=ax)
        ax.grid(visible=False)
        _label(ax.set_xticks, columns)
        _label(ax.set_yticks, rows)
        for (y, x), value in np.ndenumerate(means) if len(columns) <= 8 else ():
            if not number.iloc[y, x] > 0:
                continue
            dark = not abs(value) < LARGEST or drawn.norm(value) > 0.5
            ax.text(x, y, f"{value:.3g}", ha="center", va="center", fontsize=8,
                    color="black" if dark else "white")  # fmt: skip
    note = f"mean over {_number_of_runs(frame)}" if frame["runs"].max() > 1 else "one run each"
    figure.suptitle(note, fontsize=10)
    return Drawing(figure, f"Maps of {_listed(panels)} after the last epoch, by {down} "
                   f"({_listed(rows)}) and {across} ({_listed(columns)}); {note}. "
                   f"{_ends(frame, panels, by)}")  # fmt: skip


def _text(value: Any) -> str:
    """Return a name or a value as a short text that Matplotlib shows as it is."""
    said = str(value)
    return (said if len(said) <= 24 else f"{said[:23]}…").replace("$", r"\$")


def _listed(things: Iterable) -> str:
    return ", ".join(_text(thing).replace(r"\$", "$") for thing in things)


def _finite(numbers: pd.Series | pd.DataFrame) -> pd.Series | pd.DataFrame:
    """Return `numbers` with a gap for each that cannot be drawn."""
    return numbers.where(numbers.abs() < LARGEST)


def _label(set_ticks: Callable, values: list) -> None:
    """Name the places 0, 1, ... of an axis after `values`; many or long names are turned."""
    labels = [_text(value) for value in values]
    turned = len(labels) > 6 or max(map(len, labels)) > 8
    set_ticks(range(len(labels)), labels, rotation=45 if turned else 0)


def _number_of_runs(frame: pd.DataFrame) -> str:
    least, most = frame["runs"].min(), frame["runs"].max()
    if most == 1:
        return "one run each"
    return f"{most} runs each" if least == most else f"{least} to {most} runs each"


def _note(frame: pd.DataFrame) -> str:
    """Return what the lines of a drawing are."""
    if frame["runs"].max() == 1:
        return "one run each"
    return f"mean over {_number_of_runs(frame)}, and one standard deviation up and down"


def _ends(frame: pd.DataFrame, panels: list[str], by: list[str]) -> str:
    """Say for each panel between which numbers the means lie, and where."""
    said = []
    for name in panels:
        means = _finite(frame[f"{name}_mean"]).dropna()
        if means.empty:
            said.append(f"{name} ends without a finite number.")
            continue
        places = [means.idxmin(), means.idxmax()]
        low, high = (f"{means[place]:.4g}" for place in places)
        here, there = (_where(frame, place, by) for place in places)
        said.append(f"{name} ends at {low}." if low == high
                    else f"{name} ends between {low}{here} and {high}{there}.")  # fmt: skip
    return " ".join(said)


def _where(frame: pd.DataFrame, row: int, by: list[str]) -> str:
    return f" ({_listed(f'{name}={frame[name][row]}' for name in by)})" if by else ""


def as_bytes(drawing: Drawing, kind: str) -> bytes:
    """Return a drawing as a "png" or "svg", with its alt text in it, the same each time."""
    file = io.BytesIO()
    own = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}[kind]
    with matplotlib.rc_context({"svg.hashsalt": "mnist-nb"}), warnings.catch_warnings():
        # numbers with hundreds of digits leave no room for the axes, whatever the layout
        warnings.filterwarnings("ignore", "constrained_layout not applied")
        drawing.figure.savefig(file, format=kind, dpi=150,
                               metadata={"Description": drawing.alt, **own})  # fmt: skip
    if kind == "png":
        return file.getvalue()
    said = f'<svg role="img" aria-label="{html.escape(drawing.alt)}" '
    return file.getvalue().replace(b"<svg ", said.encode(), 1)
