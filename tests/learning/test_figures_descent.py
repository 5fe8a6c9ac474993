"""What `descent` computes for its drawings."""

import torch

from mnist_nb.figures import descent


def test_a_surface_has_a_row_per_place_across_and_a_column_per_place_along():
    across, along = torch.tensor([-1.0, 2.0]), torch.tensor([0.0, 10.0, 30.0])
    losses = descent.surface(lambda place: (place[0] - place[1]).item(), across, along)
    assert losses.tolist() == [[-1, -11, -31], [2, -8, -28]]


def test_a_surface_asks_for_losses_without_a_gradient():
    weight = torch.ones(1, requires_grad=True)
    recorded = []
    descent.surface(
        lambda place: recorded.append((place.sum() * weight).requires_grad) or 0.0,
        torch.zeros(1), torch.zeros(2),
    )  # fmt: skip
    assert recorded == [False, False]
