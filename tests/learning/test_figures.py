"""What the figures draw, read from their artists: each number, colour, name and limit.

Sizes, layout, fonts, widths, grid lines, colour maps and ticks at whole numbers are compared as
pictures, in test_pictures.py.
"""

import io
import math

import IPython.display
import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba
from PIL import Image

from mnist_nb import drawings, figures
from mnist_nb.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY

HISTORY = [
    {"epoch": 3, "train_loss": 1.0, "val_loss": 0.5},
    {"epoch": 4, "train_loss": 0.4, "val_loss": 0.375},
]
PUBLISHED = {"train_loss": [0.23, 0.21, 0.2], "val_loss": [0.25]}
RUNS = np.array([[1.0, 2.0], [2.0, 2.0], [6.0, 2.0]])
SHARES = np.array([[0.5, 0.6], [0.4, 0.55], [0.7, 0.65]])  # and where their intervals begin, end
# one of each that takes labels for its axes
LABELLED = {
    "curves": lambda **labels: figures.curves({"a": ([1, 2], [3, 4])}, **labels),
    "histogram": lambda **labels: figures.histogram([0.5], **labels),
    "bars": lambda **labels: figures.bars({"a": [1, 2]}, **labels),
    "intervals": lambda **labels: figures.intervals(*SHARES, **labels),
    "bands": lambda **labels: figures.bands({"a": RUNS}, {}, **labels),
    "spreads": lambda **labels: figures.spreads({"a": ([1, 2], RUNS)}, **labels),
}


def lines(figure) -> dict:
    return {line.get_label(): line.get_xydata().tolist() for line in figure.axes[0].lines}


def looks(figure) -> dict:
    return {
        line.get_label(): (line.get_color(), line.get_linestyle(), line.get_marker())
        for line in figure.axes[0].lines
    }


def names_of_axes(figure) -> tuple:
    return figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()


