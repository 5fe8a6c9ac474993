"""The five steps, an epoch, a run. Mirrors the source's cell In [20]."""

from collections.abc import Iterable, Iterator

import torch
from torch import nn
from torch.nn.functional import cross_entropy


def train_epoch(
    model: nn.Module, optimizer: torch.optim.Optimizer, loader: Iterable
) -> list[float]:
    """One pass over `loader`, a step per batch; the loss of each batch, in nats."""
    losses = []
    for x, y in loader:
        logits = model(x.view(x.size(0), -1))  # 1. forward pass
        loss = cross_entropy(logits, y)  # 2. objective
        model.zero_grad()  # 3. clear the gradients
        loss.backward()  # 4. gradients
        optimizer.step()  # 5. step
        losses.append(loss.item())
    return losses


@torch.no_grad()
def validate(model: nn.Module, loader: Iterable, eval_mode: bool = False) -> tuple[float, float]:
    """(mean of the batch losses in nats, share of right answers) over `loader`.

    The model stays in training mode, dropout on, as the source leaves it; with
    `eval_mode` dropout is off. Afterwards the model is in training mode.
    """
    model.train(not eval_mode)
    losses, right, count = [], 0, 0
    for x, y in loader:
        logits = model(x.view(x.size(0), -1))
        losses.append(cross_entropy(logits, y).item())
        right += (logits.argmax(dim=1) == y).sum().item()
        count += len(y)
    model.train()
    return torch.tensor(losses).mean().item(), right / count


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    train_loader: Iterable,
    val_loader: Iterable,
    epochs: int = 5,
    eval_mode: bool = False,
) -> Iterator[dict]:
    """Train for `epochs`; yield each epoch's numbers when they are known.

    A dictionary per epoch: epoch (from 1), train_loss, val_loss (nats), val_accuracy
    (0 to 1), and batch_losses, the training losses inside the epoch.
    """
    for epoch in range(1, epochs + 1):
        losses = train_epoch(model, optimizer, train_loader)
        val_loss, val_accuracy = validate(model, val_loader, eval_mode)
        yield {
            "epoch": epoch,
            "train_loss": torch.tensor(losses).mean().item(),
            "val_loss": val_loss,
            "val_accuracy": val_accuracy,
            "batch_losses": losses,
        }
