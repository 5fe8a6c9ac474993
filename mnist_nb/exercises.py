"""Check exercises: the cells below an exercise call these functions."""

import textwrap

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mnist_nb.errors import Problem


class NotYet(Problem, AssertionError):
    """An exercise is not solved yet; a notebook shows why, without a traceback (see `Problem`)."""

    def _render_traceback_(self) -> list[str]:
        return _lines(f"✗ Not yet: {self}")


def _lines(said: str) -> list[str]:
    """Break a sentence between words; JupyterLab would break a long line inside a word."""
    return textwrap.wrap(
        said, 95, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def check(holds: bool, sentence: str) -> None:
    """Raise NotYet with `sentence`, which says what is wrong, unless `holds` is true."""
    if not holds:
        raise NotYet(sentence)


def agreed(sentence: str) -> None:
    """Print that a check found nothing wrong; `sentence` says what agreed, and why it is right."""
    print(*_lines(f"✓ {sentence}"), sep="\n")


def close(given, wanted, atol: float = 1e-5) -> bool:
    """Return whether `given` has the shape of `wanted` and, within `atol`, its numbers.

    Both may be numbers, lists of numbers, arrays or tensors. All else, even None, is not close.
    """
    try:
        given, wanted = (torch.as_tensor(value, dtype=torch.float64) for value in (given, wanted))
        return given.shape == wanted.shape and torch.allclose(given, wanted, rtol=0, atol=atol)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return False


class calls(TorchDispatchMode):
    """Fill the set of `with calls() as used:` with names of PyTorch operators called inside."""

    def __enter__(self):
        super().__enter__()
        self.used = set()
        return self.used

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        self.used.add(operator.overloadpacket.__name__)
        return operator(*args, **kwargs or {})
