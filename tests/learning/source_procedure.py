"""What the source's cells do, in one function, the long way round.

The reference that everything else is held to: torchvision's dataset, ToTensor
for every image in every epoch, the plain DataLoader. Nothing of `mnist_nb` is
used here, but for the folder in which the files lie.
"""

import torch
from torch import nn, optim
from torch.utils.data import DataLoader, random_split
from torchvision import datasets, transforms


def losses(root: str, seed: int, epochs: int = 1, sizes=(55_000, 5_000)) -> list[tuple]:
    """(training, validation) loss of each epoch, after `seed`, on one thread."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)

    net = nn.Sequential(
        nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.1),
        nn.Linear(64, 10),
    )  # fmt: skip
    sgd = optim.SGD(net.parameters(), lr=0.01)
    criterion = nn.CrossEntropyLoss()

    digits = datasets.MNIST(root, train=True, transform=transforms.ToTensor())
    rest = len(digits) - sum(sizes)
    parts = random_split(digits, [*sizes, rest] if rest else list(sizes))
    batches = [DataLoader(part, batch_size=32) for part in parts[:2]]

    result = []
    for _ in range(epochs):
        means = []
        for training, loader in zip((True, False), batches, strict=True):
            values = []
            for images, labels in loader:
                with torch.set_grad_enabled(training):
                    value = criterion(net(images.view(images.size(0), -1)), labels)
                if training:
                    net.zero_grad()
                    value.backward()
                    sgd.step()
                values.append(value.item())
            means.append(torch.tensor(values).mean().item())
        result.append(tuple(means))
    return result
