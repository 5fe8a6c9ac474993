"""Make the board of a class for the challenge; the command `board` calls it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mnist_nb.tools.classroom.entries import learners
from mnist_nb.tools.classroom.handed_in import files
from mnist_nb.tools.runs.places import notebooks_in
from mnist_nb.tools.runs.results import read_record

CHALLENGE = "09_challenge"
MOST_EPOCHS = 5
SHARED = {"dataset": "MNIST", "train_size": 55_000, "val_size": 5_000}  # in all runs of a board
CHOICES = ("lr", "epochs", "hidden", "dropout", "batch_size", "shuffle", "seed")
SPLITS = ("seed", "hidden")  # in the walkthrough, these decide which images validate


def board(folders: list[Path], normal: dict[str, Any]) -> tuple[list[tuple], list[str]]:
    """Return the rows (rank, learner, accuracy, changes), best first, and what does not count.

    A learner is a folder in one of `folders`, and has the run with the highest accuracy after its
    last epoch. Equal accuracies share a rank. `normal` has the walkthrough's parameters.
    """
    best: dict[str, tuple[float, str]] = {}
    without, refused = {}, []
    for learner, path in _handed_in(folders):
        without.setdefault(learner, f"{learner}: has no record of a run")
        try:
            record = read_record(path)
        except ValueError:
            continue  # such as the notebook of a different exercise
        without[learner] = ""
        if why := refusal(record, normal):
            refused.append(f"{learner}: {_plain(path.name)} does not count: {why}")
            continue
        accuracy, said = record["history"][-1]["val_accuracy"], changes(record, normal)
        best[learner] = max(best.get(learner, (-1.0, "")), (accuracy, said))
    order = sorted(best.items(), key=lambda item: (-item[1][0], item[0]))
    every = [accuracy for accuracy, _ in best.values()]
    rows = [(1 + sum(other > accuracy for other in every), learner, accuracy, said)
            for learner, (accuracy, said) in order]  # fmt: skip
    return rows, refused + [line for line in without.values() if line]


def _handed_in(folders: list[Path]) -> Iterator[tuple[str, Path]]:
    """Yield (learner, notebook), also from zips; the learner is the first folder below one."""
    for folder in folders:
        for path in notebooks_in([folder]):
            parts = path.relative_to(folder).parts
            yield _plain(parts[0] if len(parts) > 1 else folder.resolve().name), path
        if folder.is_dir():
            yield from _zipped(folder)


def _zipped(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield (learner, notebook) for each notebook in a zip, unpacked while it is looked at."""
    for learner, sources in learners(folder).items():
        for file in files(sources):
            if ".zip/" in file.label.lower() and file.label.endswith(".ipynb") and file.read:
                with tempfile.TemporaryDirectory(prefix="mnist-nb-") as unpacked:
                    path = Path(unpacked, _plain(Path(file.label).name))
                    path.write_bytes(file.read())
                    yield _plain(learner), path


def refusal(record: dict, normal: dict[str, Any]) -> str:
    """Return why a record has no place on the board; nothing, if it has one."""
    given, name, rows = record["parameters"], record["notebook"], record["history"]
    if name not in (CHALLENGE, "00_walkthrough"):
        return f"it is a run of {_plain(name)}, not of the challenge or the walkthrough"
    if len(rows) > MOST_EPOCHS:
        return f"it has {len(rows)} epochs, and at most {MOST_EPOCHS} count"
    for key, value in SHARED.items():
        if given.get(key) != value:
            return f"its {key} is {_plain(given.get(key))}, not {value}"
    for key in SPLITS if name != CHALLENGE else ():
        if given.get(key) != normal[key]:
            return (f"its {key} is {_plain(given.get(key))}, and in the walkthrough that changes "
                    "the validation images; run it in the challenge's notebook")  # fmt: skip
    accuracy = rows[-1].get("val_accuracy")
    return "" if accuracy is not None and 0 <= accuracy <= 1 else "it has no accuracy from 0 to 1"


def changes(record: dict, normal: dict[str, Any]) -> str:
    """Return the settings that differ from the walkthrough's, such as `lr=0.1 shuffle=True`."""
    given = record["parameters"]
    found = [f"{k}={_plain(given[k])}" for k in CHOICES if k in given and given[k] != normal[k]]
    return " ".join(found) or "nothing"


def _plain(value: object) -> str:
    """Return a value from a file as one short line, without control characters."""
    text = "".join(c if c.isprintable() else "?" for c in str(value))
    return text if len(text) <= 40 else f"{text[:39]}…"
