"""The board of the challenge: who is on it, in which order, and who is not, and why."""

import json
import zipfile

import pytest
from click.testing import CliRunner
from conftest import PROJECT

from mnist_nb.record import MIME, SCHEMA
from mnist_nb.tools.cli import main

NORMAL = {"lr": 0.01, "epochs": 5, "hidden": 64, "dropout": 0.1, "batch_size": 32,
          "seed": 67, "shuffle": False, "dataset": "MNIST", "train_size": 55_000,
          "val_size": 5_000}  # fmt: skip


def hand_in(folder, learner, accuracies=(0.9, 0.96), notebook="09_challenge", **changed):
    """Write a notebook with a record; return its path."""
    rows = [{"epoch": n, "train_loss": 0.1, "val_loss": 0.1, "val_accuracy": share}
            for n, share in enumerate(accuracies, 1)]  # fmt: skip
    record = {"schema": SCHEMA, "notebook": notebook, "history": rows,
              "parameters": NORMAL | changed}  # fmt: skip
    cell = {"cell_type": "code", "outputs": [{"data": {MIME: record}}]}
    number = len(list(folder.glob(f"{learner}/*")))
    path = folder / learner / f"run-{number}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cells": [cell], "metadata": {}}))
    return path


@pytest.fixture
def shown(tmp_path):
    """Call `mnist-nb board`; return the lines of the board, and what is said of others."""

    def call():
        done = CliRunner().invoke(main, ["board", str(tmp_path)])
        return done.stdout.splitlines(), done.stderr

    return call


def test_the_best_run_of_each_learner_is_listed_with_its_changes_and_ties_share_a_rank(
    tmp_path, shown
):
    hand_in(tmp_path, "ada", [0.95, 0.97], lr=0.1, shuffle=True)
    hand_in(tmp_path, "ada", [0.99, 0.96], lr=0.2)  # the last epoch is what counts
    hand_in(tmp_path, "bo", [0.97], epochs=1, hidden=128, seed=5)
    hand_in(tmp_path, "cy", [0.981], lr=0.3)
    hand_in(tmp_path, "di")
    lines, others = shown()
    assert [line.split() for line in lines[:4]] == [
        ["1", "cy", "98.10%", "lr=0.3"],
        ["2", "ada", "97.00%", "lr=0.1", "shuffle=True"],
        ["2", "bo", "97.00%", "epochs=1", "hidden=128", "seed=5"],
        ["4", "di", "96.00%", "nothing"],
    ]
    assert "claims" in " ".join(lines[4:]) and "luck" in " ".join(lines[4:]) and not others


@pytest.mark.parametrize(
    ("record", "why"),
    [({"accuracies": [0.9] * 6}, "6 epochs, and at most 5"),
     ({"dataset": "KMNIST"}, "dataset is KMNIST, not MNIST"),
     ({"train_size": 59_000, "val_size": 1_000}, "train_size is 59000"),
     ({"val_size": 10}, "val_size is 10"),
     ({"notebook": "00_walkthrough", "hidden": 128}, "hidden is 128, and in the walkthrough"),
     ({"notebook": "00_walkthrough", "seed": 1}, "seed is 1, and in the walkthrough"),
     ({"notebook": "mine"}, "a run of mine"),
     ({"accuracies": [1.5]}, "no accuracy from 0 to 1"),
     ({"accuracies": [None]}, "no accuracy from 0 to 1")],
)  # fmt: skip
def test_a_run_that_cannot_be_compared_is_not_on_the_board_and_a_sentence_says_why(
    tmp_path, shown, record, why
):
    hand_in(tmp_path, "ada")
    hand_in(tmp_path, "bo", **record)
    lines, others = shown()
    assert others.startswith("bo: run-0.ipynb does not count") and why in others
    assert "ada" in lines[0] and not any("bo" in line.split() for line in lines[1:])


def test_a_run_of_the_walkthrough_counts_if_its_validation_images_are_the_same(tmp_path, shown):
    hand_in(tmp_path, "ada", notebook="00_walkthrough", lr=0.1)
    lines, others = shown()
    assert lines[0].split()[1:] == ["ada", "96.00%", "lr=0.1"] and not others


def test_a_learner_without_a_record_is_named_and_names_and_values_cannot_hide_anything(
    tmp_path, shown
):
    (tmp_path / "ada").mkdir()
    (tmp_path / "ada" / "01_architecture.ipynb").write_text("{}")
    hand_in(tmp_path, "b\x1b[2Jo", lr="x\n1  cheat  100.00%" * 9)
    lines, others = shown()
    assert others == "ada: has no record of a run\n"
    assert lines[0].startswith("  1  b?[2Jo  96.00%  lr=x?1") and len(lines[0]) < 80


def test_the_notebooks_in_a_learners_zip_and_in_a_zip_beside_the_folders_count(tmp_path, shown):
    for learner, place in (
        ("ada", tmp_path / "ada" / "homework.zip"),
        ("bo", tmp_path / "bo.zip"),
    ):
        path = hand_in(tmp_path, learner, lr=0.1)
        place.parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(place, "w") as archive:
            archive.write(path, "home/09_challenge.ipynb")
        path.unlink()
        if not list(path.parent.iterdir()):
            path.parent.rmdir()
    lines, others = shown()
    assert [line.split()[:2] for line in lines[:2]] == [["1", "ada"], ["1", "bo"]] and not others


def test_without_any_run_the_command_is_one_sentence(tmp_path, shown):
    lines, said = shown()
    assert (
        not lines and said.startswith("Error: no run for the challenge") and str(tmp_path) in said
    )


def test_the_record_of_the_solved_challenge_is_on_the_board():
    solved = PROJECT / "notebooks" / "solutions" / "09_challenge.ipynb"
    done = CliRunner().invoke(main, ["board", str(solved)])
    assert done.stdout.split()[2:4] == ["96.48%", "lr=0.1"], done.output