def legend(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_the_colours_are_those_of_okabe_and_ito_and_a_grey():
    assert (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY) == (
        "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#595959",
    )  # fmt: skip


@pytest.mark.parametrize("draw", LABELLED.values(), ids=LABELLED)
def test_a_chart_has_the_names_the_limits_and_the_scale_it_is_given(draw):
    figure = draw(xlabel="across", ylabel="up", ylim=(0.25, 40), yscale="log")
    (ax,) = figure.axes
    assert names_of_axes(figure) == ("across", "up")
    assert ax.get_ylim() == (0.25, 40) and ax.get_yscale() == "log"
    assert draw().axes[0].get_yscale() == "linear"


def test_losses_are_drawn_with_the_published_ones_dotted_beside_them():
    figure = figures.losses(HISTORY, PUBLISHED)
    assert lines(figure) == {
        "training": [[3, 1.0], [4, 0.4]],
        "training, as published": [[1, 0.23], [2, 0.21], [3, 0.2]],
        "validation": [[3, 0.5], [4, 0.375]],
        "validation, as published": [[1, 0.25]],
    }
    assert looks(figure) == {
        "training": (BLUE, "-", "o"),
        "training, as published": (BLUE, ":", "o"),
        "validation": (RED, "-", "s"),
        "validation, as published": (RED, ":", "s"),
    }
    faces = [line.get_markerfacecolor() for line in figure.axes[0].lines]
    assert faces == [BLUE, "white", RED, "white"]
    assert legend(figure) == list(lines(figure))
    assert names_of_axes(figure) == ("epoch", "cross-entropy loss (nats)")


def test_without_published_losses_there_are_two_lines_from_zero_up():
    figure = figures.losses(HISTORY)
    assert legend(figure) == list(lines(figure)) == ["training", "validation"]
    assert figure.axes[0].get_ylim()[0] == 0 < 1 < figure.axes[0].get_ylim()[1]


def test_images_are_drawn_in_order_upright_in_ink_with_their_titles():
    pictures = torch.rand(3, 28, 28)
    figure = figures.images(pictures, titles=["a", "b"], columns=2)
    assert [ax.get_title() for ax in figure.axes] == ["a", "b", "", ""]
    for ax, picture in zip(figure.axes, pictures, strict=False):
        (drawn,) = ax.images
        assert np.array_equal(drawn.get_array(), picture)
        assert drawn.get_extent() == [-0.5, 27.5, 27.5, -0.5]  # row 0 on top, column 0 left
        assert drawn.get_clim() == (0, 1)
    assert not figure.axes[3].images
    for ax in figure.axes:
        assert not len(ax.get_xticks()) and not len(ax.get_yticks())


@pytest.mark.parametrize(
    ("n", "columns", "rows", "height"),
    [(8, None, 1, 1.09375), (9, None, 2, 2.1875), (4, 2, 2, 8.75), (5, 2, 3, 13.125)],
)
def test_images_have_a_row_for_each_full_line_and_one_for_the_rest(n, columns, rows, height):
    options = {"columns": columns} if columns else {}
    figure = figures.images(torch.zeros(n, 28, 28), **options)
    assert len(figure.axes) == rows * (columns or 8)
    assert figure.axes[0].get_subplotspec().get_gridspec().get_geometry() == (rows, columns or 8)
    assert figure.get_size_inches().tolist() == [7, height]


def test_images_with_a_limit_are_red_above_zero_and_blue_below_with_a_scale_beside_them():
    figure = figures.images(torch.zeros(4, 28, 28), columns=2, rows=["x", "y"], limit=0.5)
    *grid, scale = figure.axes
    for ax in grid:
        (drawn,) = ax.images
        assert drawn.get_clim() == (-0.5, 0.5)
    assert [ax.get_ylabel() for ax in grid] == ["x", "", "y", ""]
    assert scale.get_ylabel() == "weight" and scale.get_ylim() == (-0.5, 0.5)


def test_curves_have_their_points_their_names_and_a_look_each():
    given = {"a": ([1, 2], [3, 4]), "b": ([1], [0.5]), "c": ([0], [0]), "d": ([5, 6], [7, 8])}
    figure = figures.curves(given)
    assert lines(figure) == {
        "a": [[1, 3], [2, 4]], "b": [[1, 0.5]], "c": [[0, 0]], "d": [[5, 7], [6, 8]],
    }  # fmt: skip
    assert looks(figure) == {
        "a": (BLUE, "-", "o"), "b": (RED, "--", "s"),
        "c": (GREEN, "-.", "^"), "d": (PURPLE, ":", "D"),
    }  # fmt: skip
    assert legend(figure) == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    "draw",
    [
        lambda: figures.curves({name: ([1], [1]) for name in "abcde"}),
        lambda: figures.bands({name: RUNS for name in "abcd"}, {}),
        lambda: figures.bands({}, {name: ([1], [1]) for name in "abcd"}),
        lambda: figures.spreads({name: ([1, 2], RUNS) for name in "abcde"}),
    ],
)
def test_no_line_is_left_out_without_a_word(draw):
    with pytest.raises(ValueError):
        draw()


def test_up_to_twelve_points_are_marked_and_one_curve_alone_needs_no_legend():
    figure = figures.curves({"few": (range(12), range(12)), "many": (range(13), range(13))})
    assert legend(figure) == ["few", "many"]
    assert [line.get_marker() for line in figure.axes[0].lines] == ["o", ""]
    assert figures.curves({"a": ([1, 2], [3, 4])}).axes[0].get_legend() is None


def test_a_histogram_counts_in_equal_ranges_from_0_to_1():
    figure = figures.histogram(np.array([0.05, 0.07, 0.35, 1.0]), bins=10)
    patches = figure.axes[0].patches
    assert [patch.get_height() for patch in patches] == [2, 0, 0, 1, 0, 0, 0, 0, 0, 1]
    assert [round(patch.get_x(), 9) for patch in patches] == [i / 10 for i in range(10)]
    assert {round(patch.get_width(), 9) for patch in patches} == {0.1}
    assert len(figures.histogram([0.5]).axes[0].patches) == 20


