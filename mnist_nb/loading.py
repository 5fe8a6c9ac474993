"""From a dataset to batches: decode once, and draw the same random numbers.

Mirrors what `ToTensor()` and the DataLoader do in the source's cell In [18].
"""

from torch import Tensor, as_tensor


class Preloaded:
    """A torchvision dataset of grey images, decoded once, with the same values.

    `ToTensor()` turns bytes 0 to 255 into floats 0 to 1, one image at a time, in
    every epoch anew. This does it once, for all images. It hands out a whole
    batch at a time (`__getitems__`), and draws no random number, so that the
    split and the order of the batches stay what they were.
    """

    def __init__(self, dataset):
        """Decode `dataset`, one of torchvision's MNIST classes, of n images of 28 x 28."""
        self.x = dataset.data[:, None].float().div(255)  # n x 1 x 28 x 28
        self.y = dataset.targets if dataset.targets.ndim == 1 else dataset.targets[:, 0]

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.x[index], self.y[index]

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """A batch: b x 1 x 28 x 28 images and their b labels."""
        indices = as_tensor(indices)
        return self.x[indices], self.y[indices]


def whole_batch(batch):
    """A `collate_fn` for a dataset that hands out whole batches: nothing to collate."""
    return batch
