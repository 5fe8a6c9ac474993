"""Repeat the source's run for many seeds, with and without dropout: `make seed-study`.

Writes studies/seed_study.csv: a row per dropout, seed and epoch, with the losses and the accuracy
of a walkthrough run with that seed. Takes some minutes.
"""

import importlib.metadata
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import pandas as pd
import torch

from mnist_nb.ensemble import Member, train_ensemble
from mnist_nb.loading import load

TARGET = Path(__file__).with_suffix(".csv")
EPOCHS = 13  # chapter 07 compares the source's five epochs with our 1st to 5th, ..., 9th to 13th
TOGETHER = 16  # models trained side by side


def study(dropout: float, seeds: range) -> list[dict]:
    """Train a model per seed; return a row of the table per epoch and seed."""
    torch.set_num_threads(1)
    members = [Member(seed, dropout=dropout) for seed in seeds]
    return [
        {
            "dropout": dropout,
            "seed": member.seed,
            "epoch": epoch["epoch"],
            **{name: epoch[name][k].item() for name in epoch if name != "epoch"},
        }
        for epoch in train_ensemble(load(), members, epochs=EPOCHS)
        for k, member in enumerate(members)
    ]


def main(first: int = 0, count: int = 128, target: str = str(TARGET)) -> None:
    """Train with `count` seeds, from `first`, on all cores; write the table to `target`."""
    ranges = [
        range(start, min(start + TOGETHER, first + count))
        for start in range(first, first + count, TOGETHER)
    ]
    rows = []
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        work = [pool.submit(study, dropout, seeds) for dropout in (0.1, 0.0) for seeds in ranges]
        for done, part in enumerate(as_completed(work), start=1):
            rows += part.result()
            print(f"{done} of {len(work)} groups of {TOGETHER} runs done", flush=True)
    table = pd.DataFrame(rows).sort_values(["dropout", "seed", "epoch"])
    versions = [f"{n} {importlib.metadata.version(n)}" for n in ("torch", "torchvision", "numpy")]
    part = Path(target).with_suffix(".part")
    with part.open("w") as file:
        file.write(
            f"# seeds {first} to {first + count - 1}, {EPOCHS} epochs; all other parameters "
        )
        file.write(f"are the walkthrough's defaults; one thread\n# {', '.join(versions)}\n")
        table.to_csv(file, index=False, float_format="%.7g")
    part.replace(target)
    print(f"written: {target}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]), *sys.argv[3:4])
