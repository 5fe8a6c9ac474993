"""What the figures draw, read from their artists: each number, name and limit.

Their looks are compared as pictures, in test_pictures.py: colours, lines and markers, sizes,
layout, fonts, grid lines, ticks, which way is up.
"""

import base64
import io
import math

import IPython.display
import matplotlib
import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup
from PIL import Image, ImageColor

from mnist_nb import figures
from mnist_nb.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY, many_runs

RUNS = np.array([[1.0, 2.0], [2.0, 2.0], [6.0, 2.0]])  # standard deviations sqrt(7) and 0
GROUPS = {"a": RUNS, "b": RUNS + 10, "c": RUNS + 20}
SHARES = np.array([[0.5, 0.6], [0.4, 0.55], [0.7, 0.65]])  # and where their intervals begin, end
HISTORY = [
    {"epoch": 3, "train_loss": 1.0, "val_loss": 0.5},
    {"epoch": 4, "train_loss": 0.4, "val_loss": 0.375},
]
PUBLISHED = {"train_loss": [0.23, 0.21, 0.2], "val_loss": [0.25]}
LN_10 = math.log(10)
# how a figure is drawn, and its lines in the order of the legend: label -> points
LINES = {
    "losses": (
        lambda: figures.losses(HISTORY),
        {
            "training": [[3, 1.0], [4, 0.4]],
            "validation": [[3, 0.5], [4, 0.375]],
            "guessing: ln 10": [[0, LN_10], [1, LN_10]],
        },
    ),
    "losses and published ones": (
        lambda: figures.losses(HISTORY, PUBLISHED),
        {
            "training, this run": [[3, 1.0], [4, 0.4]],
            "training, as published": [[1, 0.23], [2, 0.21], [3, 0.2]],
            "validation, this run": [[3, 0.5], [4, 0.375]],
            "validation, as published": [[1, 0.25]],
            "guessing: ln 10": [[0, LN_10], [1, LN_10]],
        },
    ),
    "curves": (
        lambda: figures.curves({"a": ([1, 2], [3, 4]), "b": ([1], [0.5])}),
        {"a": [[1, 3], [2, 4]], "b": [[1, 0.5]]},
    ),
    "means of four batches and the batches": (
        lambda: figures.batch_losses({"run": torch.tensor([0.0, 1, 2, 3, 4, 11])}, 4, dots=True),
        {
            "run, mean of 4": [[2, 1.5], [3, 2.5], [4, 5.0]],
            "one batch": [[0, 0], [1, 1], [2, 2], [3, 3], [4, 4], [5, 11]],
            "guessing: ln 10": [[0, LN_10], [1, LN_10]],  # from edge to edge
        },
    ),
    "means of fifty batches": (
        lambda: figures.batch_losses({"a": torch.arange(60.0), "b": torch.ones(51)}),
        {
            "a, mean of 50": [[25 + i, 24.5 + i] for i in range(11)],
            "b, mean of 50": [[25, 1], [26, 1]],
            "guessing: ln 10": [[0, LN_10], [1, LN_10]],
        },
    ),
    "bands": (
        lambda: figures.bands(GROUPS, {"x": ([1, 3], [2.5, 0]), "y": ([2], [1])}),
        {
            "a": [[1, 3], [2, 2]], "b": [[1, 13], [2, 12]], "c": [[1, 23], [2, 22]],
            "x": [[1, 2.5], [3, 0]], "y": [[2, 1]],
        },
    ),
    "spreads": (
        lambda: figures.spreads({name: ([1, 10], runs) for name, runs in GROUPS.items()}),
        {"a": [[1, 3], [10, 2]], "b": [[1, 13], [10, 12]], "c": [[1, 23], [10, 22]]},
    ),
}  # fmt: skip


def test_the_colours_are_those_of_okabe_and_ito_and_a_grey():
    assert (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY) == (
        "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#595959",
    )  # fmt: skip


