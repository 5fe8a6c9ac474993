"""What the cells below an exercise call: checks that fail with one sentence."""

import torch

from mnist_nb.errors import Problem


class NotYet(Problem, AssertionError):
    """An exercise is not solved yet; a notebook shows the sentence alone (see `Problem`)."""


def check(holds: bool, sentence: str) -> None:
    """Raise NotYet with the `sentence` that tells what is wrong, unless it `holds`."""
    if not holds:
        raise NotYet(sentence)


def close(given, wanted, atol: float = 1e-5) -> bool:
    """Has `given` the shape and, within `atol`, the numbers of `wanted`?

    Either is a number, a list of numbers or a tensor; anything else, None too, is not close.
    """
    try:
        given, wanted = (torch.as_tensor(value, dtype=torch.float64) for value in (given, wanted))
        return given.shape == wanted.shape and torch.allclose(given, wanted, rtol=0, atol=atol)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return False
