"""How good are the answers? What the source's prose promises and no cell computes."""

import math

import torch
from torch import Tensor, nn

from mnist_nb.loading import Preloaded


@torch.no_grad()
def predict(model: nn.Module, dataset: Preloaded) -> Tensor:
    """Logits, n x 10, of all n images of `dataset`, dropout off."""
    model.eval()
    logits = model(dataset.x.flatten(1))
    model.train()
    return logits


def wilson_interval(right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of Wilson (1927) for a share of which `right` of `n` were seen.

    Unlike `share ± z * sqrt(share * (1 - share) / n)` it stays within 0 to 1 and
    is right for shares near either end.
    """
    share = right / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return centre - half, centre + half


def confusion_matrix(y: Tensor, predicted: Tensor, classes: int = 10) -> Tensor:
    """Counts, classes x classes: row = right answer `y`, column = answer `predicted`."""
    return torch.bincount(y * classes + predicted, minlength=classes**2).view(classes, classes)


def calibration(probabilities: Tensor, y: Tensor, bins: int = 10) -> list[dict]:
    """Confidence against truth, for each of `bins` equal ranges of confidence.

    A dictionary per range that has answers: count, confidence (mean of the highest
    probability), accuracy (share of right answers), each 0 to 1.
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
