"""Check the notebooks' parameters; say in one sentence what is wrong with a value."""

from collections.abc import Callable, Mapping
from math import nextafter, ulp
from typing import Any, NamedTuple

from mnist_nb.data import DATASETS
from mnist_nb.errors import NotHereError, ParameterError

TRAINING_IMAGES = 60_000


class Rule(NamedTuple):
    """What a parameter takes: in words, its type, which values of that type, a number's limits."""

    words: str
    kind: Any
    holds: Callable[[Any], bool] = lambda value: True
    low: float | None = None
    high: float | None = None


def _from(low: float, high: float, words: str, kind: type = int) -> Rule:
    return Rule(words, kind, lambda v: low <= v <= high, low, high)


def _up_to(high: int) -> Rule:
    return _from(1, high, f"a whole number from 1 to {high:,}")


def _one_of(*choices: str) -> Rule:
    return Rule("one of " + ", ".join(map(repr, choices)), str, lambda v: v in choices)


_SWITCH = Rule("True or False", bool)
RULES = {
    # torch's generator keeps 32 bits: any other seed is one of these again
    "seed": _from(0, 2**32 - 1, "a whole number from 0 to 4,294,967,295"),
    "dataset": _one_of(*DATASETS),
    "data_dir": Rule(
        "None or the path of a folder", str | None, lambda v: v != "" and str(v).isprintable()
    ),
    "train_size": _up_to(TRAINING_IMAGES),
    "val_size": _up_to(TRAINING_IMAGES),
    "batch_size": _up_to(TRAINING_IMAGES),
    "shuffle": _SWITCH,
    "hidden": _up_to(10_000),
    "dropout": _from(0, nextafter(1, 0), "a number from 0 up to, but not including, 1", float),
    "lr": _from(ulp(0.0), nextafter(3.4e38, 0), "a number above 0 and below 3.4e38", float),
    "epochs": _up_to(100_000),
    "eval_mode": _SWITCH,
    "preload": _SWITCH,
    "device": _one_of("cpu", "cuda", "mps", "auto"),
    "num_threads": _up_to(256),
}


def check_parameters(values: Mapping[str, Any]) -> dict[str, Any]:
    """Check the parameters among `values`, and return them.

    Other names are ignored, so a notebook can pass its `globals()`. A whole number given for a
    float parameter becomes a float.

    Raises:
        ParameterError: a value is not allowed, or values do not fit together or this machine.
    """
    checked = {}
    for name, rule in RULES.items():
        if name in values:
            value = values[name]
            kind = int | float if rule.kind is float else rule.kind
            fits = isinstance(value, kind) and isinstance(value, bool) == (rule.kind is bool)
            if not fits or not rule.holds(value):
                raise ParameterError(f"{name} is {value!r}; it takes {rule.words}")
            checked[name] = float(value) if rule.kind is float else value
    train, val = checked.get("train_size", 0), checked.get("val_size", 0)
    if train + val > TRAINING_IMAGES:
        raise ParameterError(
            f"train_size is {train} and val_size is {val}, together {train + val:,}; "
            f"there are {TRAINING_IMAGES:,} images to split, so make one of them smaller"
        )
    if train and checked.get("batch_size", 0) > train:
        raise ParameterError(
            f"batch_size is {checked['batch_size']}; it takes a whole number "
            f"from 1 to train_size, which is {train}"
        )
    device = checked.get("device", "cpu")
    if device not in ("cpu", "auto") and device not in _devices():
        raise NotHereError(
            f"device is {device!r}, but torch cannot use one on this machine; "
            "take 'cpu', or 'auto' for the best available device"
        )
    return checked


def pick_device(device: str) -> str:
    """Return `device` itself, or for "auto" the best that this machine has."""
    return _devices()[0] if device == "auto" else device


def _devices() -> list[str]:
    """Return the devices that torch can use here, the best first."""
    import torch  # slow to import, so only where it is needed

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return [device for device, is_there in there.items() if is_there] + ["cpu"]