def test_batch_losses_are_means_of_a_window_placed_at_its_middle():
    given = torch.tensor([0.0, 1, 2, 3, 4, 11])
    figure = figures.batch_losses({"run": given}, window=4, dots=True)
    assert lines(figure) == {
        "run, mean of 4": [[2, 1.5], [3, 2.5], [4, 5.0]],
        "one batch": [[0, 0], [1, 1], [2, 2], [3, 3], [4, 4], [5, 11]],
        "guessing: ln 10": [[0, math.log(10)], [1, math.log(10)]],  # from edge to edge
    }
    assert looks(figure) == {
        "run, mean of 4": (BLUE, "-", "o"),
        "one batch": (SKY, "None", "."),
        "guessing: ln 10": (GREY, ":", "None"),
    }
    assert legend(figure) == ["run, mean of 4", "one batch", "guessing: ln 10"]
    assert names_of_axes(figure) == ("batch", "cross-entropy loss (nats)")
    assert figure.axes[0].get_ylim()[0] == 0 < 11 < figure.axes[0].get_ylim()[1]


def test_batch_losses_are_means_of_fifty_without_dots_unless_asked():
    figure = figures.batch_losses({"a": torch.arange(60.0), "b": torch.ones(51)})
    assert lines(figure)["a, mean of 50"] == [[25 + i, 24.5 + i] for i in range(11)]
    assert lines(figure)["b, mean of 50"] == [[25, 1], [26, 1]]
    assert legend(figure) == ["a, mean of 50", "b, mean of 50", "guessing: ln 10"]


@pytest.mark.parametrize(("labels", "width"), [("a", 0.8), ("ab", 0.4), ("abc", 0.8 / 3)])
def test_bars_stand_side_by_side_at_their_numbers(labels, width):
    groups = {label: [3 * place + 1, 3 * place + 2] for place, label in enumerate(labels)}
    figure = figures.bars(groups)
    (ax,) = figure.axes
    for place, bars in enumerate(ax.containers):
        heights, middles = zip(
            *[(bar.get_height(), bar.get_x() + bar.get_width() / 2) for bar in bars], strict=True
        )
        assert list(heights) == groups[labels[place]]
        left = -width * (len(labels) - 1) / 2  # the first one's middle
        assert middles == pytest.approx((left + place * width, 1 + left + place * width))
        assert bars[0].get_width() == pytest.approx(width) and bars[0].get_y() == 0
        assert bars[0].get_facecolor() == to_rgba((BLUE, ORANGE, GREEN)[place])
    assert ax.get_xticks().tolist() == [0, 1]
    assert legend(figure) == list(labels)


def test_intervals_reach_from_low_to_high():
    figure = figures.intervals(*SHARES, line=0.0)
    (ax,) = figure.axes
    (points, _, (bars,)), line = ax.containers[0], ax.lines[-1]
    assert points.get_xydata().tolist() == [[0, 0.5], [1, 0.6]]
    assert np.allclose(bars.get_segments(), [[[0, 0.4], [0, 0.7]], [[1, 0.55], [1, 0.65]]])
    assert line.get_ydata() == [0, 0]
    assert ax.get_xticks().tolist() == [0, 1]
    assert len(figures.intervals(*SHARES).axes[0].lines) == len(ax.lines) - 1


