"""Ways as curves, against cases worked by hand and a plain loop."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ddiffpg_core.paths import direct, distance_to_way, dtw, erase_loops, mean_gap, pairwise, rarity, resample, way


def plain_dtw(a: np.ndarray, b: np.ndarray, order: float) -> float:
    """The textbook's recursion, one cell at a time; of order infinity it is the discrete Fréchet distance."""
    n, m = len(a), len(b)
    total = np.full((n + 1, m + 1), np.inf)
    total[0, 0] = 0.0
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            gap = float(np.linalg.norm(a[i - 1] - b[j - 1]))
            before = min(total[i - 1, j], total[i, j - 1], total[i - 1, j - 1])
            total[i, j] = max(gap, before) if math.isinf(order) else gap**order + before
    return total[n, m] if math.isinf(order) else (total[n, m] / n) ** (1.0 / order)


def line(*points: tuple[float, float]) -> np.ndarray:
    return np.array(points, float)


# ---- dynamic time warping -------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1.0, 2.0, 4.0, math.inf])
@pytest.mark.parametrize("points", [1, 2, 7])
def test_dtw_is_the_plain_recursion(order, points):
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(3, points, 2)), rng.normal(size=(4, points, 2))
    expected = [[plain_dtw(x, y, order) for y in b] for x in a]
    np.testing.assert_allclose(dtw(a, b, order), expected, rtol=1e-12)


@pytest.mark.parametrize("order", [1.0, math.inf])
def test_many_pairs_are_compared_in_parts_that_fit_together(order):
    # more pairs than are compared at a time, and no multiple of it: 70 x 70 alone, then 3 x 5000
    rng = np.random.default_rng(9)
    few, many = rng.normal(size=(70, 3, 2)), rng.normal(size=(5000, 3, 2))
    np.testing.assert_array_equal(pairwise(few, order), dtw(few, few, order))
    whole = dtw(few[:3], many, order)
    assert whole.shape == (3, 5000)
    for i, j in ((0, 0), (1, 4095), (2, 4096), (1, 4999)):
        assert whole[i, j] == pytest.approx(plain_dtw(few[i], many[j], order))
    assert dtw(many, few[:3], order) == pytest.approx(whole.T)


def test_nothing_to_compare():
    ways = np.zeros((2, 4, 2), np.float32)
    assert dtw(ways[:0], ways).shape == (0, 2)
    assert dtw(ways, ways[:0]).shape == (2, 0)
    assert pairwise(ways[:0]).shape == (0, 0)


def test_dtw_of_order_two_is_that_of_dtaidistance():
    ndim = pytest.importorskip("dtaidistance.dtw_ndim", reason="dtaidistance is not installed")
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(2, 3, 12, 2))
    # there: the root of the summed squares; here: the root of their mean over 12 points
    expected = [[ndim.distance(x, y) / np.sqrt(12) for y in b] for x in a]
    np.testing.assert_allclose(dtw(a, b, 2.0), expected, rtol=1e-9)


def test_dtw_of_a_line_to_its_parallel_is_their_distance():
    # three pairs 1 m apart; every detour through the table adds a pair
    a, b = line((0, 0), (1, 0), (2, 0)), line((0, 1), (1, 1), (2, 1))
    for order in (1.0, 4.0, math.inf):
        assert dtw(a[None], b[None], order)[0, 0] == pytest.approx(1.0)


def test_dtw_warps_time():
    # |a - b| over a = 0, 1, 2 (rows) and b = 0, 0, 2 (columns):
    #   0 0 2
    #   1 1 1     cheapest way down to the right: 0, 0, 1, 0 = 1, over three points
    #   2 2 0
    a, b = line((0, 0), (1, 0), (2, 0)), line((0, 0), (0, 0), (2, 0))
    assert dtw(a[None], b[None], 1.0)[0, 0] == pytest.approx(1 / 3)
    assert dtw(a[None], b[None])[0, 0] == pytest.approx(1.0)  # the worst pair on the best way


