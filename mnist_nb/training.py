"""Train a model in five steps per batch, and validate it. Mirrors the source's cell In [20]."""

from collections.abc import Iterable, Iterator

import torch
from torch import nn
from torch.nn.functional import cross_entropy


def train_epoch(
    model: nn.Module, optimizer: torch.optim.Optimizer, loader: Iterable
) -> list[float]:
    """Train for one pass over `loader`; return the loss of each batch, in nats."""
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
    """Return the mean of the batch losses (nats) and the fraction of right answers.

    Dropout stays switched on, as in the source, unless `eval_mode` is set. Afterwards the
    model is in training mode.
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
    """Train for `epochs`; yield a dictionary after each epoch.

    Its keys are epoch (from 1), train_loss, val_loss (nats), val_accuracy (0 to 1), and
    batch_losses, the training loss of each batch in the epoch.
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
