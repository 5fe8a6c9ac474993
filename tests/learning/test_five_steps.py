"""The five steps, one at a time: Python's numbers, which the page shows, against torch's."""

import pytest
import torch
from torch import nn

from mnist_nb import exact
from mnist_nb.live.five_steps import press_all
from mnist_nb.loading import load
from mnist_nb.model import build_model

LR = 0.25


@pytest.fixture(scope="module")
def batch(data_root):
    images = load()
    return images.x[:32], images.y[:32]


def in_torch(x, y, order: str, rounds: int) -> list[tuple[float, float, float]]:
    """Loss, gradient norm and way of the weights before the first press and after each."""
    model = build_model(dropout=0.0)
    layers = exact.new_network(67)["layers"]
    for linear, layer in zip([model[i] for i in (0, 2, 5)], layers, strict=True):
        linear.weight.data = torch.tensor(layer["weight"]).T.contiguous()
        linear.bias.data = torch.tensor(layer["bias"])
    params = list(model.parameters())
    start = [p.detach().clone() for p in params]

    def length(tensors) -> float:
        return torch.cat([t.double().flatten() for t in tensors]).norm().item()

    def look():
        with torch.no_grad():
            loss = nn.functional.cross_entropy(model(x.flatten(1)), y).item()
        gradients = [p.grad for p in params if p.grad is not None] or [torch.zeros(1)]
        moved = length(p.detach() - p0 for p, p0 in zip(params, start, strict=True))
        return loss, length(gradients), moved

    rows = [look()]
    optimizer = torch.optim.SGD(params, lr=LR)
    for step in order * rounds:
        if step == "1":
            logits = model(x.flatten(1))
        elif step == "2":
            loss = nn.functional.cross_entropy(logits, y)
        elif step == "3":
            model.zero_grad()
        elif step == "4":
            loss.backward()
        else:
            optimizer.step()
        rows.append(look())
    return rows


@pytest.mark.parametrize("order", ["12345", "1245", "1235", "1234"])
def test_after_each_press_the_numbers_are_torchs_within_a_millionth(batch, order):
    ours = press_all(*batch, lr=LR, rounds=3, order=order)
    theirs = in_torch(*batch, order, rounds=3)
    assert len(ours) == len(theirs) == 3 * len(order) + 1
    for row, expected in zip(ours, theirs, strict=True):
        assert list(row.values()) == pytest.approx(expected, abs=1e-6)
