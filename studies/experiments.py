"""Execute the runs that chapter 08 compares: `make experiments`.

Runs each sweep of studies/experiments/ into build/experiments/, and writes
studies/experiments.csv: a row per run, with its parameters and the numbers of its last epoch.
Says how many rows have the same numbers as in the earlier table. The records stay in
build/experiments/, for `mnist-nb verify`. Takes half an hour on two cores; an interrupted study
resumes with the same command.
"""

import sys
from pathlib import Path

import pandas as pd

from mnist_nb.errors import Problem
from mnist_nb.files import write_whole
from mnist_nb.tools.project import PROJECT, WALKTHROUGH
from mnist_nb.tools.runs.plans import read_plan
from mnist_nb.tools.runs.results import read_record
from mnist_nb.tools.runs.sweep import carry_out, prepare
from mnist_nb.tools.runs.tables import table

PLANS = Path(__file__).with_suffix("")
BUILD = PROJECT / "build" / "experiments"
TARGET = Path(__file__).with_suffix(".csv")
VARIED = ["lr", "batch_size", "hidden", "dropout", "eval_mode", "train_size", "epochs", "seed"]
NUMBERS = ["train_loss", "val_loss", "val_accuracy"]
VERSIONS = ("torch", "torchvision", "numpy")


def experiment(path: Path) -> tuple[list[dict], pd.DataFrame]:
    """Finish the sweep that the file at `path` describes; return its records and table rows."""
    sweep = prepare(WALKTHROUGH, read_plan(path), str(BUILD / path.stem))
    print(f"{path.stem}: {len(sweep.runs)} runs, {len(sweep.left)} to do", flush=True)
    ends = carry_out(sweep) if sweep.left else ()
    if wrong := [name for name, outcome in ends if outcome.state != "finished"]:
        names = ", ".join(wrong)
        raise SystemExit(f"{len(wrong)} runs failed: {names}; to try again: make experiments")
    records = [read_record(Path(place.path)) for place in sweep.places.values()]
    rows = table(records)[[*VARIED, *NUMBERS]]
    return records, rows.assign(experiment=path.stem)[["experiment", *VARIED, *NUMBERS]]


def main() -> None:
    """Execute the runs that are left, then write the table."""
    try:
        parts = [experiment(path) for path in sorted(PLANS.glob("*.yaml"))]
    except (Problem, KeyboardInterrupt) as stop:
        sys.exit(str(stop))
    machines = [record["machine"] for records, _ in parts for record in records]
    versions = {", ".join(f"{n} {m['versions'][n]}" for n in VERSIONS) for m in machines}
    rows = pd.concat([rows for _, rows in parts], ignore_index=True)
    head = "# a row per run of the walkthrough; what is not named has its default\n"
    text = rows.to_csv(index=False, float_format="%.7g")
    before = set(TARGET.read_text().splitlines()) if TARGET.exists() else set()
    equal = sum(line in before for line in text.splitlines()[1:])
    write_whole(TARGET, (head + f"# {'; '.join(sorted(versions))}\n" + text).encode())
    print(
        f"written: {TARGET}, {len(rows)} runs, of which {equal} have the numbers they had before"
    )


if __name__ == "__main__":
    main()
