"""What things cost, side by side in one run: `make bench`.

Times are measured here and never asserted. Machines differ and are shared, so
the ratios are what to quote.
"""

import json
import tempfile
import time
from pathlib import Path

import click

from mnist_nb.runs.records import read_record
from mnist_nb.runs.run import WALKTHROUGH, run

EPOCHS = 5


def walkthrough(preload: bool, folder: Path) -> tuple[float, list]:
    """Seconds for the whole walkthrough, kernel and all, and its losses."""
    started = time.perf_counter()
    path = run(WALKTHROUGH, {"epochs": str(EPOCHS), "preload": str(preload)}, folder)
    return time.perf_counter() - started, read_record(path)["history"]


def startup(folder: Path) -> float:
    """Seconds of a run that trains on 32 images: kernel, imports, data."""
    started = time.perf_counter()
    given = {"epochs": "1", "train_size": "32", "val_size": "1"}
    run(WALKTHROUGH, given, folder)
    return time.perf_counter() - started


def main() -> None:
    """Measure, print a table, and write build/bench.json."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        around = startup(folder)
        quick, quick_losses = walkthrough(True, folder)
        literal, literal_losses = walkthrough(False, folder)
    same = quick_losses == literal_losses
    rows = {
        "kernel, imports, data": around,
        f"{EPOCHS} epochs, preload, with that": quick,
        f"{EPOCHS} epochs, literal path, with that": literal,
        f"{EPOCHS} epochs, preload, training alone": quick - around,
        f"{EPOCHS} epochs, literal path, training alone": literal - around,
    }
    click.echo()
    for label, seconds in rows.items():
        click.echo(f"{label:48}{seconds:8.1f} s")
    click.echo(f"\nthe same losses to the last bit: {same}")
    click.echo(f"literal / preload, the whole notebook: {literal / quick:.1f}")
    ratio = (literal - around) / (quick - around)
    click.echo(f"literal / preload, training alone:     {ratio:.1f}")
    target = Path("build/bench.json")
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
