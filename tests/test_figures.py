"""What the figures draw, read from their artists: each number, colour, name and limit."""

import io
import math

import IPython.display
import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

from mnist_nb import figures
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
# and those that know their own
CHARTS = LABELLED | {
    "losses": lambda: figures.losses(HISTORY),
    "batch losses": lambda: figures.batch_losses({"a": torch.ones(60)}),
    "confusion": lambda: figures.confusion(torch.eye(3)),
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
    """The names in the legend, which stands without a frame."""
    assert not figure.axes[0].get_legend().get_frame_on()
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


@pytest.mark.parametrize("kind", CHARTS)
def test_a_chart_fits_the_page_and_has_two_spines_and_level_grid_lines(kind):
    figure = CHARTS[kind]()
    (ax,) = figure.axes
    assert figure.get_size_inches().tolist() == ([6, 5.5] if kind == "confusion" else [7, 4])
    assert isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine)
    assert {side: spine.get_visible() for side, spine in ax.spines.items()} == {
        "left": True, "bottom": True, "top": False, "right": False,
    }  # fmt: skip
    across, up = ax.get_ygridlines(), ax.get_xgridlines()
    assert {line.get_visible() for line in across} == {kind != "confusion"}
    assert {line.get_color() for line in across} == {"#dddddd"}
    assert not any(line.get_visible() for line in up)


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


@pytest.mark.parametrize(
    "figure", [figures.losses(HISTORY), figures.bands({"a": RUNS}, {})], ids=["losses", "bands"]
)
def test_epochs_are_counted_in_whole_numbers(figure):
    figure.draw_without_rendering()
    ticks = figure.axes[0].get_xticks()
    assert len(ticks) >= 2 and all(tick == round(tick) for tick in ticks)


def test_images_are_drawn_in_order_upright_in_ink_with_their_titles():
    pictures = torch.rand(3, 28, 28)
    figure = figures.images(pictures, titles=["a", "b"], columns=2)
    assert [ax.get_title() for ax in figure.axes] == ["a", "b", "", ""]
    assert figure.axes[0].title.get_fontsize() == 11
    for ax, picture in zip(figure.axes, pictures, strict=False):
        (drawn,) = ax.images
        assert np.array_equal(drawn.get_array(), picture)
        assert drawn.get_extent() == [-0.5, 27.5, 27.5, -0.5]  # row 0 on top, column 0 left
        assert drawn.get_cmap().name == "gray_r" and drawn.get_clim() == (0, 1)
    assert not figure.axes[3].images
    for ax in figure.axes:
        assert not ax.get_frame_on() and not len(ax.get_xticks()) and not len(ax.get_yticks())


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
    assert isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine)


def test_images_with_a_limit_are_red_above_zero_and_blue_below_with_a_scale_beside_them():
    figure = figures.images(torch.zeros(4, 28, 28), columns=2, rows=["x", "y"], limit=0.5)
    *grid, scale = figure.axes
    for ax in grid:
        (drawn,) = ax.images
        assert drawn.get_cmap().name == "RdBu_r" and drawn.get_clim() == (-0.5, 0.5)
        assert ax.get_frame_on()
    assert [ax.get_ylabel() for ax in grid] == ["x", "", "y", ""]
    assert grid[0].yaxis.label.get_fontsize() == 11
    assert scale.get_ylabel() == "weight" and scale.get_ylim() == (-0.5, 0.5)
    figure.draw_without_rendering()  # the scale takes its room from all of them alike
    assert len({round(ax.get_position().width, 6) for ax in grid}) == 1


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
    assert {line.get_linewidth() for line in figure.axes[0].lines} == {2}
    assert legend(figure) == ["a", "b", "c", "d"]


def test_no_curve_is_left_out_without_a_word():
    with pytest.raises(ValueError):
        figures.curves({name: ([1], [1]) for name in "abcde"})
    with pytest.raises(ValueError):
        figures.bands({name: RUNS for name in "abcd"}, {})
    with pytest.raises(ValueError):
        figures.spreads({name: ([1, 2], RUNS) for name in "abcde"})
    with pytest.raises(ValueError):
        figures.bands({}, {name: ([1], [1]) for name in "abcd"})


def test_one_curve_alone_needs_no_legend_and_two_do():
    pair = {"a": ([1, 2], [3, 4]), "b": ([1, 2], [4, 3])}
    assert legend(figures.curves(pair)) == ["a", "b"]
    assert figures.curves({"a": pair["a"]}).axes[0].get_legend() is None


