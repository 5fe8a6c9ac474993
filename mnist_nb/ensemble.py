"""Train many models at once: the same five steps, with one more tensor dimension.

Member k has the initial weights, the split, the order of images and the dropout masks of a
single run on the CPU with its seed, on any device. Only the order of additions differs, so its
losses equal those of the single run within float rounding.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from mnist_nb.loading import Preloaded
from mnist_nb.model import build_model


class Member(NamedTuple):
    """What may differ between the models of an ensemble."""

    seed: int
    lr: float = 0.01
    dropout: float = 0.1


def train_ensemble(
    images: Preloaded,
    members: Sequence[Member],
    epochs: int = 5,
    hidden: int = 64,
    batch_size: int = 32,
    train_size: int = 55_000,
    val_size: int = 5_000,
    eval_mode: bool = False,
    device: str = "cpu",
) -> Iterator[dict]:
    """Train the K `members` side by side; yield a dictionary after each epoch.

    Its keys are epoch (from 1), and train_loss, val_loss (nats) and val_accuracy (0 to 1), which
    are tensors of K numbers, in the order of `members`.
    """
    sizes = (train_size, val_size, len(images) - train_size - val_size)
    with torch.random.fork_rng(devices=[]):
        starts = [_start(member, sizes, hidden) for member in members]
    x = images.x.flatten(1)
    seen = x.any(dim=0)  # a pixel that is 0 in every image changes nothing
    x, y = x[:, seen].to(device), images.y.to(device)
    for model, *_ in starts:
        model[0].weight.data = model[0].weight.data[:, seen]
    allowed = torch.get_num_threads()
    threads = min(allowed if device == "cpu" else 1, len(members))
    each = min(-(-len(members) // threads), 32 if device == "cpu" else len(members))  # fit a cache
    groups = [
        _Group(x, y, members[first : first + each], starts[first : first + each])
        for first in range(0, len(members), each)
    ]
    with ThreadPoolExecutor(threads) as pool:
        for epoch in range(1, epochs + 1):
            results = list(pool.map(lambda group: group.epoch(batch_size, eval_mode), groups))
            torch.set_num_threads(allowed)  # each group has set it to 1
            yield {"epoch": epoch} | {
                name: torch.cat([result[name] for result in results]) for name in results[0]
            }


def _start(member: Member, sizes: Sequence[int], hidden: int) -> tuple:
    """Return the model, the split and the generator of the single run, before its first epoch."""
    torch.manual_seed(member.seed)
    model = build_model(hidden, member.dropout)
    split = torch.randperm(sum(sizes)).split(sizes)  # what random_split draws
    # from here on the single run draws dropout masks from the global generator
    return model, split, torch.Generator().set_state(torch.get_rng_state())


class _Group:
    """K copies of the walkthrough's network; K is the first dimension of their tensors."""

    @torch.no_grad()
    def __init__(self, x: Tensor, y: Tensor, members: Sequence[Member], starts: list[tuple]):
        """Take what `_start` gave per member, and all n images: x is n x pixels."""
        models, splits, self.generators = zip(*starts, strict=True)
        self.x, self.y = x, y
        layers = [[model[i] for model in models] for i in (0, 2, 5)]
        # K x inputs x outputs, and K x 1 x outputs
        self.weights = [torch.stack([k.weight.T for k in same]).to(x.device) for same in layers]
        self.biases = [torch.stack([k.bias[None] for k in same]).to(x.device) for same in layers]
        self.order, self.val_order = (
            torch.stack([split[part] for split in splits]).to(x.device) for part in (0, 1)
        )
        self.dropout = [m.dropout for m in members]
        self.lr = torch.tensor([m.lr for m in members], device=x.device).view(-1, 1, 1)
        self.keep = torch.tensor([1 - p for p in self.dropout], device=x.device).view(-1, 1, 1)
        self.one_hot = torch.eye(10, device=x.device)

    def epoch(self, batch_size: int, eval_mode: bool) -> dict[str, Tensor]:
        """Train for an epoch, then validate; return K numbers of each kind."""
        torch.set_num_threads(1)  # one per group, as the groups run in parallel
        losses = [self.step(*batch) for batch in self.batches(self.order, batch_size)]
        looks = [self.look(*b, not eval_mode) for b in self.batches(self.val_order, batch_size)]
        val_losses, right = (torch.stack(parts) for parts in zip(*looks, strict=True))
        return {
            "train_loss": torch.stack(losses).mean(dim=0).cpu(),
            "val_loss": val_losses.mean(dim=0).cpu(),
            "val_accuracy": (right.sum(dim=0) / self.val_order.size(1)).cpu(),
        }

    def batches(self, order: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield K x b x pixels images and their K x b labels, in the `order` of each member."""
        for generator in self.generators:  # a DataLoader's iterator draws this when it starts
            torch.empty((), dtype=torch.int64).random_(generator=generator)
        for batch in order.split(batch_size, dim=1):
            yield self.x.index_select(0, batch.flatten()).view(*batch.shape, -1), self.y[batch]

    def masks(self, batch: int, hidden: int) -> Tensor:
        """Return dropout masks, K x batch x hidden, with values 0 or 1 / (1 - dropout)."""
        masks = torch.ones(len(self.generators), batch, hidden)
        for mask, p, generator in zip(masks, self.dropout, self.generators, strict=True):
            if p:  # without dropout nothing is drawn
                mask.bernoulli_(1 - p, generator=generator)
        return masks.to(self.x.device).div_(self.keep)

    def forward(self, x: Tensor, dropout: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Return both hidden layers, K x b x hidden, and the logits, K x b x 10."""
        first = torch.baddbmm(self.biases[0], x, self.weights[0]).relu_()
        second = torch.baddbmm(self.biases[1], first, self.weights[1]).relu_()
        if dropout:
            second *= self.masks(*second.shape[1:])
        return first, second, torch.baddbmm(self.biases[2], second, self.weights[2])

    @torch.no_grad()
    def look(self, x: Tensor, y: Tensor, dropout: bool) -> tuple[Tensor, Tensor]:
        """Return K losses, each a mean over the batch, and K counts of right answers."""
        *_, logits = self.forward(x, dropout)
        losses = cross_entropy(logits.mT, y, reduction="none").mean(dim=1)
        return losses, (logits.argmax(dim=2) == y).sum(dim=1)

    @torch.no_grad()
    def step(self, x: Tensor, y: Tensor) -> Tensor:
        """Take the five steps for K x b images; return the K losses before the update."""
        first, second, logits = self.forward(x, dropout=True)
        # -lr times the gradient of each layer's output, last layer first; quicker than autograd
        g3 = (logits.mT.softmax(dim=1).mT - self.one_hot[y]) * (-self.lr / y.size(1))
        g2 = torch.bmm(g3, self.weights[2].mT) * second.sign() / self.keep
        g1 = torch.bmm(g2, self.weights[1].mT) * first.sign()
        layers = zip(self.weights, self.biases, (x, first, second), (g1, g2, g3), strict=True)
        for weight, bias, inputs, g in layers:
            weight.baddbmm_(inputs.mT, g)
            bias += g.sum(dim=1, keepdim=True)
        return cross_entropy(logits.mT, y, reduction="none").mean(dim=1)
