"""Do the five steps of training one at a time, in a page and in Python, with the same numbers."""

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from mnist_nb import exact
from mnist_nb.arithmetic import total
from mnist_nb.live import Live
from mnist_nb.live.still import still


def stepper(x: Tensor, y: Tensor, lr: float, figure: Figure, alt: str, seed: int = 67) -> Live:
    """Return an output in which you carry out the five steps on one batch, press by press.

    Args:
        x: the batch's images, n x 1 x 28 x 28, from 0 to 1.
        y: their labels.
        lr: the learning rate of the steps.
        figure: what readers see where the script may not run, with its `alt` text.
        seed: of the first weights.
    """
    data = {**_bytes(x, y), "lr": lr, "seed": seed}
    return Live("stepper", data, still(figure, alt, "The five steps, press by press."), alt)


def press_all(
    x: Tensor, y: Tensor, lr: float, rounds: int, order: str = "12345", seed: int = 67
) -> list[dict]:
    """Return what the stepper shows before the first press and after each, for `rounds` rounds.

    A row has the loss of the batch, the gradient norm, and how far the weights have moved.
    `order` names the steps of a round, as in chapter 05.
    """
    network, batch = exact.new_network(seed), _bytes(x, y)
    state, probe = exact.new_state(network), exact.new_state(network)
    for each in (state, probe):
        exact.take_batch(each, batch, np.arange(len(y)))
    weights = _arrays(network["layers"])
    start = [array.copy() for array in weights]
    acts = {
        "1": exact.forward, "2": exact.loss, "3": exact.clear, "4": exact.backward,
        "5": lambda state: exact.step(state, lr),
    }  # fmt: skip

    def look() -> dict:
        exact.forward(probe)  # on activations of its own, so looking disturbs nothing
        moves = [a.astype(float) - b for a, b in zip(weights, start, strict=True)]
        norm = _norm(_arrays(state.gradients))
        return {"loss": exact.loss(probe), "gradient norm": norm, "moved": _norm(moves)}

    rows = [look()]
    for step in rounds * order:
        acts[step](state)
        rows.append(look())
    return rows


def _bytes(x: Tensor, y: Tensor) -> dict[str, np.ndarray]:
    """Return images, a byte per pixel, and labels."""
    images = x.view(len(y), -1).mul(255).round().byte()
    return {"images": images.numpy(), "labels": y.byte().numpy()}


def _arrays(parts: list[dict]) -> list[np.ndarray]:
    return [part[name] for part in parts for name in ("weight", "bias")]


def _norm(arrays: list[np.ndarray]) -> float:
    """Return the length of a vector that is stored in several arrays."""
    values = np.concatenate([array.ravel() for array in arrays]).astype(float)
    return float(np.sqrt(total(values * values)))
