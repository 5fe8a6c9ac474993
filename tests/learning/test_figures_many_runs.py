"""What the figures of many runs draw, read from their artists."""

import numpy as np
import pandas as pd

from mnist_nb.figures import ORANGE, RED, many_runs


def test_lines_over_tried_values_have_bands_and_marks_at_these_values_only():
    few = pd.DataFrame([[1.0, 2.0, 3.0], [2.0, 2.0, 5.0], [6.0, 2.0, 4.0]], columns=[4, 8, 1100])
    figure = many_runs.tried({"few": few, "more": few + 10}, xscale="log", xlabel="width")
    figure.draw_without_rendering()
    (ax,) = figure.axes
    assert [text.get_text() for text in ax.get_xticklabels()] == ["4", "8", "1,100"]
    assert ax.get_xticks(minor=True).size == 0
    means = {line.get_label(): line.get_xydata().tolist() for line in ax.lines}
    assert means["few"] == [[4, 3], [8, 2], [1100, 4]]
    assert means["more"] == [[4, 13], [8, 12], [1100, 14]]
    band = ax.collections[0].get_paths()[0].get_extents()
    assert (band.y0, band.y1) == (1, 6)
    assert ax.get_title() == "line: mean of 3 runs; band: lowest to highest"
    assert (ax.get_xscale(), ax.get_xlabel()) == ("log", "width")


def test_a_histogram_of_ratios_keeps_those_beyond_its_ends_and_marks_the_limits():
    (ax,) = many_runs.ratios([-99, -6, 0.1, 0.2, 2.6, 7], (2, 3)).axes
    heights = {round(bar.get_x(), 2): bar.get_height() for bar in ax.patches if bar.get_height()}
    assert heights == {-6: 2, 0: 2, 2.5: 1, 5.75: 1}
    assert [line.get_xdata()[0] for line in ax.lines] == [-2, 2, -3, 3]
    assert [line.get_color() for line in ax.lines] == [ORANGE, ORANGE, RED, RED]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["± 2", "± 3"]


def test_a_map_has_the_largest_number_of_each_column_in_bold():
    (ax,) = many_runs.number_map(np.array([[0.0, 4.0], [3.0, 5.0]]), "ab", "xy", 0, 5).axes
    assert {t.get_text() for t in ax.texts if t.get_fontweight() == "bold"} == {"3.0", "5.0"}
