"""Compare what networks start from: `make exact-starts`.

Trains 256 networks with PyTorch for an epoch, 128 from their own initial weights and split, and
128 from those that `mnist_nb/exact.py` draws. If the exact starts spread the losses more than
PyTorch's own, something is wrong with how they are drawn. Writes studies/exact_starts.csv.
"""

from pathlib import Path
from unittest import mock

import pandas as pd
import torch

from mnist_nb import ensemble, exact
from mnist_nb.loading import load

TARGET = Path(__file__).with_suffix(".csv")
SEEDS = range(200, 328)  # none of the seed study's
AT_ONCE = 16
own_start = ensemble._start


def exact_start(member: ensemble.Member, sizes: tuple, hidden: int) -> tuple:
    """Return what `ensemble._start` does, with the weights and the split of `exact`."""
    model, _, generator = own_start(member._replace(seed=member.seed + 10_000), sizes, hidden)
    layers = exact.new_network(member.seed, hidden)["layers"]
    with torch.no_grad():
        for layer, drawn in zip((model[0], model[2], model[5]), layers, strict=True):
            layer.weight.copy_(torch.from_numpy(drawn["weight"].T.copy()))
            layer.bias.copy_(torch.from_numpy(drawn["bias"]))
    split = exact.split(sum(sizes), member.seed)
    return model, [torch.from_numpy(split[part]) for part in ("train", "val")], generator


def main() -> None:
    """Train both kinds, and write a row per network."""
    images, rows = load(), []
    for kind, start in (("torch", own_start), ("exact", exact_start)):
        with mock.patch.object(ensemble, "_start", start):
            for first in SEEDS[::AT_ONCE]:
                seeds = range(first, first + AT_ONCE)
                members = [ensemble.Member(seed) for seed in seeds]
                (last,) = ensemble.train_ensemble(images, members, epochs=1)
                table = {"start": kind, "seed": seeds, "train_loss": last["train_loss"].tolist(),
                         "val_loss": last["val_loss"].tolist()}  # fmt: skip
                rows.append(pd.DataFrame(table))
                print(f"{kind}: seeds {first} to {seeds[-1]} done", flush=True)
    pd.concat(rows).to_csv(TARGET, index=False)
    print(f"written: {TARGET}")


if __name__ == "__main__":
    main()