def test_dtw_is_symmetric_and_zero_on_itself():
    ways = np.random.default_rng(5).normal(size=(6, 9, 2))
    distance = dtw(ways, ways)
    np.testing.assert_allclose(distance, distance.T, rtol=1e-12)
    np.testing.assert_allclose(np.diag(distance), 0.0, atol=1e-12)


def test_a_large_order_sees_a_short_difference():
    # two of twenty points are 1.5 m off the line, the rest is on it:
    # order 1: 2 x 1.5 / 20 = 0.15;  order 4: (2 x 1.5^4 / 20)^(1/4) = 0.84;  the largest: 1.5
    a = np.stack([np.arange(20.0), np.zeros(20)], 1)
    b = a.copy()
    b[9:11, 1] = 1.5
    assert dtw(a[None], b[None], 1.0)[0, 0] == pytest.approx(0.15)
    assert dtw(a[None], b[None], 4.0)[0, 0] == pytest.approx((2 * 1.5**4 / 20) ** 0.25)
    assert dtw(a[None], b[None])[0, 0] == pytest.approx(1.5)


# ---- resampling -----------------------------------------------------------------------------------


def test_resample_spaces_points_evenly_along_the_length():
    # an L of 1 m and 3 m: five points are 1 m apart, however the corner's points were spaced
    path = line((0, 0), (0.9, 0), (1, 0), (1, 0.1), (1, 3))
    np.testing.assert_allclose(resample(path, 5), line((0, 0), (1, 0), (1, 1), (1, 2), (1, 3)))


def test_resample_of_a_path_that_stands_still():
    np.testing.assert_array_equal(resample(line((2, 3), (2, 3), (2, 3)), 4), np.tile([2.0, 3.0], (4, 1)))


def test_resample_takes_any_dimension():
    path = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 4.0]])
    np.testing.assert_allclose(resample(path, 3)[:, 2], [0, 2, 4])


# ---- loops ----------------------------------------------------------------------------------------


def steps(*corners: tuple[float, float], size: float = 0.1) -> np.ndarray:
    """Through the corners in steps of about ``size``."""
    parts = [np.array([corners[0]], float)]
    for a, b in zip(corners[:-1], corners[1:]):
        count = round(float(np.hypot(b[0] - a[0], b[1] - a[1])) / size)
        parts.append(np.linspace(a, b, count + 1)[1:])
    return np.concatenate(parts)


def test_a_way_without_loops_stays_as_it_is():
    straight = steps((0, 0), (3, 0))
    around = steps((0, 0), (0, -1), (-2, -1), (-2, 0))
    np.testing.assert_array_equal(erase_loops(straight, 0.6), straight)
    np.testing.assert_array_equal(erase_loops(around, 0.6), around)


def test_a_detour_is_cut_where_it_comes_back():
    # from (1, 0) up to (1, 2) and back, then on: nothing of the detour above the radius is left
    path = steps((0, 0), (1, 0), (1, 2), (1, 0), (3, 0))
    kept = erase_loops(path, 0.6)
    assert kept[:, 1].max() <= 0.6
    np.testing.assert_array_equal(kept[[0, -1]], path[[0, -1]])
    assert all(any((point == old).all() for old in path) for point in kept)


def test_wandering_about_one_place_is_cut_to_the_way_out():
    circle = [(np.cos(a), np.sin(a)) for a in np.linspace(0, 6 * np.pi, 19)]
    path = steps(*circle, (4, 0))
    length = np.linalg.norm(np.diff(erase_loops(path, 0.6), axis=0), axis=1).sum()
    assert length < 4.5  # from (1, 0) to (4, 0) are 3 m; three rounds would be 18 m more


def test_order_of_points_is_kept():
    rng = np.random.default_rng(6)
    path = np.cumsum(rng.normal(size=(200, 2)) * 0.2, axis=0)
    kept = erase_loops(path, 0.6)
    where = [int(np.flatnonzero((path == p).all(1))[0]) for p in kept]
    assert where[0] == 0
    assert where[-1] == 199
    assert all(a < b for a, b in zip(where, where[1:]))