def test_the_confusion_matrix_is_drawn_with_the_truth_in_rows_in_percent():
    shares = torch.tensor([[0.898, 0.097, 0.0049], [0.0051, 0.594, 0.401], [0.001, 0.601, 0.399]])
    figure = figures.confusion(shares)
    (ax,) = figure.axes
    texts = {tuple(map(int, t.get_position())): (t.get_text(), t.get_color()) for t in ax.texts}
    assert texts == {  # (column, row)
        (0, 0): ("90", "white"), (1, 0): ("10", "black"),
        (0, 1): ("1", "black"), (1, 1): ("59", "white"), (2, 1): ("40", "white"),
        (1, 2): ("60", "white"), (2, 2): ("40", "black"),
    }  # fmt: skip
    assert names_of_axes(figure) == ("answer given", "right answer")
    (drawn,) = ax.images
    assert np.allclose(drawn.get_array(), shares.sqrt())
    assert drawn.get_clim() == (0, 1)
    assert drawn.get_extent() == [-0.5, 2.5, 2.5, -0.5]  # row 0 on top, column 0 left
    assert ax.get_xticks().tolist() == ax.get_yticks().tolist() == [0, 1, 2]


def check_bands(figure, deviations: int, x: list) -> None:
    """The bands of RUNS, RUNS + 10 and so on, whose standard deviations are sqrt(14 / 2) and 0."""
    colours = (BLUE, RED, GREEN)
    for place, band in enumerate(figure.axes[0].collections):
        edges = {tuple(np.round(v, 6)) for v in band.get_paths()[0].vertices.tolist()}
        low, high = (
            round(10 * place + 3 + sign * deviations * math.sqrt(7), 6) for sign in (-1, 1)
        )
        assert edges == {(x[0], low), (x[0], high), (x[1], 10 * place + 2)}
        assert band.get_facecolor().tolist() == [list(to_rgba(colours[place], 0.25))]
    assert len(figure.axes[0].collections) == sum(name in "abc" for name in lines(figure))


def test_bands_are_mean_and_two_standard_deviations_with_points_on_them():
    groups = {"a": RUNS, "b": RUNS + 10, "c": RUNS + 20}
    figure = figures.bands(groups, {name: ([1, 3], [2.5, i]) for i, name in enumerate("xyz")})
    assert lines(figure) == {
        "a": [[1, 3], [2, 2]], "b": [[1, 13], [2, 12]], "c": [[1, 23], [2, 22]],
        "x": [[1, 2.5], [3, 0]], "y": [[1, 2.5], [3, 1]], "z": [[1, 2.5], [3, 2]],
    }  # fmt: skip
    assert looks(figure) == {
        "a": (BLUE, "-", "None"), "b": (RED, "-", "None"), "c": (GREEN, "-", "None"),
        "x": (BLUE, "None", "o"), "y": (RED, "None", "s"), "z": (GREEN, "None", "D"),
    }  # fmt: skip
    check_bands(figure, 2, [1, 2])
    assert legend(figure) == ["a", "b", "c", "x", "y", "z"]


def test_a_figure_is_the_same_bytes_each_time_and_carries_its_alt_text(monkeypatch):
    shown = []
    monkeypatch.setattr(
        IPython.display, "display", lambda data, **more: shown.append((data, more))
    )
    for own in ({}, {"figure.dpi": 72, "savefig.format": "pdf"}):  # a person's settings
        with matplotlib.rc_context(own):
            figures.show(figures.curves({"a": ([1, 2], [3, 4])}), alt="It rises from 3 to 4.")
    assert shown[0] == shown[1]
    data, more = shown[0]
    assert data["text/plain"] == "It rises from 3 to 4."
    assert more == {"metadata": {"image/png": {"alt": "It rises from 3 to 4."}}, "raw": True}
    picture = Image.open(io.BytesIO(data["image/png"]))
    assert picture.format == "PNG" and picture.size == (700, 400)
    assert set(picture.info) == {"dpi"}  # no version, no date


def test_spreads_are_means_with_bands_of_one_standard_deviation():
    figure = figures.spreads({"a": ([1, 10], RUNS), "b": ([1, 10], RUNS + 10)}, xscale="log")
    assert lines(figure) == {"a": [[1, 3], [10, 2]], "b": [[1, 13], [10, 12]]}
    assert looks(figure) == {"a": (BLUE, "-", "o"), "b": (RED, "--", "s")}
    assert figure.axes[0].get_xscale() == "log" and legend(figure) == ["a", "b"]
    check_bands(figure, 1, [1, 10])


