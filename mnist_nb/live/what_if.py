"""Ask stored runs what they show: sliders over the values that were tried."""

import pandas as pd
from matplotlib.figure import Figure

from mnist_nb.live import Live
from mnist_nb.live.still import still

# setting -> its name on a slider, and the value at which the slider starts: the walkthrough's, or
# with None the first
SETTINGS = {
    "lr": ("learning rate", 0.01),
    "batch_size": ("batch size", 32),
    "hidden": ("neurons", 64),
    "dropout": ("dropout rate", 0.1),
    "eval_mode": ("dropout while validating", "on"),
    "experiment": ("sweep", None),
    "train_size": ("training images", None),
    "epoch": ("epoch", None),
}


def what_if(
    sweeps: dict[str, tuple[pd.DataFrame, list[str]]],
    figure: Figure,
    alt: str,
    limit: float | None = None,
) -> Live:
    """Return an output with sliders over the validation accuracies of stored runs.

    Args:
        sweeps: what can be asked -> runs, a row each, and the one or two settings that the
            sliders change; the first is the axis. All settings have the same seeds.
        figure: what readers see where the script may not run, with its `alt` text.
        limit: if given, two values of the first setting are compared seed by seed, and their gap
            counts beyond this many standard errors.
    """
    views = [_view(name, runs, settings) for name, (runs, settings) in sweeps.items()]
    data = {"measure": "validation accuracy (%)", "limit": limit, "views": views}
    return Live("what_if", data, still(figure, alt, "Sliders over the stored runs."), alt)


def _view(name: str, runs: pd.DataFrame, settings: list[str]) -> dict:
    return {
        "name": name,
        "settings": [SETTINGS[setting][0] for setting in settings],
        "columns": [_column(runs[setting]) for setting in settings],
        "at": [SETTINGS[setting][1] for setting in settings],
        "seed": runs["seed"].to_numpy("int32"),
        "result": (100 * runs["val_accuracy"]).round(6).to_numpy("float64"),
    }


def _column(values: pd.Series):
    """Return numbers as an array, words as a list."""
    if values.name == "eval_mode":
        return values.map({True: "off", False: "on"}).tolist()
    return values.to_numpy("float64") if values.dtype.kind in "if" else values.tolist()
