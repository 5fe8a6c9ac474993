"""Check the notebooks' parameters; say in one sentence what is wrong with a value."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from mnist_nb.data import DATASETS
from mnist_nb.errors import ParameterError

TRAINING_IMAGES = 60_000
DEVICES = ("cpu", "cuda", "mps", "auto")


class Rule(NamedTuple):
    """What a parameter takes, in words and as a test, and the type that its value becomes."""

    words: str
    holds: Callable[[Any], bool]
    kept_as: Callable[[Any], Any] = lambda value: value


def _whole(low: int, high: int, words: str = "") -> Rule:
    words = words or f"from {low:,} to {high:,}"
    return Rule(
        f"a whole number {words}",
        lambda v: isinstance(v, int) and not isinstance(v, bool) and low <= v <= high,
    )


def _number(words: str, holds: Callable[[float], bool]) -> Rule:
    return Rule(
        f"a number {words}",
        lambda v: isinstance(v, int | float) and not isinstance(v, bool) and holds(v),
        float,
    )


def _one_of(*choices: str) -> Rule:
    return Rule("one of " + ", ".join(map(repr, choices)), lambda v: v in choices)


_SWITCH = Rule("True or False", lambda v: isinstance(v, bool))

RULES = {
    "seed": _whole(-(2**63), 2**64 - 1, "that fits in 64 bits"),
    "dataset": _one_of(*DATASETS),
    "data_dir": Rule(
        "None or the path of a folder",
        lambda v: v is None or (isinstance(v, str) and v.isprintable() and v != ""),
    ),
    "train_size": _whole(1, TRAINING_IMAGES),
    "val_size": _whole(1, TRAINING_IMAGES),
    "batch_size": _whole(1, TRAINING_IMAGES),
    "shuffle": _SWITCH,
    "hidden": _whole(1, 10_000),
    "dropout": _number("from 0 up to, but not including, 1", lambda v: 0 <= v < 1),
    "lr": _number("greater than 0 and below 3.4e38", lambda v: 0 < v < 3.4e38),
    "epochs": _whole(1, 100_000),
    "eval_mode": _SWITCH,
    "preload": _SWITCH,
    "device": _one_of(*DEVICES),
    "num_threads": _whole(1, 256),
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
            if not rule.holds(values[name]):
                raise ParameterError(f"{name} is {values[name]!r}; it takes {rule.words}")
            checked[name] = rule.kept_as(values[name])
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
        raise ParameterError(
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
