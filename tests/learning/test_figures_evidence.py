"""What the figures of printed numbers beside many runs draw, read from their artists."""

import numpy as np

from mnist_nb.figures import evidence

RUNS = np.array([[1.0, 2.0], [2.0, 2.0], [6.0, 2.0]])  # standard deviations sqrt(7) and 0


def test_a_cloud_has_each_pair_the_point_and_an_ellipse_at_one_mahalanobis_distance():
    pairs = np.array([[1.0, 2.0], [2.0, 5.0], [6.0, 2.0], [3.0, 9.0]])
    figure = evidence.cloud(pairs, (4, 7), distance=2, xlabel="first", ylabel="second")
    (ax,) = figure.axes
    dots, ellipse, point = (line.get_xydata() for line in ax.lines)
    assert dots.tolist() == pairs.tolist() and point.tolist() == [[4, 7]]
    away = ellipse - pairs.mean(0)
    squared = np.einsum("ni,ij,nj->n", away, np.linalg.inv(np.cov(pairs.T)), away)
    assert np.allclose(squared, 2**2)
    assert np.allclose(ellipse[0], ellipse[-1]) and np.allclose(away[:-1].sum(0), 0)
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["4 runs", "D = 2", "published"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("first", "second")


def test_published_losses_are_filled_inside_two_standard_deviations_and_hollow_outside():
    runs = np.hstack([RUNS, RUNS + 10])  # means 3, 2, 13, 12; standard deviations sqrt(7), 0
    losses = [8.2, 2.5, 18.4, 12.5]  # 2 * sqrt(7) is 5.29
    grid = evidence.fits({"one": (6, runs), "two": (7, runs + 3)}, losses).axes
    assert [ax.get_title() for ax in grid[:2]] == ["one", "two"]
    for ax, first in zip(grid, (6, 7, 6, 7), strict=True):
        assert ax.get_xticks().tolist() == [first, first + 1]
    mean, inside, outside = (line.get_xydata().tolist() for line in grid[0].lines)
    assert (mean, inside, outside) == ([[6, 3], [7, 2]], [[6, 8.2]], [[7, 2.5]])
    mean, inside, outside = (line.get_xydata().tolist() for line in grid[2].lines)
    assert (mean, inside, outside) == ([[6, 13], [7, 12]], [], [[6, 18.4], [7, 12.5]])
    assert grid[0].lines[2].get_markerfacecolor() == "white"
    band = grid[0].collections[0].get_paths()[0].vertices
    assert np.allclose([band.min(0)[1], band.max(0)[1]], [3 - 2 * 7**0.5, 3 + 2 * 7**0.5])


def test_the_legend_of_the_fits_names_the_mean_the_band_and_both_kinds_of_points():
    figure = evidence.fits({"one": (1, np.hstack([RUNS, RUNS]))}, [1, 2, 3, 4])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "mean of 3 runs", "± 2 standard deviations", "published, inside", "published, outside",
    ]  # fmt: skip
