"""Predict with a model, and measure how good its answers are. Mirrors no cell of the source."""

import math

import torch
from torch import Tensor, nn

from mnist_nb.loading import Preloaded


@torch.no_grad()
def predict(model: nn.Module, dataset: Preloaded) -> Tensor:
    """Return the logits of n images, n x 10, without dropout; then set `model` to training."""
    model.eval()
    logits = model(dataset.x.flatten(1))
    model.train()
    return logits


def wilson_interval(right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Return Wilson's (1927) interval for a fraction, when `right` of `n` answers are right.

    The default z gives a 95% interval. Unlike `share ± z * sqrt(share * (1 - share) / n)`, it
    stays within 0 to 1, and it is accurate for fractions near 0 or 1.
    """
    share = right / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return centre - half, centre + half


def confusion_matrix(y: Tensor, predicted: Tensor, classes: int = 10) -> Tensor:
    """Return counts, classes x classes: a row per right answer `y`, a column per `predicted`."""
    return torch.bincount(y * classes + predicted, minlength=classes**2).view(classes, classes)


def calibration(probabilities: Tensor, y: Tensor, bins: int = 10) -> list[dict]:
    """Compare confidence with accuracy in each of `bins` equal ranges of confidence.

    Return a dictionary for each range with answers: count, confidence (mean of the highest
    probability) and accuracy (fraction of right answers), the last two from 0 to 1.
    """
    confidence, predicted = probabilities.max(dim=1)
    right = (predicted == y).float()
    which = (confidence * bins).long().clamp(max=bins - 1)
    return [
        {
            "count": int((which == b).sum()),
            "confidence": confidence[which == b].mean().item(),
            "accuracy": right[which == b].mean().item(),
        }
        for b in range(bins)
        if (which == b).any()
    ]
