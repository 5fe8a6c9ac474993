"""Ask stored runs what they show: sliders over the values that were tried."""

import pandas as pd
from matplotlib.figure import Figure

from mnist_nb.live import Live
from mnist_nb.live.still import still


def what_if(
    sweeps: dict[str, pd.DataFrame],
    measure: str,
    figure: Figure,
    alt: str,
    at: dict | None = None,
    limit: float | None = None,
) -> Live:
    """Return an output with sliders over the runs in `sweeps`: name -> data frame, a row per run.

    Args:
        sweeps: a frame's first column is the setting along the axis, a second setting may follow;
            then come "seed" and the result. Names of columns are shown. Each combination of
            settings has the same seeds.
        measure: what the results are, with their unit.
        figure: what readers see where the script may not run, with its `alt` text.
        at: setting -> the value at which its slider starts; by default, the first.
        limit: if given, two values of the first setting are compared seed by seed, and their gap
            counts beyond this many standard errors.
    """
    views = [_view(name, runs, at or {}) for name, runs in sweeps.items()]
    data = {"measure": measure, "limit": limit, "views": views}
    return Live("what_if", data, still(figure, alt, "Sliders over the stored runs."), alt)


def _view(name: str, runs: pd.DataFrame, at: dict) -> dict:
    *settings, _, _ = runs.columns
    columns = [_column(runs[setting]) for setting in settings]
    return {
        "name": name,
        "settings": settings,
        "columns": columns,
        "at": [at.get(setting) for setting in settings],
        "seed": runs["seed"].to_numpy("int32"),
        "result": runs.iloc[:, -1].to_numpy("float64"),
    }


def _column(values: pd.Series):
    """Return numbers as an array, words as a list."""
    if pd.api.types.is_numeric_dtype(values):
        return values.to_numpy("float64")
    return values.tolist()