def test_pairs_are_joined_red_if_they_rise_and_blue_if_they_fall():
    figure = figures.paired({"a": (1, 3), "b": (2, 0.5)}, ("before", "after"), xlabel="seed")
    *joins, first, second = figure.axes[0].lines
    assert [line.get_xydata().tolist() for line in joins] == [[[0, 1], [0, 3]], [[1, 2], [1, 0.5]]]
    assert [line.get_color() for line in joins] == [RED, BLUE]
    assert first.get_xydata().tolist() == [[0, 1], [1, 2]]
    assert second.get_xydata().tolist() == [[0, 3], [1, 0.5]]
    assert [line.get_marker() for line in (first, second)] == ["o", "s"]
    assert [line.get_markerfacecolor() for line in (first, second)] == ["white", "black"]
    assert legend(figure) == ["before", "after"]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["a", "b"]


def words(ax) -> list[str]:
    return [text.get_text() for text in ax.texts if text.get_text()]


def boxes(ax) -> list[tuple]:
    """Left, bottom, width and height of each box."""
    return [(*box.get_xy(), box.get_width(), box.get_height()) for box in ax.patches]


def test_a_close_up_frames_a_piece_and_writes_its_bytes():
    picture = torch.arange(36, dtype=torch.uint8).view(6, 6) * 7
    left, right = drawings.close_up(picture, range(1, 3), range(2, 5)).axes
    assert np.array_equal(left.images[0].get_array(), picture)
    assert boxes(left) == [(1.5, 0.5, 3, 2)]
    assert np.array_equal(right.images[0].get_array(), picture[1:3, 2:5])
    assert right.images[0].get_extent() == [1.5, 4.5, 2.5, 0.5]  # row 1 on top
    assert [(*text.get_position(), text.get_text()) for text in right.texts] == [
        (2, 1, "56"), (3, 1, "63"), (4, 1, "70"), (2, 2, "98"), (3, 2, "105"), (4, 2, "112"),
    ]  # fmt: skip
    for ax in (left, right):
        assert ax.images[0].get_clim() == (0, 255)
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("column", "row")


def test_bytes_are_written_in_white_on_dark_pixels():
    _, right = drawings.close_up(torch.tensor([[127, 128]]), range(1), range(2)).axes
    assert [text.get_color() for text in right.texts] == ["black", "white"]


def test_the_start_of_a_file_is_a_box_per_byte_with_the_meaning_of_each_field():
    figure = drawings.file_start(b"\x07\x00\xff!", [(1, "type"), (2, "length")], ["one", "…"])
    (ax,) = figure.axes
    assert words(ax) == ["7", "type", "0", "255", "length", "one", "…", "header",
                         "one byte per pixel"]  # fmt: skip
    assert [round(left, 2) for left, *_ in boxes(ax)] == [0.05, 1.05, 2.05, 3.05, 12.05]
    edges = [box.get_edgecolor() for box in ax.patches[:3]]
    assert edges == [to_rgba(BLUE), to_rgba(ORANGE), to_rgba(ORANGE)]


def test_a_split_is_drawn_to_scale_with_its_sizes_and_what_stays_apart():
    (ax,) = drawings.split({"a": 900, "b": 300}, {"c": 500}).axes
    assert words(ax) == ["in the training files\n1,200", "c\n500", "a\n900", "b\n300"]
    assert boxes(ax) == [(0, 2.1, 1200, 0.8), (1300, 2.1, 500, 0.8), (0, 0, 900, 0.8),
                         (900, 0, 300, 0.8)]  # fmt: skip
    arrows = [text.xy[0] for text in ax.texts if not text.get_text()]
    assert arrows == [450, 1050]
