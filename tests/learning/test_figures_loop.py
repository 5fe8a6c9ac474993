"""What the curves of the training loop draw, read from their artists."""

import pytest
import torch

from mnist_nb.figures import loop


def points(ax) -> dict:
    """Label -> x and y of each line, as lists."""
    return {line.get_label(): [list(map(float, row)) for row in line.get_data()]
            for line in ax.lines}  # fmt: skip


def test_each_layer_is_a_line_of_means_in_each_panel_and_an_incomplete_window_is_left_out():
    steps = torch.arange(5.0)[:, None]
    panels = {"norm": steps + torch.tensor([0, 10, 20]), "ratio": steps * torch.ones(3)}
    figure = loop.layers_over_training(panels, per_epoch=4, window=2)
    left, right = figure.axes
    x = [0.25, 0.75]
    assert points(left) == {"first layer": [x, [0.5, 2.5]], "second layer": [x, [10.5, 12.5]],
                            "last layer": [x, [20.5, 22.5]]}  # fmt: skip
    assert set(map(str, points(right).values())) == {str([x, [0.5, 2.5]])}
    assert [ax.get_ylabel() for ax in figure.axes] == ["norm", "ratio"]
    assert left.get_xlabel() == "epochs (means of 2 steps)" and left.get_ylim()[0] == 0
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["first layer", "second layer", "last layer"]
    with pytest.raises(ValueError):
        loop.layers_over_training({"norm": torch.rand(4, 2)}, per_epoch=4, window=2)


def test_losses_stand_at_their_epochs_from_1_with_a_mark_and_up_to_the_top():
    losses = {"training": torch.tensor([3.0, 1.0]), "validation": torch.tensor([2.0, 1.5])}
    (ax,) = loop.losses_by_epoch(losses, mark=2, top=1.6).axes
    drawn = points(ax)
    assert drawn["training"] == [[1, 2], [3, 1]] and drawn["validation"] == [[1, 2], [2, 1.5]]
    assert drawn["epoch 2"][0] == [2, 2] and ax.get_ylim() == (0, 1.6)
    assert "above 1.6" in ax.get_xlabel() and "nats" in ax.get_ylabel()
    assert [t.get_text() for t in ax.get_legend().get_texts()] == list(drawn)
