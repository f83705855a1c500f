"""Distances to what is in the way, by examples worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ddiffpg.obstacles import Box, Cylinder, Obstacles, Solids


def test_a_box_is_measured_from_its_sides_and_corners_and_negative_inside():
    box = Box((1.0, 2.0), (0.5, 0.25))
    points = np.array([[2.0, 2.0], [1.0, 3.0], [1.8, 2.65], [1.0, 2.0], [1.4, 2.0]])
    # right of it 0.5; above 0.75; from the corner (1.5, 2.25) a 3-4-5 triangle; centre 0.25 from the long sides;
    # and 0.1 from the right side.
    np.testing.assert_allclose(Solids((box,)).distance(points), [0.5, 0.75, 0.5, -0.25, -0.1], atol=1e-12)


def test_a_turned_box_turns_counter_clockwise():
    box = Box((0.0, 0.0), (1.0, 0.1), yaw=math.pi / 4)
    along, across = np.array([math.sqrt(0.5)] * 2), np.array([-math.sqrt(0.5), math.sqrt(0.5)])
    np.testing.assert_allclose(Solids((box,)).distance(np.stack([2 * along, 2 * across])), [1.0, 1.9])


def test_a_cylinder_is_measured_from_its_mantle():
    points = np.array([[3.0, 4.0], [0.0, 0.5]])
    np.testing.assert_allclose(Solids((Cylinder((0.0, 0.0), 1.0),)).distance(points), [4.0, -0.5])


def test_declared_and_sensed_are_apart_and_the_nearest_counts():
    shapes = (Box((5.0, 0.0), (1.0, 1.0)), Cylinder((-2.0, 0.0), 0.5))
    obstacles = Obstacles(0.0, shapes, np.array([[0.0, 2.0], [0.0, -0.7]]))
    found = obstacles.distance(np.array([[0.0, 0.0], [3.0, 0.0]]))
    np.testing.assert_allclose(found.declared, [1.5, 1.0])
    np.testing.assert_allclose(found.sensed, [0.7, math.hypot(3.0, 0.7)])


def test_nothing_there_is_infinitely_far():
    found = Obstacles(0.0).distance(np.zeros((3, 2)))
    assert np.isinf(found.declared).all() and np.isinf(found.sensed).all()
    assert len(Obstacles(0.0).approach_shapes(np.zeros(2)).distance) == 0


SHAPES = [Box((0.3, -0.2), (0.5, 0.25), 0.7), Box((0.0, 0.0), (1.0, 1.0)), Cylinder((0.1, 0.4), 0.6)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(5))
def test_approach_agrees_with_distance_and_its_direction_is_where_it_shrinks(shape, seed):
    point = np.random.default_rng(seed).uniform(-1.5, 1.5, 2)
    distance, direction, _ = Obstacles(0.0, (shape,)).approach_shapes(point)
    here, there = Solids((shape,)).distance(np.stack([point, point + 1e-6 * direction[0]]))
    assert distance[0] == pytest.approx(here)
    assert np.linalg.norm(direction[0]) == pytest.approx(1.0)
    assert (here - there) / 1e-6 == pytest.approx(1.0, abs=1e-3)


def test_approach_from_the_very_centre_has_a_direction():
    for shape in (Box((0.0, 0.0), (1.0, 1.0)), Cylinder((0.0, 0.0), 1.0)):
        distance, direction, _ = Obstacles(0.0, (shape,)).approach_shapes(np.zeros(2))
        assert distance[0] == -1.0 and np.linalg.norm(direction[0]) == pytest.approx(1.0)


def test_only_near_points_are_approached():
    obstacles = Obstacles(0.0, points=np.array([[9.0, 0.0], [0.0, 2.0], [1.0, 0.0], [0.0, 0.0]]))
    near, seen = obstacles.approach_points(np.zeros(2), within=2.5)
    assert near.tolist() == [1, 2, 3]
    np.testing.assert_allclose(seen.distance, [2.0, 1.0, 0.0])
    np.testing.assert_allclose(seen.direction, [[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_shapes_and_points_must_be_finite_and_sized(bad):
    with pytest.raises(ValueError, match="Box"):
        Box((bad, 0.0), (1.0, 1.0))
    with pytest.raises(ValueError, match="Cylinder"):
        Cylinder((0.0, 0.0), bad)
    with pytest.raises(ValueError, match="points"):
        Obstacles(0.0, points=np.array([[0.0, bad]]))


def test_empty_shapes_and_wrong_points_are_refused():
    with pytest.raises(ValueError, match="more than 0"):
        Box((0.0, 0.0), (1.0, 0.0))
    with pytest.raises(ValueError, match="more than 0"):
        Cylinder((0.0, 0.0), -1.0)
    with pytest.raises(ValueError, match=r"\[N, 2\]"):
        Obstacles(0.0, points=np.zeros((4, 4)))


# ---- what moves --------------------------------------------------------------------------------


def test_what_moves_is_wherever_it_will_be_without_gaps():
    moving, still = Cylinder((0.0, 0.0), 0.25), Box((5.0, 0.0), (0.5, 0.5))
    obstacles = Obstacles(0.0, (moving, still), velocities=((0.5, 0.0), (0.04, 0.0)))
    assert obstacles.moves and obstacles.still().shapes == (still,)
    assert obstacles.swept(1.0).shapes == (moving, still, Cylinder((0.25, 0.0), 0.25), Cylinder((0.5, 0.0), 0.25))
    np.testing.assert_allclose(obstacles.swept(1.0).distance(np.array([[1.0, 0.0]])).declared, [0.25])


def test_what_stands_is_only_where_it_is():
    obstacles = Obstacles(0.0, (Box((5.0, 0.0), (0.5, 0.5)),))
    assert not obstacles.moves
    assert obstacles.swept(9.0).shapes == obstacles.still().shapes == obstacles.shapes


@pytest.mark.parametrize("velocities", [((1.0, 0.0), (1.0, 0.0)), ((1.0,),), ((math.nan, 0.0),)])
def test_velocities_are_two_finite_numbers_for_each_shape(velocities):
    with pytest.raises(ValueError, match=r"Obstacles\.velocities"):
        Obstacles(0.0, (Box((5.0, 0.0), (0.5, 0.5)),), velocities=velocities)


def test_how_fast_shapes_come_nearer_by_themselves():
    """Seen from the origin: one ahead that comes, one above that goes away to the left, and one that stands."""
    there = (Cylinder((2.0, 0.0), 0.5), Cylinder((0.0, 2.0), 0.5), Cylinder((-2.0, 0.0), 0.5))
    seen = Obstacles(0.0, there, velocities=((-0.3, 0.1), (-1.0, 0.2), (0.0, 0.0))).approach_shapes(np.zeros(2))
    np.testing.assert_allclose(seen.coming, [0.3, -0.2, 0.0], atol=1e-12)
    space = Obstacles(0.0, there, velocities=((-0.3, 0.1), (-1.0, 0.2), (0.0, 0.0))).approach_shapes(np.zeros(3))
    np.testing.assert_allclose(space.coming, [0.3, -0.2, 0.0], atol=1e-12)
