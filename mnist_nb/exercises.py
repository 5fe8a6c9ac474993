"""Check exercises: the cells below an exercise call these functions."""

from collections.abc import Callable

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mnist_nb.errors import Problem


class NotYet(Problem, AssertionError):
    """An exercise is not solved yet; a notebook shows why, without a traceback (see `Problem`)."""


def check(holds: bool, sentence: str) -> None:
    """Raise NotYet with `sentence`, which says what is wrong, unless `holds` is true."""
    if not holds:
        raise NotYet(sentence)


def close(given, wanted, atol: float = 1e-5) -> bool:
    """Return whether `given` has the shape of `wanted` and, within `atol`, its numbers.

    Both may be numbers, lists of numbers or tensors. Anything else, even None, is not close.
    """
    try:
        given, wanted = (torch.as_tensor(value, dtype=torch.float64) for value in (given, wanted))
        return given.shape == wanted.shape and torch.allclose(given, wanted, rtol=0, atol=atol)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return False


class _Recorder(TorchDispatchMode):
    """Note the names of the operations that PyTorch is asked for."""

    def __init__(self):
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        name = operation.overloadpacket.__name__.strip("_")
        self.names.add(name.removesuffix("_forward"))
        return operation(*args, **(kwargs or {}))


def called(function: Callable, *given, **named) -> set[str]:
    """Return the names of PyTorch's operations that a call of `function` comes down to.

    `nn.CrossEntropyLoss()`, wherever it stands, comes down to `log_softmax` and `nll_loss`; a
    function of the learner's own that is called `softmax` does not.
    """
    if recorded := getattr(function, "called", None):  # the grader's stand-in for a function
        return recorded(*given, **named)
    with _Recorder() as recorder:
        function(*given, **named)
    return recorder.names
