"""How many ways there are: none too many, none too few, and the library that they are counted in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddiffpg_core.clustering import PathLibrary, cluster
from ddiffpg_core.config import ModesConfig
from ddiffpg_core.paths import dtw
from tests.core.support import ways_along

CONFIG = ModesConfig()
APART = 1.2
LEFT = ((0, 0), (0, -1), (-2, -1), (-2, 0))
RIGHT = ((0, 0), (0, 1), (-2, 1), (-2, 0))


def labels(ways: np.ndarray, config: ModesConfig = CONFIG) -> np.ndarray:
    return cluster(dtw(ways, ways), APART, config).label


def assert_same_partition(label: np.ndarray, truth: np.ndarray) -> None:
    """The same groups, whatever they are called; -1 is a group of its own."""
    np.testing.assert_array_equal(label[:, None] == label, truth[:, None] == truth)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("count", "spread"), [(4, 0.05), (30, 0.05), (60, 0.15), (120, 0.25), (40, 0.6), (40, 0.8)])
def test_one_way_is_one_cluster(seed, count, spread):
    # cutting at 0.7 of the largest merge, as the authors do, would make two of it every time
    label = labels(ways_along(LEFT, count, np.random.default_rng(seed), spread))
    assert label.max() == 0
    assert (label == 0).mean() >= 1 - CONFIG.outliers_max


def test_one_way_taken_exactly_the_same_each_time():
    assert set(labels(np.repeat(ways_along(LEFT, 1, np.random.default_rng(0)), 20, axis=0))) == {0}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shares", [(20, 20), (60, 6), (100, 4)])
def test_two_ways_are_two_clusters(seed, shares):
    rng = np.random.default_rng(seed)
    ways = np.concatenate([ways_along(LEFT, shares[0], rng), ways_along(RIGHT, shares[1], rng)])
    truth = np.repeat([0, 1], shares)
    order = rng.permutation(len(ways))
    label = labels(ways[order])
    assert_same_partition(label, truth[order])
    assert (label == 0).sum() == max(shares)  # the largest comes first


def test_two_near_ways_to_each_of_two_far_goals_are_four():
    # the two to one goal are 2 m apart, the goals 20 m: a rule that looks for the widest gap sees the goals only
    rng = np.random.default_rng(1)
    routes = [[(0, 0), (side * 5, up), (side * 10, up), (side * 10, 0)] for side in (-1, 1) for up in (-1, 1)]
    ways = np.concatenate([ways_along(route, 15, rng) for route in routes])
    assert_same_partition(labels(ways), np.repeat(range(4), 15))


@pytest.mark.parametrize("count", [7, 12, 25])
def test_any_number_of_ways(count):
    # more than ten silently became one in the authors' release
    rng = np.random.default_rng(2)
    angle = np.arange(count) * 2 * np.pi / count
    radius = 1.5 * count / np.pi  # ends 3 m apart
    ways = np.concatenate([ways_along(((0, 0), (radius * np.cos(a), radius * np.sin(a))), 8, rng) for a in angle])
    config = ModesConfig(max_modes=count)
    assert_same_partition(labels(ways, config), np.repeat(range(count), 8))


def test_more_ways_than_allowed_keep_the_largest():
    rng = np.random.default_rng(3)
    sizes = (10, 9, 8, 7, 6)
    ways = np.concatenate([ways_along(((0, 0), (4, 3 * i)), n, rng) for i, n in enumerate(sizes)])
    truth = np.repeat([0, 1, 2, -1, -1], sizes)
    assert_same_partition(labels(ways, ModesConfig(max_modes=3)), truth)


def test_outliers_belong_to_no_cluster():
    rng = np.random.default_rng(4)
    odd = np.concatenate([ways_along(((0, 0), (9, 9)), 1, rng), ways_along(((0, 0), (-9, 9)), 1, rng)])
    ways = np.concatenate([ways_along(LEFT, 20, rng), odd, ways_along(RIGHT, 20, rng)])
    assert_same_partition(labels(ways), np.repeat([0, -1, 1], [20, 2, 20]))


@pytest.mark.parametrize(("gap", "count"), [(0.4, 1), (1.0, 1), (1.4, 2)])
def test_ways_nearer_than_what_counts_as_apart_are_one(gap, count):
    # two clean bundles are well apart for every rule that knows of proportions only
    rng = np.random.default_rng(5)
    ways = np.concatenate([ways_along(((0, y), (4, y)), 20, rng, 0.01) for y in (0.0, gap)])
    assert len(set(labels(ways))) == count


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_too_few_to_tell_are_one(count):
    rng = np.random.default_rng(6)
    ways = np.concatenate([ways_along(LEFT, 1, rng), ways_along(RIGHT, 1, rng)] * 4)[:count]
    assert set(labels(ways)) == {0}


def through(heights: np.ndarray) -> np.ndarray:
    """Ways from (0, 0) to (6, 0) that pass the middle at these heights (m)."""
    rng = np.random.default_rng(0)
    return np.concatenate([ways_along(((0, 0), (2, y), (4, y), (6, 0)), 1, rng, 0.0) for y in heights])


def test_a_way_as_wide_as_a_room_is_one_and_a_wall_in_it_makes_two():
    # the outermost pass 5 m apart, far more than what tells two ways apart, and small steps lead from one to the other
    rng = np.random.default_rng(8)
    heights = rng.uniform(-2.5, 2.5, 100)
    assert_same_partition(labels(through(heights)), np.zeros(100, int))
    behind = heights[abs(heights) > 0.7]
    assert_same_partition(labels(through(behind)), (behind > 0).astype(int))


def test_few_and_scattered_paths_are_not_a_way_each():
    # 1.5 m apart, each alone; more than what joins, and there is nothing that could be told from chance
    assert labels(through(np.arange(12) * 1.5)).max() == 0


SPOKES = st.lists(st.integers(CONFIG.min_cluster, 20), min_size=1, max_size=6)


@settings(max_examples=20, deadline=None)
@given(sizes=SPOKES, seed=st.integers(0, 2**32 - 1))
def test_bundles_are_counted_whatever_their_shares_and_their_order(sizes, seed):
    # ends on a circle of 6 m are at least 6 m apart; bundles of 0.1 m
    rng = np.random.default_rng(seed)
    ends = [(6 * np.cos(a), 6 * np.sin(a)) for a in 2 * np.pi * np.arange(len(sizes)) / 6]
    ways = np.concatenate([ways_along(((0, 0), end), n, rng, 0.1) for end, n in zip(ends, sizes)])
    order = rng.permutation(len(ways))
    assert_same_partition(labels(ways[order]), np.repeat(np.arange(len(sizes)), sizes)[order])


# ---- the library ----------------------------------------------------------------------------------


def library(size: int) -> PathLibrary:
    return PathLibrary(ModesConfig(library=size, path_points=20), 2)


def test_library_knows_all_distances():
    rng = np.random.default_rng(8)
    ways = np.concatenate([ways_along(LEFT, 5, rng), ways_along(RIGHT, 5, rng)])
    lib = library(100)
    for part, born in zip(np.array_split(ways, 4), np.array_split(np.arange(10), 4)):
        lib.add(part, np.zeros(len(part), int), born)
    np.testing.assert_allclose(lib.distance, dtw(ways, ways), atol=1e-5)
    np.testing.assert_array_equal(lib.path, ways)


def test_the_commonest_makes_room_oldest_first():
    # 3, 6 and 4 of owners 0, 1 and 2 into 9: levelled to 3 each, the newest of each
    lib = library(9)
    owner = np.repeat([0, 1, 2], [3, 6, 4])
    lib.add(ways_along(LEFT, 13, np.random.default_rng(0)), owner, np.arange(13))
    assert lib.born.tolist() == [0, 1, 2, 6, 7, 8, 10, 11, 12]


def test_library_stays_bounded_and_keeps_what_is_rare():
    # the authors' cache of distances never shrinks
    rng = np.random.default_rng(9)
    lib = library(30)
    lib.add(ways_along(RIGHT, 6, rng), np.full(6, 1), np.arange(6))
    for k in range(10):
        born = 6 + 20 * k + np.arange(20)
        lib.add(ways_along(LEFT, 20, rng), np.full(20, 0), born)
        assert len(lib.path) <= 30
    assert (lib.owner == 1).sum() == 6
    assert sorted(lib.born[lib.owner == 0]) == list(range(182, 206))  # the newest of the common one
    np.testing.assert_allclose(lib.distance, dtw(lib.path, lib.path), atol=1e-5)


def test_medoid_is_the_middle_one():
    lines = np.stack([np.stack([np.linspace(0, 4, 20), np.full(20, y)], 1) for y in (0.0, 0.1, 0.5, 9.0)])
    lib = library(10)
    lib.add(lines.astype(np.float32), np.zeros(4, int), np.arange(4))
    # of y = 0, 0.1, 0.5 the one at 0.1 is nearest to the others: 0.1 + 0.4 against 0.6 and 0.9
    np.testing.assert_array_equal(lib.medoid(np.array([0, 1, 2])), lines[1].astype(np.float32))


def test_silhouette_says_how_clearly_modes_are_apart():
    rng = np.random.default_rng(0)
    one, many = library(40), library(40)
    for corners, owner in ((LEFT, 3), (RIGHT, 5)):
        many.add(ways_along(corners, 10, rng), np.full(10, owner), np.arange(10))
    assert 0.9 < many.silhouette() < 1.0
    many.owner[::2] = 3  # half of each under the same name
    assert many.silhouette() < 0.3
    one.add(ways_along(LEFT, 10, rng), np.full(10, 3), np.arange(10))
    assert one.silhouette() is None
