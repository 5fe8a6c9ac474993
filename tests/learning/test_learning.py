"""The learning modules: the same numbers as the notebook and as other people's code."""

import pytest
import torch
from conftest import SLICE
from source_procedure import losses
from test_numbers import history

from mnist_nb.errors import DataError
from mnist_nb.evaluation import calibration, confusion_matrix, predict, wilson_interval
from mnist_nb.loading import Preloaded, load, preloaded, split_loaders
from mnist_nb.model import build_model
from mnist_nb.training import train, validate


def trained(seed: int, epochs: int, **options):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = build_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    loaders = split_loaders(load(), 640, 160)
    return model, list(train(model, optimizer, *loaders, epochs=epochs, **options))


@pytest.mark.whole  # each of them is the source's run, says the next test and those of numbers
def test_the_package_trains_as_the_walkthroughs_own_loop_to_the_last_bit(command, tmp_path):
    _, rows = trained(seed=11, epochs=2)
    expected = history(command, tmp_path / "runs", **SLICE, seed=11)
    assert [(row["train_loss"], row["val_loss"]) for row in rows] == expected


def test_five_epochs_of_the_package_are_the_sources_five(data_root):
    _, rows = trained(seed=12, epochs=5)
    expected = losses(data_root, seed=12, epochs=5, sizes=(640, 160))
    assert [(row["train_loss"], row["val_loss"]) for row in rows] == expected


def test_validation_learns_nothing_and_leaves_the_model_in_training_mode():
    model, _ = trained(seed=1, epochs=1)
    before = [p.clone() for p in model.parameters()]
    _, loader = split_loaders(load(), 640, 160)
    first = validate(model, loader, eval_mode=True)
    assert first == validate(model, loader, eval_mode=True), "without dropout nothing is random"
    assert model.training and all(map(torch.equal, before, model.parameters()))


def test_preloaded_images_are_those_of_totensor(data_root):
    from torchvision import datasets, transforms

    literal = datasets.MNIST(data_root, train=False, transform=transforms.ToTensor())
    quick = Preloaded(literal)
    x, y = quick.__getitems__(list(range(500)))
    assert torch.equal(x, torch.stack([literal[i][0] for i in range(500)]))
    assert y.tolist() == [literal[i][1] for i in range(500)]


@pytest.mark.parametrize("shuffle", [False, True])
def test_preloaded_loaders_give_the_batches_of_the_sources_and_draw_the_same_numbers(
    data_root, shuffle
):
    from torch.utils.data import DataLoader, random_split
    from torchvision import datasets, transforms

    digits = datasets.MNIST(data_root, train=False, transform=transforms.ToTensor())
    parts = random_split(digits, [300, 100, 9_600])
    loaders = [DataLoader(parts[0], 32, shuffle), DataLoader(parts[1], 32)]
    torch.manual_seed(5)
    expected = [batch for _ in range(2) for loader in loaders for batch in loader]
    drawn = torch.get_rng_state()
    torch.manual_seed(5)
    found = [batch for _ in range(2) for loader in preloaded(*loaders) for batch in loader]
    assert torch.equal(torch.get_rng_state(), drawn) and len(found) == 2 * (10 + 4)
    for (x, y), (pictures, labels) in zip(expected, found, strict=True):
        assert torch.equal(x, pictures) and torch.equal(y, labels)


def test_predictions_are_made_without_dropout():
    model, _ = trained(seed=1, epochs=1)
    test = load(train=False)
    logits = predict(model, test)
    assert logits.shape == (10_000, 10) and torch.equal(logits, predict(model, test))


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    # Newcombe (1998), Statistics in Medicine 17, table I, method 3
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611),
     (1, 29, 0.0061, 0.1718)],
)  # fmt: skip
def test_wilsons_interval_is_that_of_the_literature(right, n, low, high):
    assert wilson_interval(right, n) == pytest.approx((low, high), abs=5e-5)


def test_the_confusion_matrix_has_the_truth_in_rows():
    y, predicted = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 1, 0])
    expected = [[1, 1, 0], [0, 1, 0], [1, 0, 0]]
    assert confusion_matrix(y, predicted, classes=3).tolist() == expected


def test_calibration_compares_confidence_with_the_share_of_right_answers():
    probabilities = torch.tensor([[0.95, 0.05], [0.91, 0.09], [0.4, 0.6], [1.0, 0.0]])
    rows = calibration(probabilities, torch.tensor([0, 1, 1, 0]))
    assert [row["count"] for row in rows] == [1, 3]
    assert rows[0]["accuracy"] == 1 and rows[1]["accuracy"] == pytest.approx(2 / 3)
    assert rows[1]["confidence"] == pytest.approx((0.95 + 0.91 + 1) / 3)


def test_load_reads_from_the_folder_that_is_given(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(DataError, match=str(tmp_path)):
        load(data_dir=str(tmp_path / "file"))
