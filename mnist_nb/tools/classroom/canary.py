"""Find what a notebook has replaced in its own process, for a remark beside the grade.

No points depend on it: they come from tests that the notebook cannot reach. A notebook could also
hide from it what it did.
"""

import builtins
import re
import sys

import torch

import mnist_nb.exercises as exercises

_BUILTINS = ("abs", "all", "any", "isinstance", "len", "max", "min", "print", "range", "sorted",
             "sum", "type", "zip", "getattr", "hasattr", "float", "int", "list")  # fmt: skip
_TORCH = ("allclose", "as_tensor", "equal", "isclose", "manual_seed", "tensor", "zeros")
_TENSOR = ("__eq__", "__ne__", "__bool__", "__float__", "all", "any", "item", "allclose", "tolist")


_KNOWN = re.compile(
    r"replaces `[\w.]{1,40}`|changes how cells are read|runs code before or after each cell|"
    r"follows the code with a tracer|replaces the shell's own functions"
)


def known(words: object) -> str:
    """Return `words` if `Canary.found` can have given them, else words that say they are false.

    The learner's process sends them, and could send anything.
    """
    fits = isinstance(words, str) and _KNOWN.fullmatch(words)
    return words if fits else "sends a false list of what it has replaced"


class Canary:
    """What the checks use, as it was before the first cell."""

    def __init__(self, shell):
        self._before = _state(shell)

    def found(self, shell) -> list[str]:
        """Return what is different now, in words."""
        now = _state(shell)
        found = [words for words, value in self._before.items() if now[words] != value]
        for name in ("check", "close"):
            mine = shell.user_ns.get(name, getattr(exercises, name))
            if mine is not self._before[f"replaces `{name}`"][0]:
                found.append(f"replaces `{name}`")
        return list(dict.fromkeys(found))


def _state(shell) -> dict[str, object]:
    manager = shell.input_transformer_manager
    state = {
        "changes how cells are read": [
            *manager.cleanup_transforms, *manager.line_transforms, *manager.token_transformers,
            *shell.input_transformers_post, *shell.ast_transformers,
        ],
        "runs code before or after each cell": [
            call
            for event, calls in shell.events.callbacks.items()
            for call in calls
            if "matplotlib" not in str(getattr(call, "__module__", ""))
        ],
        "follows the code with a tracer": [sys.gettrace(), sys.getprofile()],
        "replaces the shell's own functions": [
            getattr(shell, name).__func__ if hasattr(getattr(shell, name), "__func__") else None
            for name in ("run_cell", "run_cell_async", "run_code", "transform_cell")
        ],
    }  # fmt: skip
    for name in ("check", "close"):
        function = getattr(exercises, name)
        state[f"replaces `{name}`"] = _parts(function)
    for name in _BUILTINS:
        state[f"replaces `{name}`"] = [getattr(builtins, name, None)]
    for name in _TORCH:
        state[f"replaces `torch.{name}`"] = _parts(getattr(torch, name, None))
    for name in _TENSOR:
        state[f"replaces `torch.Tensor.{name}`"] = [getattr(torch.Tensor, name, None)]
    return state


def _parts(function: object) -> list:
    return [function, *(getattr(function, part, None) for part in ("__code__", "__defaults__"))]
