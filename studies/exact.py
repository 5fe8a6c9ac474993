"""Train the exact network for some seeds: `make exact-study`.

Writes studies/exact.csv: a row per seed and epoch, with the losses and the accuracy that
`mnist_nb/exact.py` gives for the walkthrough's parameters. On every machine they are the same
numbers, so they are stored in full. Takes some minutes.
"""

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pandas as pd

from mnist_nb.exact import train
from mnist_nb.loading import load

TARGET = Path(__file__).with_suffix(".csv")


def study(seed: int) -> list[dict]:
    """Train with `seed`; return a row of the table per epoch."""
    images = load()
    data = {"images": images.x.numpy().reshape(-1, 784), "labels": images.y.numpy()}
    return [{"seed": seed} | row for row in train(data, seed=seed) if "val_loss" in row]


def main(count: int = 32) -> None:
    """Train with the seeds from 0 to count - 1, on all cores, and write the table."""
    rows = []
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for part in pool.map(study, range(count)):
            rows += part
            print(pd.DataFrame(part).to_string(index=False, header=False), flush=True)
            pd.DataFrame(rows).to_csv(TARGET.with_suffix(".part"), index=False)
    TARGET.with_suffix(".part").replace(TARGET)
    print(f"written: {TARGET}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
