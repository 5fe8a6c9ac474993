"""Load a dataset, decode it once, and split it into batches, in the source's random order.

Mirrors what `ToTensor()` and the DataLoader do in the source's cell In [18].
"""

from torch import Tensor, as_tensor
from torch.utils.data import DataLoader, Subset, random_split
from torchvision import datasets

from mnist_nb.data import fetch


class Preloaded:
    """A torchvision dataset of grey images, decoded once, with the same values.

    `ToTensor()` turns bytes (0 to 255) into floats (0 to 1), one image at a time,
    again in every epoch. This class does it once, for all images. It returns a
    whole batch at a time (`__getitems__`), and draws no random numbers, so the
    split and the order of the batches are the same as with `ToTensor()`.
    """

    def __init__(self, dataset):
        """Decode the n images of `dataset`, one of torchvision's MNIST-like datasets."""
        self.x = dataset.data[:, None].float().div_(255)  # n x 1 x 28 x 28
        y = dataset.targets
        self.y = y if y.ndim == 1 else y[:, 0]  # QMNIST's have 8 columns

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.x[index], self.y[index]

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Return a batch: b x 1 x 28 x 28 images and their b labels."""
        indices = as_tensor(indices)  # index_select takes half the time of self.x[indices]
        return self.x.index_select(0, indices), self.y.index_select(0, indices)


def whole_batch(batch):
    """Return `batch` unchanged: a `collate_fn` for a dataset that returns whole batches."""
    return batch


def preloaded(*loaders: DataLoader) -> list[DataLoader]:
    """Return loaders that give the same batches as `loaders`, from images decoded once.

    Each of `loaders` reads a part that `random_split` made, in batches. The new loaders draw
    the order of the images when the old ones would, so the random numbers stay the same.
    """
    decoded = Preloaded(loaders[0].dataset.dataset)
    return [
        DataLoader(
            Subset(decoded, loader.dataset.indices),
            batch_sampler=loader.batch_sampler,
            collate_fn=whole_batch,
        )
        for loader in loaders
    ]


def load(train: bool = True, dataset: str = "MNIST", data_dir: str | None = None) -> Preloaded:
    """Return the training (or test) images of `dataset`, downloaded if necessary and decoded."""
    return Preloaded(getattr(datasets, dataset)(fetch(dataset, data_dir), train=train))


def split_loaders(
    images: Preloaded,
    train_size: int = 55_000,
    val_size: int = 5_000,
    batch_size: int = 32,
    shuffle: bool = False,
) -> tuple[DataLoader, DataLoader]:
    """Split `images` at random; return loaders of the training and the validation part.

    Mirrors the source's cell In [18]. The split is drawn from torch's global
    generator; the remaining images are not used.
    """
    unused = len(images) - train_size - val_size
    sizes = [size for size in (train_size, val_size, unused) if size]
    train, val, *_ = random_split(images, sizes)
    return (
        DataLoader(train, batch_size, shuffle, collate_fn=whole_batch),
        DataLoader(val, batch_size, collate_fn=whole_batch),
    )