def legend(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


@pytest.mark.parametrize(("draw", "expected"), LINES.values(), ids=LINES)
def test_each_line_has_its_points_and_its_name_in_the_legend(draw, expected):
    figure = draw()
    lines = {line.get_label(): line.get_xydata().tolist() for line in figure.axes[0].lines}
    assert lines == expected
    assert legend(figure) == list(expected)


def edges(band) -> set[tuple[float, float]]:
    return {tuple(np.round(point, 6)) for point in band.get_paths()[0].vertices.tolist()}


def test_bands_reach_two_standard_deviations_up_and_down():
    for mean, band in zip((3, 13, 23), LINES["bands"][0]().axes[0].collections, strict=True):
        high, low = (round(mean + reach * math.sqrt(7), 6) for reach in (2, -2))
        assert edges(band) == {(1, low), (1, high), (2, mean - 1)}


def test_spreads_reach_from_the_lowest_run_to_the_highest():
    bands = LINES["spreads"][0]().axes[0].collections
    for runs, band in zip(GROUPS.values(), bands, strict=True):
        ends = {
            (x, end) for x, of in zip((1, 10), runs.T, strict=True) for end in (min(of), max(of))
        }
        assert edges(band) == ends


@pytest.mark.parametrize(
    "draw",
    [
        lambda **labels: figures.curves({"a": ([1, 2], [3, 4])}, **labels),
        lambda **labels: figures.bars({"a": [1, 2]}, **labels),
        lambda **labels: figures.intervals(*SHARES, **labels),
        lambda **labels: figures.bands({"a": RUNS}, {}, **labels),
        lambda **labels: figures.spreads({"a": ([1, 2], RUNS)}, **labels),
    ],
)
def test_a_chart_has_the_names_the_limits_and_the_scale_it_is_given(draw):
    (ax,) = draw(xlabel="across", ylabel="up", ylim=(0.25, 40), yscale="log").axes
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("across", "up")
    assert ax.get_ylim() == (0.25, 40) and ax.get_yscale() == "log"
    assert draw().axes[0].get_yscale() == "linear"


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
    assert [line.get_marker() for line in figure.axes[0].lines] == ["o", ""]
    assert figures.curves({"a": ([1, 2], [3, 4])}).axes[0].get_legend() is None


def test_images_are_drawn_in_order_with_their_titles():
    pictures = torch.rand(3, 28, 28)
    axes = figures.images(pictures, titles=["a", "b"], columns=2).axes
    assert [ax.get_title() for ax in axes] == ["a", "b", "", ""]
    drawn = [image.get_array() for ax in axes for image in ax.images]
    assert np.array_equal(drawn, pictures)


@pytest.mark.parametrize(("n", "places"), [(8, 8), (9, 16)])
def test_images_stand_in_rows_of_eight_the_last_of_them_filled_up(n, places):
    assert len(figures.images(torch.zeros(n, 28, 28)).axes) == places


def test_images_with_a_limit_have_a_scale_up_to_it_on_both_sides_of_zero():
    *grid, scale = figures.images(torch.zeros(4, 28, 28), columns=2, limit=0.5).axes
    assert {ax.images[0].get_clim() for ax in grid} == {scale.get_ylim()} == {(-0.5, 0.5)}


@pytest.mark.parametrize(("labels", "width"), [("a", 0.8), ("ab", 0.4), ("abc", 0.8 / 3)])
def test_bars_stand_side_by_side_at_their_numbers(labels, width):
    groups = {label: [3 * place + 1, 3 * place + 2] for place, label in enumerate(labels)}
    figure = figures.bars(groups)
    left = -width * len(labels) / 2  # of the first bar
    for place, bars in enumerate(figure.axes[0].containers):
        assert [bar.get_height() for bar in bars] == groups[labels[place]]
        edges = [bar.get_x() for bar in bars]
        assert edges == pytest.approx([left + place * width, 1 + left + place * width])
        assert bars[0].get_width() == pytest.approx(width)
    assert legend(figure) == list(labels)


def test_intervals_reach_from_low_to_high():
    (ax,) = figures.intervals(*SHARES, line=0.0).axes
    (points, _, (bars,)), line = ax.containers[0], ax.lines[-1]
    assert points.get_xydata().tolist() == [[0, 0.5], [1, 0.6]]
    assert np.allclose(bars.get_segments(), [[[0, 0.4], [0, 0.7]], [[1, 0.55], [1, 0.65]]])
    assert line.get_ydata() == [0, 0]
    assert len(figures.intervals(*SHARES).axes[0].lines) == len(ax.lines) - 1


def test_the_confusion_matrix_is_drawn_with_the_truth_in_rows_in_percent():
    shares = torch.tensor([[0.898, 0.097, 0.0049], [0.0051, 0.594, 0.401], [0.001, 0.601, 0.399]])
    (ax,) = figures.confusion(shares).axes
    assert {tuple(map(int, text.get_position())): text.get_text() for text in ax.texts} == {
        (0, 0): "90", (1, 0): "10",  # (column, row)
        (0, 1): "1", (1, 1): "59", (2, 1): "40",
        (1, 2): "60", (2, 2): "40",
    }  # fmt: skip
    assert np.allclose(ax.images[0].get_array(), shares.sqrt())


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


def shown_in_html(figure, alt, monkeypatch):
    """Return the image element that `show` displays, and its picture."""
    shown = []
    monkeypatch.setattr(IPython.display, "display", lambda data, **_: shown.append(data))
    figures.show(figure, alt)
    (image,) = BeautifulSoup(shown[0]["text/html"], "html.parser").find_all()
    return image, Image.open(io.BytesIO(base64.b64decode(image["src"].partition(",")[2])))


def test_the_html_has_the_alt_text_and_the_same_picture_with_twice_the_pixels(monkeypatch):
    alt = 'From "3" to <4> & on.'
    image, picture = shown_in_html(figures.curves({"a": ([1, 2], [3, 4])}), alt, monkeypatch)
    assert image["alt"] == alt
    assert picture.size == (1400, 800) and (image["width"], image["height"]) == ("700", "400")
    assert picture.getpixel((2, 2)) == (255, 255, 255) and not picture.info.get("exif")
    colours = {colour for _, colour in picture.getcolors(1 << 20)}
    assert ImageColor.getrgb(BLUE) in colours  # none is lost to make it small


def test_only_figures_that_show_no_pixels_turn_dark(monkeypatch):
    chart, _ = shown_in_html(figures.curves({"a": ([1, 2], [3, 4])}), "A line.", monkeypatch)
    digits, _ = shown_in_html(figures.images(torch.rand(2, 28, 28)), "Digits.", monkeypatch)
    assert (chart["class"], digits["class"]) == (["mnist-nb-chart"], ["mnist-nb-pixels"])


def test_a_logarithmic_axis_has_plain_numbers_at_1_2_and_5():
    (ax,) = figures.curves({"a": ([1, 2], [0.01, 3])}, yscale="log", ylim=(0.01, 3)).axes
    figures.plain_ticks(ax.yaxis)
    values = [value for value in ax.get_yticks() if 0.01 <= value <= 3]
    assert np.allclose(values, [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2])
    assert [ax.yaxis.get_major_formatter()(v) for v in (0.01, 0.5, 2)] == ["0.01", "0.5", "2"]
    assert ax.yaxis.get_minor_formatter()(0.3) == ""


def test_calibration_is_plotted_with_its_intervals_beside_a_bare_dotted_diagonal():
    low, high = [0.1, 0.7], [0.4, 1.0]
    (ax,) = figures.reliability([0.25, 0.75], [0.3, 1.0], low, high).axes
    (points, _, (bars,)), diagonal = ax.containers[0], ax.lines[0]
    assert points.get_xydata().tolist() == [[0.25, 0.3], [0.75, 1]]
    assert np.allclose(bars.get_segments(), [[[0.25, 0.1], [0.25, 0.4]], [[0.75, 0.7], [0.75, 1]]])
    assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
    assert diagonal.get_linestyle() == ":" and diagonal.get_marker() == "None"
    names = {"perfectly calibrated", "this network"}
    assert {text.get_text() for text in ax.get_legend().texts} == names


def test_pairs_are_joined_red_if_they_rise_and_blue_if_they_fall():
    figure = many_runs.paired({"a": (1, 3), "b": (2, 0.5)}, ("before", "after"), xlabel="seed")
    *joins, first, second = figure.axes[0].lines
    assert [line.get_xydata().tolist() for line in joins] == [[[0, 1], [0, 3]], [[1, 2], [1, 0.5]]]
    assert [line.get_color() for line in joins] == [RED, BLUE]
    assert first.get_xydata().tolist() == [[0, 1], [1, 2]]
    assert second.get_xydata().tolist() == [[0, 3], [1, 0.5]]
    assert [line.get_marker() for line in (first, second)] == ["o", "s"]
    assert [line.get_markerfacecolor() for line in (first, second)] == ["white", "black"]
    assert legend(figure) == ["before", "after"]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["a", "b"]


def test_a_gap_is_drawn_with_its_errors_and_coloured_if_it_counts():
    figure = many_runs.gaps({"a": (1.0, 0.25), "b": (-1.0, 0.5)}, xlabel="points")
    (ax,) = figure.axes
    spans = [bar.lines[2][0].get_segments()[0] for bar in ax.containers]
    assert [span[:, 0].tolist() for span in spans] == [[0.25, 1.75], [-2.5, 0.5]]
    assert [bar.lines[0].get_color() for bar in ax.containers] == [BLUE, GREY]
    assert [text.get_text() for text in ax.texts] == ["+1.00 ± 0.25", "−1.00 ± 0.50"]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a", "b"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first row is on top


def test_a_map_has_each_number_in_its_place():
    figure = many_runs.number_map(
        np.array([[0.0, 1.0, 2.0], [3.0, 4.0, 10.0]]), "ab", "xyz", 0, 10
    )
    (ax,) = figure.axes
    found = {text.get_position(): text.get_text() for text in ax.texts}
    assert (found[(2, 1)], found[(1, 0)]) == ("10.0", "1.0")
    assert np.array_equal(ax.images[0].get_array(), [[0, 1, 2], [3, 4, 10]])
    assert len(found) == 6
    assert [text.get_text() for text in ax.get_xticklabels()] == ["x", "y", "z"]
