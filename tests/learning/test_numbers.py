"""The random-number contract: the source's losses, to the last bit."""

import random

import nbformat
import pytest
import torch
from conftest import SLICE, WALKTHROUGH, words
from source_procedure import losses

from mnist_nb.saving import load_network
from mnist_nb.tools.runs.places import notebooks_in
from mnist_nb.tools.runs.results import read_record


def history(command, folder, **parameters) -> list[tuple]:
    done = command("run", *words(parameters), "-o", folder)
    assert done.returncode == 0, done.stderr
    (path,) = notebooks_in([folder])
    return [(row["train_loss"], row["val_loss"]) for row in read_record(path)["history"]]


def test_the_walkthrough_gives_the_sources_losses_to_the_last_bit(command, tmp_path, data_root):
    seed = random.SystemRandom().randrange(2**32)  # any seed: another one in every test run
    expected = losses(data_root, seed)
    found = history(command, tmp_path / "runs", seed=seed, epochs=1)
    assert found == expected, f"seed {seed}"


@pytest.mark.parametrize("preload", [True, False])
def test_preload_or_not_a_slice_gives_the_sources_losses_to_the_last_bit_and_saves_its_network(
    data_root, preload, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # the last cell saves the network there
    expected = losses(data_root, seed=5, epochs=2, sizes=(640, 160))
    names, values = {}, {name: int(word) for name, word in SLICE.items()}
    for cell in nbformat.read(WALKTHROUGH, as_version=4).cells:
        if cell.cell_type == "code":  # here, where no process need be started for it
            exec(cell.source, names)
        if "parameters" in cell.metadata.get("tags", []):
            names |= values | {"data_dir": data_root, "seed": 5, "preload": preload}
    assert [(row["train_loss"], row["val_loss"]) for row in names["history"]] == expected
    saved, trained = load_network("network.safetensors"), names["model"].state_dict()
    assert all(torch.equal(trained[name], p) for name, p in saved.state_dict().items())


@pytest.mark.whole  # the walkthrough's losses are the source's, above, and nbval knows them
def test_seed_0_gives_the_losses_that_are_known_for_it(data_root):
    ((training, validation),) = losses(data_root, seed=0)
    assert (training, validation) == pytest.approx((1.2400, 0.5283), abs=1e-3)


def test_every_printed_loss_stands_clear_of_a_rounding_edge():
    for row in read_record(WALKTHROUGH)["history"]:
        for name in ("train_loss", "val_loss"):
            from_edge = abs((row[name] * 100 - 0.5) % 1 - 0)
            assert min(from_edge, 1 - from_edge) / 100 >= 0.0015, (row["epoch"], name, row[name])
