"""Networks in files: what comes back, what is refused, and the walkthrough's own."""

import json
import pickle
import random
import subprocess

import nbformat
import pytest
import torch
from conftest import PROJECT, WALKTHROUGH
from safetensors.torch import save_file
from torch import nn

from mnist_nb import saving
from mnist_nb.errors import NetworkError
from mnist_nb.loading import load, split_loaders
from mnist_nb.model import build_model
from mnist_nb.saving import load_network, save_network
from mnist_nb.tools.runs.results import read_record
from mnist_nb.training import train

SMALL = {"hidden": 3, "dropout": 0.3, "seed": 2**63, "data_dir": None}


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(1)
    model, path = build_model(3, 0.3), tmp_path / "network.safetensors"
    save_network(model, path, SMALL)
    return model, path


def same(model: nn.Module, other: nn.Module) -> bool:
    """Whether two networks have the same layers and the same parameters, to the last bit."""
    one, two = model.state_dict(), other.state_dict()
    equal = one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)
    return equal and repr(model) == repr(other) and model.training == other.training


def refused(path) -> str:
    """Load a file that does not hold a network; return the sentence, without the path."""
    with pytest.raises(NetworkError) as caught:
        load_network(path)
    said = str(caught.value)
    assert said.startswith(str(path)) and "\n" not in said and "give the network" in said
    return said.removeprefix(str(path))


def test_a_network_comes_back_to_the_last_bit_and_can_be_trained_further(saved):
    model, path = saved
    loaded = load_network(path)
    assert same(loaded, model) and all(p.requires_grad for p in loaded.parameters())
    x = torch.rand(100, 784)
    assert torch.equal(loaded.eval()(x), model.eval()(x))


def test_what_is_saved_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_network(build_model(), "network.safetensors", SMALL)
    assert capsys.readouterr().out == "Saved: 55,050 parameters, in network.safetensors.\n"


def test_saving_and_loading_draw_no_random_numbers(saved):
    model, path = saved
    before = torch.get_rng_state()
    save_network(model, path, SMALL)
    load_network(path)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_same_network_is_the_same_bytes_each_time(saved):
    model, path = saved
    contents = {path.read_bytes()}
    for _ in range(20):
        save_network(model, path, SMALL)
        contents.add(path.read_bytes())
    assert len(contents) == 1


def test_a_network_whose_numbers_are_nan_comes_back_too(saved):
    model, path = saved
    nn.init.constant_(model[0].weight, float("nan"))
    save_network(model, path, SMALL)
    assert load_network(path)[0].weight.isnan().all()


def test_a_damaged_file_is_one_sentence_wherever_the_damage_is(saved):
    _, path = saved
    content, chance = path.read_bytes(), random.Random(67)
    header = 8 + int.from_bytes(content[:8], "little")
    places = chance.sample(range(header), 300) + chance.sample(range(header, len(content)), 99)
    for place in places:
        wrong = bytearray(content)
        wrong[place] ^= 1 << chance.randrange(8)
        path.write_bytes(wrong)
        refused(path)
    for end in [*range(20), header, len(content) - 1]:
        path.write_bytes(content[:end])
        refused(path)
    path.write_bytes(content + b"\0")
    refused(path)


class Trap:
    def __reduce__(self):
        return exec, ("raise SystemExit('the pickle ran')",)


def test_a_file_from_elsewhere_is_one_sentence_and_never_unpickled(saved, tmp_path):
    model, path = saved
    assert "No such file" in refused(tmp_path / "none.safetensors")
    assert "Is a directory" in refused(tmp_path)
    path.write_bytes(pickle.dumps(Trap()))
    refused(path)
    torch.save(model.state_dict(), path)
    refused(path)
    save_file(model.state_dict(), path)
    assert "__metadata__" in refused(path)


@pytest.mark.parametrize(
    ("weights", "about"),
    [
        ({"weight": torch.zeros(3)}, SMALL),
        (build_model(4).state_dict(), SMALL),
        (build_model(3).state_dict(), {"hidden": 3}),
        (build_model(3).state_dict(), {"hidden": "3", "dropout": 0.1}),
        (build_model(3).state_dict(), {"hidden": 10**12, "dropout": 0.1}),
        (build_model(3).state_dict(), None),
    ],
)
def test_names_shapes_and_parameters_have_to_fit_even_if_the_checksum_does(
    weights, about, tmp_path
):
    known = {"parameters": about, "sha256": saving._checksum(weights, about)}
    save_file(weights, tmp_path / "a.safetensors", {"mnist_nb": json.dumps(known)})
    refused(tmp_path / "a.safetensors")


def test_a_network_that_cannot_be_saved_is_one_sentence_and_the_old_file_is_kept(
    saved, monkeypatch, tmp_path
):
    model, path = saved
    with pytest.raises(NetworkError, match=r"none/a cannot be written \(No such file"):
        save_network(model, tmp_path / "none" / "a", SMALL)

    def full(*_):
        raise OSError(28, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(NetworkError, match="No space left"):
        save_network(model, path, SMALL)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == [path.name]


def test_the_network_that_chapters_load_makes_the_walkthroughs_mistakes():
    """The walkthrough's outputs say what its network gets wrong, and nbval compares them."""
    cells = {cell.id: cell for cell in nbformat.read(WALKTHROUGH, as_version=4).cells}
    torch.manual_seed(67)
    build_model()  # draws its weights before the split, as there
    x, y = (torch.cat(parts) for parts in zip(*split_loaders(load())[1], strict=True))
    with torch.no_grad():
        logits = load_network().eval()(x.flatten(1))
    answers = logits.argmax(dim=1)
    losses = nn.functional.cross_entropy(logits, y, reduction="none")
    worst = losses.argsort(descending=True)[:8]
    said = {
        "read": f"{(answers == y).sum() / len(y):.1%} right without dropout",
        "mistake": "; ".join(f"{answers[i]}, not {y[i]}" for i in worst),
        "mistake-figure": f"label: {y[worst[0]]}, loss: {losses[worst[0]]:.1f}",
    }
    for cell, words in said.items():
        assert words in json.dumps(cells[cell].outputs), cell


@pytest.mark.whole  # an older network would make mistakes of its own, says the test above
def test_the_network_that_chapters_load_is_what_the_walkthrough_trains():
    """Elsewhere to 0.01: processors round differently, and training magnifies that to 0.001."""
    torch.set_num_threads(1)
    torch.manual_seed(67)
    model = build_model()
    sgd = torch.optim.SGD(model.parameters(), lr=0.01)
    list(train(model, sgd, *split_loaders(load()), epochs=5))
    for name, stored in load_network().state_dict().items():
        torch.testing.assert_close(stored, model.state_dict()[name], rtol=0, atol=0.01)


def test_the_network_that_chapters_load_has_the_parameters_of_the_walkthroughs_record():
    header, _ = json.JSONDecoder().raw_decode(saving.WALKTHROUGH.read_bytes()[8:].decode("latin1"))
    about = json.loads(header["__metadata__"]["mnist_nb"])
    assert about["parameters"] == read_record(WALKTHROUGH)["parameters"]


def test_a_network_that_a_notebook_saves_is_no_change_to_the_project():
    if not (PROJECT / ".git").exists():
        pytest.skip("this copy of the project is not a git repository")
    for place in ("network.safetensors", "notebooks/network.safetensors"):
        command = ["git", "-C", PROJECT, "check-ignore", "--quiet", place]
        assert subprocess.run(command).returncode == 0, place
