"""What the figures about probabilities draw, read from their artists."""

import math

import numpy as np
import torch

from mnist_nb.figures import probabilities


def test_the_measures_are_minus_ln_p_and_1_minus_p_with_the_losses_at_the_marks():
    (ax,) = probabilities.measures([0.5, 0.25]).axes
    p, loss = ax.lines[0].get_data()
    assert np.allclose(loss, -np.log(p))
    assert (p[0].item(), p[-1].item()) == (np.float32(0.005), 1)
    assert np.allclose(ax.lines[1].get_data(), (p, 1 - p))
    marks = [line.get_xydata().tolist() for line in ax.lines[2:]]
    assert marks == [[[0.5, math.log(2)]], [[0.25, math.log(4)]]]
    assert [text.get_text() for text in ax.texts] == ["0.69 at 0.5", "1.39 at 0.25"]


def test_each_push_is_a_bar_and_the_right_class_of_each_image_is_named():
    push = torch.tensor([[0.5, -0.25, -0.25], [-0.125, -0.25, 0.375]])
    (ax,) = probabilities.pushes(push, torch.tensor([0, 2])).axes
    heights = [[bar.get_height() for bar in drawn] for drawn in ax.containers]
    assert heights == push.tolist()
    assert [text.get_text() for text in ax.texts] == [
        "right class\n0.50", "−0.25", "−0.25", "−0.12", "−0.25", "right class\n0.38",
    ]  # fmt: skip
    low, high = ax.get_ylim()
    assert low < -0.25 and high > 0.5
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["image 1", "image 2"]


def test_images_and_their_part_of_the_loss_stand_in_the_tenth_of_their_probability():
    p = torch.tensor([0.05, 0.55, 0.55, 1.0])
    (ax,) = probabilities.loss_by_probability(p).axes
    images, loss = ([bar.get_height() for bar in drawn] for drawn in ax.containers)
    assert images == [25, 0, 0, 0, 0, 50, 0, 0, 0, 25]
    part = 100 * math.log(0.05) / (math.log(0.05) + 2 * math.log(0.55))
    assert np.allclose(loss, [part, 0, 0, 0, 0, 100 - part, 0, 0, 0, 0])
    ticks = [tick.get_text() for tick in ax.get_xticklabels()]
    assert (ticks[0], ticks[9]) == ("0.0\nto 0.1", "0.9\nto 1.0")
    assert [text.get_text() for text in ax.texts][:6] == ["25", "0", "0", "0", "0", "50"]
