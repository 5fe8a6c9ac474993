"""What mnist_nb.exercises lets a check see of a learner's function."""

import pytest
import torch
from torch import nn

from mnist_nb.exercises import calls

SCORES, RIGHT = torch.zeros(2, 3), torch.tensor([0, 2])


def nested():
    def inner():
        return nn.CrossEntropyLoss()(SCORES, RIGHT)

    return inner()


def softmax(scores):
    powers = scores.exp()
    return powers / powers.sum(dim=1, keepdim=True)


def test_an_operator_is_seen_by_what_is_called_however_deep_and_not_by_its_name():
    with calls() as used:
        nested()
    assert used == {"_log_softmax", "nll_loss_forward"}
    with calls() as used:
        softmax(SCORES)
    assert used == {"exp", "sum", "div"}


def test_what_is_called_after_the_block_or_after_an_error_in_it_is_not_seen():
    with pytest.raises(ZeroDivisionError), calls() as used:
        1 / 0  # noqa: B018
    nested()
    assert used == set()
