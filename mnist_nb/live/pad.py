"""Show a pad on which you draw a digit and the network reads it: `pad.js`, with its data."""

import base64
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from mnist_nb.errors import NetworkError
from mnist_nb.live import Live

LAYERS = [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]  # of `build_model`
STILL = """<figure><img width="560" height="280" src="data:image/svg+xml;base64,{}"
alt="A 3, drawn in white on a black pad. Beside it, ten bars; that of the digit 3 is longest.">
<figcaption>A pad to draw a digit on, with the network's answer. It works in JupyterLab once you
have run the cells above and this one, and on the chapter's page in a browser with
JavaScript.</figcaption></figure>"""


def digit_pad(model: nn.Module, test) -> Live:
    """Return a pad on which you draw a digit, or pick one, and see how `model` reads it.

    Args:
        model: a network of `build_model`; dropout is off while it reads.
        test: a `Preloaded` dataset; the first image of each label in it can be picked.
    """
    labels = test.y.unique()
    first = torch.stack([(test.y == label).nonzero()[0, 0] for label in labels])
    examples = test.x[first].mul(255).round().byte().flatten()
    data = {"network": layers(model), "examples": examples, "labels": labels.tolist()}
    picture = Path(__file__).with_name("pad.svg").read_bytes()
    still = STILL.format(base64.b64encode(picture).decode())
    return Live("pad", data, still, "A pad to draw a digit on, with the network's answer.")


def layers(model: nn.Module) -> dict:
    """Return the weights of `model`, a network of `build_model`, as `network.js` has them."""
    if [type(layer) for layer in model.children()] != LAYERS:
        raise NetworkError(
            "The pad can only use a network that build_model has made; the layers of this one are "
            f"{', '.join(type(layer).__name__ for layer in model.children())}. Give it another"
        )
    return {"layers": [
        {"inputs": layer.in_features, "outputs": layer.out_features,
         "weight": layer.weight.detach().cpu().T.flatten(), "bias": layer.bias.detach().cpu()}
        for layer in model if isinstance(layer, nn.Linear)
    ]}  # fmt: skip


def centred(drawing: Tensor) -> Tensor:
    """Return `drawing` as a 28 x 28 image, prepared as MNIST's makers prepared theirs.

    `drawing` is h x w, 0 (black) to 1 (white). Its ink is scaled to fit 20 x 20 pixels, and its
    centre of mass moves to row 14, column 14, or as near as fits. No ink gives a black image.
    The pad does the same, with `digit.js`.
    """
    image = torch.zeros(28, 28)
    rows, columns = ((drawing > 0).any(dim=dim).nonzero().flatten() for dim in (1, 0))
    if len(rows):
        ink = drawing[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        h, w = (max(1, round(20 * n / max(ink.shape))) for n in ink.shape)
        ink = interpolate(ink[None, None], (h, w), mode="area")[0, 0]
        top, left = _start(ink.sum(dim=1)), _start(ink.sum(dim=0))
        image[top : top + h, left : left + w] = ink
    return image


def _start(profile: Tensor) -> int:
    """Return where to place ink with the row (or column) sums `profile`, to centre it at 14."""
    centre = profile @ torch.arange(float(len(profile))) / profile.sum()
    return min(max(round(14 - centre.item()), 0), 28 - len(profile))
