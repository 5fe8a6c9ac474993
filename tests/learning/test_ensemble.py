"""Many models at once are the single runs, within float rounding."""

import pytest
import torch
from torch.nn.functional import dropout

from mnist_nb.ensemble import Member, _Group, _start, train_ensemble
from mnist_nb.loading import load, split_loaders
from mnist_nb.model import build_model
from mnist_nb.training import train

MEMBERS = [Member(0), Member(67, lr=0.02), Member(5, dropout=0.0), Member(3, 0.005, 0.3)]


def single(images, member: Member, sizes, epochs=2, eval_mode=False, **shape) -> list[dict]:
    torch.set_num_threads(1)
    torch.manual_seed(member.seed)
    model = build_model(shape.get("hidden", 64), member.dropout)
    sgd = torch.optim.SGD(model.parameters(), lr=member.lr)
    loaders = split_loaders(images, *sizes, shape.get("batch_size", 32))
    return list(train(model, sgd, *loaders, epochs, eval_mode))


def agree(together: list[dict], alone: list[list[dict]]) -> None:
    for k, rows in enumerate(alone):
        for epoch, row in zip(together, rows, strict=True):
            for name in ("train_loss", "val_loss"):
                assert epoch[name][k].item() == pytest.approx(row[name], abs=1e-4), (k, row)
            assert epoch["val_accuracy"][k].item() == pytest.approx(row["val_accuracy"], abs=5e-4)


@pytest.mark.parametrize(
    "sizes",
    [(3200, 500), pytest.param((55_000, 5_000), marks=pytest.mark.whole)],  # no image is left over
    ids=["some images", "all images"],
)
def test_members_with_their_own_seed_lr_and_dropout_are_their_single_runs(sizes):
    images = load()
    images.x, images.y = images.x[: sum(sizes)], images.y[: sum(sizes)]
    parts = dict(zip(("train_size", "val_size"), sizes, strict=True))
    together = list(train_ensemble(images, MEMBERS, epochs=2, **parts))
    agree(together, [single(images, member, sizes) for member in MEMBERS])


@pytest.mark.parametrize("changed", [{"eval_mode": True}, {"hidden": 16, "batch_size": 50}])
def test_what_is_common_to_all_members_is_that_of_the_single_runs(changed):
    sizes = {"train_size": 1600, "val_size": 401}
    images = load()
    together = list(train_ensemble(images, MEMBERS[:2], epochs=2, **sizes, **changed))
    agree(together, [single(images, m, tuple(sizes.values()), **changed) for m in MEMBERS[:2]])


def test_an_ensemble_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    next(train_ensemble(load(), MEMBERS[:2], train_size=64, val_size=32))
    assert torch.equal(before, torch.get_rng_state())


def test_each_member_draws_the_masks_and_the_order_of_its_single_run_to_the_last_bit():
    images, sizes, shape = load(), (64, 40), (32, 64)
    unused = len(images) - sum(sizes)
    starts = [_start(member, [*sizes, unused], 64) for member in MEMBERS]
    group = _Group(images.x.flatten(1), images.y, MEMBERS, starts)
    order = [x for x, _ in group.batches(group.order, 32)]
    masks = [group.masks(*shape) for _ in range(2)]
    for k, member in enumerate(MEMBERS):
        torch.manual_seed(member.seed)
        build_model(64, member.dropout)
        alone, _ = split_loaders(images, *sizes, 32)
        assert all(torch.equal(x[k], y.flatten(1)) for x, (y, _) in zip(order, alone, strict=True))
        for mask in masks:
            assert torch.equal(mask[k], dropout(torch.ones(shape), member.dropout))