def test_way_is_loops_out_then_resampled():
    path = steps((0, 0), (1, 0), (1, 2), (1, 0), (3, 0))
    found = way(path, 10, 0.6)
    assert found.shape == (10, 2)
    np.testing.assert_array_equal(found, resample(erase_loops(path, 0.6), 10))


# ---- distance to a way ----------------------------------------------------------------------------


def test_distance_to_a_polyline():
    corner = line((0, 0), (2, 0), (2, 2))
    points = line((1, 1), (1, -0.5), (-3, -4), (2.25, 1), (2, 2))
    # (1, 1) is 1 m from both legs; (-3, -4) is nearest to the first end, 5 m
    np.testing.assert_allclose(distance_to_way(points, corner), [1, 0.5, 5, 0.25, 0])


def test_distance_to_a_way_with_a_point_twice():
    np.testing.assert_allclose(distance_to_way(line((1, 1)), line((0, 0), (0, 0), (2, 0))), [1])


def test_mean_gap_is_to_the_nearest_points():
    # half a way along y = 0 keeps 1 m from the one at y = 1, and 0 from its own; its points need not be as many
    ways = np.stack([line((0, 0), (1, 0)), line((0, 0), (0, -2))])
    others = np.stack([line((0, 1), (1, 1), (2, 1)), line((0, 0), (1, 0), (2, 0))])
    np.testing.assert_allclose(mean_gap(ways, others), [[1, 0], [2, 1]])


def test_mean_gap_of_many_is_that_of_each():
    rng = np.random.default_rng(7)
    ways, others = rng.normal(size=(150, 20, 2)), rng.normal(size=(30, 20, 2))
    every = mean_gap(ways, others)
    for i in (0, 82, 83, 149):
        np.testing.assert_allclose(every[i], mean_gap(ways[i : i + 1], others)[0])


# ---- detours --------------------------------------------------------------------------------------


def lines(*ends_and_lengths: tuple[tuple[float, float], float]) -> np.ndarray:
    """Ways of three points from the origin to an end, as long as given."""
    out = []
    for (x, y), length in ends_and_lengths:
        # up at half way: two legs of half the length each
        height = np.sqrt((length / 2) ** 2 - (x**2 + y**2) / 4)
        across = np.array([-y, x]) / np.hypot(x, y)
        out.append(np.stack([np.zeros(2), np.array([x, y]) / 2 + height * across, np.array([x, y])]))
    return np.array(out).reshape(-1, 3, 2)


def test_a_way_twice_as_long_as_the_shortest_to_its_end_is_a_detour():
    ways = lines(((4, 0), 4), ((4, 0), 7.9), ((4, 0), 8.1), ((4.5, 0), 20), ((0, 9), 17))
    # the first four end within 1.2 m of each other; the last ends elsewhere, where it is the shortest itself
    assert direct(ways, ways[:0], 0.6, 2.0).tolist() == [True, True, False, False, True]


def test_detours_are_known_by_what_was_found_before():
    ways, known = lines(((4, 0), 9)), lines(((4, 0), 4), ((-4, 0), 4))
    assert direct(ways, ways[:0], 0.6, 2.0).tolist() == [True]
    assert direct(ways, known, 0.6, 2.0).tolist() == [False]
    assert direct(ways[:0], known, 0.6, 2.0).tolist() == []


def test_rarity_is_of_the_rarest_place_by_hand():
    # cells of 1 m: all three begin in (0, 0); two go on to (1, 0), one of them to (2, 0); the third goes to (0, 1)
    ways = np.array([[(0, 0), (1, 0), (1, 0)], [(0, 0), (1, 0), (2, 0)], [(0, 0), (0.2, 0.9), (0, 1)]], float)
    assert rarity(ways, 1.0).tolist() == [0.5, 1.0, 1.0]
    assert rarity(ways - 7.3, 1.0).shape == (3,)
    assert rarity(np.repeat(ways[:1], 4, 0), 1.0).tolist() == [0.25] * 4
