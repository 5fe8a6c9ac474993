"""What the drawings of the data show, read from their artists."""

import pytest
import torch
from matplotlib.colors import to_rgba

from mnist_nb.figures import RED, dataset


def test_differences_are_bars_from_zero_each_with_its_signed_number():
    (ax,) = dataset.differences(torch.tensor([0.77, -0.521, 0.0]), "digit", "points").axes
    assert [bar.get_height() for bar in ax.patches] == pytest.approx([0.77, -0.521, 0])
    assert [bar.get_y() for bar in ax.patches] == [0, 0, 0]
    assert [text.get_text() for text in ax.texts] == ["+0.77", "−0.52", "+0.00"]
    assert ax.lines[0].get_ydata() == [0, 0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("digit", "points")


def test_notes_stand_above_the_points_of_their_line():
    lines = {"a": ([1, 2], [50, 60]), "b": ([1, 2], [10.0, 12.0])}
    (ax,) = dataset.noted(lines, {"b": ["0", "1, 7"]}, xlabel="tenths").axes
    assert [(*text.get_position(), text.get_text()) for text in ax.texts] == [
        (1, 14, "0"), (2, 16, "1, 7"),
    ]  # fmt: skip
    colours = {line.get_label(): to_rgba(line.get_color()) for line in ax.lines}
    assert {to_rgba(text.get_color()) for text in ax.texts} == {colours["b"]} == {to_rgba(RED)}
    assert ax.get_ylim() == (0, 100)
    assert list(ax.get_xticks()) == [1, 2]