def test_up_to_twelve_points_are_marked():
    figure = figures.curves({"few": (range(12), range(12)), "many": (range(13), range(13))})
    assert [line.get_marker() for line in figure.axes[0].lines] == ["o", ""]


def test_a_histogram_counts_in_equal_ranges_from_0_to_1():
    figure = figures.histogram(np.array([0.05, 0.07, 0.35, 1.0]), bins=10)
    patches = figure.axes[0].patches
    assert [patch.get_height() for patch in patches] == [2, 0, 0, 1, 0, 0, 0, 0, 0, 1]
    assert [round(patch.get_x(), 9) for patch in patches] == [i / 10 for i in range(10)]
    assert {round(patch.get_width(), 9) for patch in patches} == {0.1}
    assert {patch.get_facecolor() for patch in patches} == {to_rgba(BLUE)}
    assert {patch.get_edgecolor() for patch in patches} == {to_rgba("white")}
    assert {patch.get_zorder() for patch in patches} == {2}  # in front of the grid lines
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
    mean, dots, _ = figure.axes[0].lines
    assert dots.get_markersize() == 3 and 0 < dots.get_zorder() < mean.get_zorder()
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
        assert bars[0].get_zorder() == 2  # in front of the grid lines
    assert ax.get_xticks().tolist() == [0, 1]
    assert legend(figure) == list(labels) and ax.get_legend()._ncols == len(labels)
    assert ax.get_legend()._loc == 9  # upper center, where the margin leaves room
    assert ax.margins()[1] == 0.15


def test_intervals_reach_from_low_to_high():
    figure = figures.intervals(*SHARES, line=0.0)
    (ax,) = figure.axes
    (points, caps, (bars,)), line = ax.containers[0], ax.lines[-1]
    assert points.get_xydata().tolist() == [[0, 0.5], [1, 0.6]]
    assert np.allclose(bars.get_segments(), [[[0, 0.4], [0, 0.7]], [[1, 0.55], [1, 0.65]]])
    assert (points.get_color(), points.get_linestyle(), points.get_marker()) == (BLUE, "None", "o")
    assert bars.get_color().tolist() == [list(to_rgba(BLUE))] and bars.get_linewidth() == 2
    assert [cap.get_markersize() for cap in caps] == [10, 10]
    assert line.get_ydata() == [0, 0]
    assert (line.get_color(), line.get_linestyle()) == (GREY, ":")
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
    assert {(t.get_ha(), t.get_va(), t.get_fontsize()) for t in ax.texts} == {
        ("center", "center", 11)
    }
    assert names_of_axes(figure) == ("answer given", "right answer")
    (drawn,) = ax.images
    assert np.allclose(drawn.get_array(), shares.sqrt())
    assert drawn.get_cmap().name == "Blues" and drawn.get_clim() == (0, 1)
    assert drawn.get_extent() == [-0.5, 2.5, 2.5, -0.5]  # row 0 on top, column 0 left
    assert ax.get_xticks().tolist() == ax.get_yticks().tolist() == [0, 1, 2]


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
    for offset, colour, band in zip(
        (0, 10, 20), (BLUE, RED, GREEN), figure.axes[0].collections, strict=True
    ):
        edges = {tuple(np.round(v, 6)) for v in band.get_paths()[0].vertices.tolist()}
        low, high = (round(offset + 3 + sign * 2 * math.sqrt(7), 6) for sign in (-1, 1))
        assert edges == {(1, low), (1, high), (2, offset + 2)}  # 3 ± 2 * sqrt(14 / 2), 2 ± 0
        assert band.get_facecolor().tolist() == [list(to_rgba(colour, 0.25))]
        assert band.get_linewidth() == 0
    for line in figure.axes[0].lines[3:]:
        assert line.get_markeredgecolor() == "black" and line.get_markersize() == 8
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
    for offset, colour, band in zip((0, 10), (BLUE, RED), figure.axes[0].collections, strict=True):
        edges = {tuple(np.round(v, 6)) for v in band.get_paths()[0].vertices.tolist()}
        low, high = (round(offset + 3 + sign * math.sqrt(7), 6) for sign in (-1, 1))
        assert edges == {(1, low), (1, high), (10, offset + 2)}  # 3 ± sqrt(14 / 2), 2 ± 0
        assert band.get_facecolor().tolist() == [list(to_rgba(colour, 0.25))]
