"""Build the network. Mirrors the source's cell In [15]."""

from torch import nn


def build_model(hidden: int = 64, dropout: float = 0.1) -> nn.Sequential:
    """Return a network with `hidden` neurons in each of its two hidden layers.

    Takes batches of shape b x 784, gives logits of shape b x 10. The initial
    weights are drawn from torch's global generator, layer by layer.
    """
    return nn.Sequential(
        nn.Linear(28 * 28, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, 10),
    )
