"""Ways on the roadmap, by examples worked by hand."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from ddiffpg.contract import ContractError
from ddiffpg.modes import Rules, WayMap
from ddiffpg.obstacles import Box, Cylinder, Obstacles
from ddiffpg.roadmap import Roadmap, resample
from tests.robot.scripted_policy import MAZE_V1, MAZE_V4, contract_of

RULES = Rules(radius=0.1, margin=0.1, least_margin=0.1, tolerance=0.1, spare=0.1)
STRAIGHT = {0: [(0.0, 0.0), (4.0, 0.0)]}
# Three ways to one goal at (4, 0), which they share the last metre of: straight, by y = 2, by y = -2.
SHARED_END = {
    0: [(0.0, 0.0), (4.0, 0.0)],
    1: [(0.0, 0.0), (0.0, 2.0), (3.0, 2.0), (3.0, 0.0), (4.0, 0.0)],
    2: [(0.0, 0.0), (0.0, -2.0), (3.0, -2.0), (3.0, 0.0), (4.0, 0.0)],
}


def ways_of(ways, position, obstacles=None, clearance=0.5, rules=RULES):
    found = WayMap(contract_of(ways, clearance), rules).look(np.array(position, float), obstacles)
    return {way.id: way for way in found}


def corridor_of(ways, position, mode, obstacles=None):
    way_map = WayMap(contract_of(ways), RULES)
    position = np.array(position, float)
    way = next(w for w in way_map.look(position, obstacles) if w.id == mode)
    return way_map.corridor(way, position)


def shapes(*found):
    return Obstacles(0.0, found)


def sensed(*points):
    return Obstacles(0.0, points=np.array(points, float))


# ---- the roadmap -------------------------------------------------------------------------------


def test_resampling_keeps_both_ends_and_equal_steps():
    points, values = resample(np.array([[0.0, 0.0], [0.25, 0.0], [0.25, 0.3]]), np.array([1.0, 2.0, 0.5]))
    assert points[0].tolist() == [0.0, 0.0] and points[-1].tolist() == [0.25, 0.3]
    assert len(points) == 7  # 0.55 m in 6 steps of 0.0917 m
    np.testing.assert_allclose(values[[0, -1]], [1.0, 0.5])
    assert values[2] == pytest.approx(1.0 + 2 * 0.55 / 6 / 0.25)


def test_a_path_that_stays_in_one_place_is_one_node():
    points, _ = resample(np.zeros((3, 2)), np.ones(3))
    assert points.shape == (1, 2)


def test_ways_in_space_are_refused_by_name():
    contract = dataclasses.replace(contract_of(STRAIGHT), path=("x",))
    with pytest.raises(ContractError) as caught:
        Roadmap(contract)
    assert caught.value.field == "path"


# ---- the corridor ------------------------------------------------------------------------------


def test_on_its_own_way_the_rest_of_it_is_left():
    way = ways_of(STRAIGHT, (1.0, 0.0))[0]
    assert way.length == pytest.approx(3.0, abs=1e-6)
    assert way.clearance == math.inf and not way.blocked
    corridor = corridor_of(STRAIGHT, (1.0, 0.0), 0)
    assert corridor[0].tolist() == [1.0, 0.0] and corridor[-1].tolist() == [4.0, 0.0]
    assert (np.diff(corridor[:, 0]) >= -1e-9).all()


def test_beside_the_way_it_is_joined_at_a_slant():
    way = ways_of(STRAIGHT, (1.0, 0.3))[0]
    # Somewhere between straight across and the nodes within 0.3 + 0.35 m.
    assert math.hypot(3.0, 0.3) - 1e-6 <= way.length <= 3.3


def test_from_the_middle_of_another_way_it_goes_back_to_where_they_part():
    # In maze v1 at (-1, -1) on mode 0: back 1 m to the corner, 1 m to the start, then mode 1 whole, 3.8 m.
    ways = ways_of(MAZE_V1, (-1.0, -1.0))
    assert ways[0].length == pytest.approx(1.8, abs=0.01)
    assert ways[1].length == pytest.approx(5.8, abs=0.15)
    corridor = corridor_of(MAZE_V1, (-1.0, -1.0), 1)
    assert np.linalg.norm(corridor, axis=1).min() < 0.35  # by the start
    assert np.linalg.norm(corridor - [-1.0, 1.0], axis=1).min() < 0.1  # on the other side


@pytest.mark.parametrize("x", [0.5, 1.5, 2.5])
def test_a_common_goal_is_no_short_cut_to_another_way(x):
    """Who comes to the goal by mode 0 has not taken mode 1: its corridor goes back to the start."""
    corridor = corridor_of(SHARED_END, (x, 0.0), 1)
    assert np.linalg.norm(corridor - [0.0, 1.0], axis=1).min() < 0.1
    assert ways_of(SHARED_END, (x, 0.0))[1].length == pytest.approx(x + 2.0 + 3.0 + 2.0 + 1.0, abs=0.3)


def test_on_the_common_part_every_way_is_the_rest_of_it():
    lengths = [way.length for way in ways_of(SHARED_END, (3.5, 0.0)).values()]
    np.testing.assert_allclose(lengths, 0.5, atol=0.05)


def test_ways_that_cross_can_be_changed_at_the_crossing():
    # In maze v4 at (-2, -0.5), on mode 1 before the crossing at (-2, 0); mode 3 leaves mode 2 at (-2, 1):
    # on to the crossing 0.5 m, against mode 2 to (-2, 1) 1 m, then 1 + 2 + 0.8 m to the end of mode 3.
    way = ways_of(MAZE_V4, (-2.0, -0.5))[3]
    assert way.length == pytest.approx(5.3, abs=0.2)


def test_a_wall_between_two_ways_is_not_crossed():
    """Two ways 0.3 m apart with something between them, 0.12 m from each: the way round is by their start."""
    ways = {0: [(0.0, 0.0), (2.0, 0.0)], 1: [(0.0, 0.0), (0.0, 0.3), (2.0, 0.3), (2.0, 2.0)]}
    open_, walled = (ways_of(ways, (1.5, 0.0), clearance=c)[1].length for c in (0.5, 0.12))
    assert open_ == pytest.approx(2.5, abs=0.15)
    assert walled == pytest.approx(1.5 + 0.3 + 2.0 + 1.7, abs=0.15)


def test_a_mode_to_which_no_known_road_leads_is_blocked():
    ways = ways_of({0: [(0.0, 0.0), (1.0, 0.0)], 1: [(5.0, 5.0), (6.0, 5.0)]}, (0.2, 0.0))
    assert not ways[0].blocked
    assert ways[1].blocked and ways[1].length == math.inf and len(ways[1].nodes) == 0


def test_away_from_all_ways_the_nearest_is_joined():
    way = ways_of(STRAIGHT, (2.0, 5.0))[0]
    assert way.length == pytest.approx(7.0, abs=0.4)


# ---- obstacles ---------------------------------------------------------------------------------


@pytest.mark.parametrize("y, blocked", [(0.0, True), (0.39, True), (0.41, False), (-0.39, True), (-0.41, False)])
def test_a_declared_shape_needs_radius_and_margin(y, blocked):
    # A box of half size 0.2 beside the way: its side is |y| - 0.2 from it, 0.2 is needed.
    way = ways_of(STRAIGHT, (0.0, 0.0), shapes(Box((2.0, y), (0.2, 0.2))))[0]
    assert way.blocked == blocked
    if abs(y) > 0.2:
        assert way.clearance == pytest.approx(abs(y) - 0.4, abs=1e-6)
    assert way.length == pytest.approx(4.0, abs=1e-5)


def test_what_lies_behind_the_robot_blocks_nothing():
    behind = shapes(Box((1.0, 0.0), (0.2, 0.2)))
    assert ways_of(STRAIGHT, (0.5, 0.0), behind)[0].blocked
    assert not ways_of(STRAIGHT, (1.5, 0.0), behind)[0].blocked


@pytest.mark.parametrize("gap", [-0.1, 0.02, 0.1, 0.15, 0.19])
def test_an_obstacle_that_touches_the_robot_from_behind_lets_it_leave(gap):
    behind = shapes(Box((1.0 - gap - 0.2, 0.0), (0.2, 0.2)))
    assert not ways_of(STRAIGHT, (1.0, 0.0), behind)[0].blocked


@pytest.mark.parametrize("gap", [-0.1, 0.02, 0.1, 0.15, 0.19])
def test_an_obstacle_that_touches_the_robot_from_ahead_blocks(gap):
    ahead = shapes(Box((1.0 + gap + 0.2, 0.0), (0.2, 0.2)))
    assert ways_of(STRAIGHT, (1.0, 0.0), ahead)[0].blocked


def test_a_blocked_way_leaves_the_other_one_free_and_the_other_way_round():
    for y, free, blocked in [(-1.0, 1, 0), (1.0, 0, 1)]:
        ways = ways_of(MAZE_V1, (0.0, 0.0), shapes(Box((-1.0, y), (0.2, 0.2))))
        assert ways[blocked].blocked and not ways[free].blocked


@pytest.mark.parametrize("x", np.arange(0.2, 2.3, 0.3))
def test_ahead_of_the_robot_a_block_closes_only_the_way_it_is_on(x):
    """Wherever it stands before the common end: the ways that go round it another way stay free."""
    ways = ways_of(SHARED_END, (x, 0.0), shapes(Box((x + 0.5, 0.0), (0.15, 0.15))))
    assert ways[0].blocked and not ways[1].blocked and not ways[2].blocked


def test_an_obstacle_at_the_common_goal_blocks_all():
    assert all(w.blocked for w in ways_of(SHARED_END, (1.0, 0.0), shapes(Cylinder((3.6, 0.0), 0.1))).values())


def test_a_free_way_round_is_found_where_the_shortest_way_back_is_blocked():
    """From (3, 1) on mode 1 back to the start, mode 0: its corridor may not lead through what is in between."""
    blocked_back = shapes(Box((1.5, 2.0), (0.2, 0.2)))
    assert not ways_of(SHARED_END, (3.0, 1.0))[0].blocked
    way = ways_of(SHARED_END, (3.0, 1.0), blocked_back)[0]
    assert way.blocked  # no other road leads back
    # In maze v4 two roads lead from (-3, 0) to mode 0: by mode 1 over (-2, -1), or all around.
    around = ways_of(MAZE_V4, (-3.0, 0.0), shapes(Box((-2.0, -0.5), (0.2, 0.2))))[0]
    assert not around.blocked
    # against the crossing 1 m, by mode 2 back 1 + 2 + 1 to the start, mode 0 whole: 1 + 2 + 1 + 2 + 0.8
    assert around.length == pytest.approx(5.0 + 6.8, abs=0.3)


def test_on_its_own_prototype_the_policy_goes_round_nothing():
    """In maze v4 at (-0.5, -1), which modes 0 and 1 pass alike, with a box ahead on it: both are blocked, though
    mode 1 could be joined again behind the box, by the start, mode 2 and the crossing. The others turn back."""
    ways = ways_of(MAZE_V4, (-0.5, -1.0), shapes(Box((-1.5, -1.0), (0.2, 0.2))))
    assert {i: (w.blocked, w.on_own) for i, w in ways.items()} == {
        0: (True, True),
        1: (True, True),
        2: (False, False),
        3: (False, False),
    }
    assert ways[2].length == pytest.approx(1.5 + 1.0 + 2.0 + 1.0 + 2.0 + 0.8, abs=0.3)


def test_a_blocked_way_has_its_length_without_any_penalty():
    free, blocked = (ways_of(MAZE_V1, (0.0, 0.0), o)[0] for o in (None, shapes(Box((-2.0, -0.6), (0.5, 0.5)))))
    assert blocked.blocked and blocked.length == pytest.approx(free.length, abs=0.01)


@pytest.mark.parametrize(
    "clearance, distance, blocked",
    [
        (0.5, 0.19, True),  # in the open it needs radius + margin = 0.2
        (0.5, 0.21, False),
        (0.25, 0.16, False),  # a wall was at 0.25: what is nearer than 0.15 is new
        (0.25, 0.14, True),
        (0.1, 0.10, False),  # it leaned on a wall: only what it would have run over is new
        (0.1, 0.04, True),
        (None, 0.11, False),  # not known: only what the robot would touch
        (None, 0.09, True),
    ],
)
def test_a_sensed_point_blocks_where_training_had_nothing(clearance, distance, blocked):
    points = sensed((2.0, distance), (2.02, distance), (-3.0, 0.0))
    assert ways_of(STRAIGHT, (0.5, 0.0), points, clearance)[0].blocked == blocked


def test_the_walls_of_training_leave_every_way_free():
    """A corridor 1 m wide, walls sensed all along it with 5 cm of error."""
    rng = np.random.default_rng(0)
    x = np.linspace(-0.5, 4.5, 300)
    walls = np.concatenate([np.stack([x, np.full(300, s)], 1) for s in (0.5, -0.5)])
    way = ways_of(STRAIGHT, (0.0, 0.0), Obstacles(0.0, points=walls + rng.uniform(-0.05, 0.05, walls.shape)))[0]
    assert not way.blocked


def test_a_corner_of_training_does_not_block_the_way_past_it_from_the_side():
    """A corner 0.12 m beside the way was there in training; the robot comes to it from 0.15 m aside."""
    corner = np.array([1.3, 0.12])
    contract = contract_of(STRAIGHT)
    path = np.array(contract.modes[0].path)
    known = tuple(np.linalg.norm(path - corner, axis=1).tolist())
    contract = dataclasses.replace(contract, modes=(dataclasses.replace(contract.modes[0], clearance=known),))
    for x in np.linspace(0.5, 2.0, 31):
        way = WayMap(contract, RULES).look(np.array([x, 0.15]), sensed(corner))[0]
        assert not way.blocked or abs(x - corner[0]) < 0.1  # there it would touch the corner


def test_something_between_robot_and_way_blocks_the_way_to_it():
    """The robot stands 0.6 m beside the way, a screen in between, all nodes themselves have room."""
    screen = shapes(Box((1.0, 0.32), (3.0, 0.05)))
    assert ways_of(STRAIGHT, (1.0, 0.62), screen)[0].blocked
    assert not ways_of(STRAIGHT, (1.0, 0.62))[0].blocked


def test_many_random_points_agree_with_plain_geometry():
    """Clearance by the index of nodes is that by all distances."""
    rng = np.random.default_rng(1)
    way_map = WayMap(contract_of(STRAIGHT), RULES)
    nodes = way_map.roadmap.points
    for _ in range(20):
        points = rng.uniform([-1, -1], [5, 1], (30, 2))
        way = way_map.look(np.array([0.0, 0.0]), Obstacles(0.0, points=points))[0]
        nearest = np.linalg.norm(nodes[:, None] - points, axis=2).min()
        assert way.blocked == (nearest < 0.2)
        if nearest <= 0.3:
            assert way.clearance == pytest.approx(nearest - 0.2)
        else:
            assert way.clearance == math.inf


# ---- the end, and what is new ------------------------------------------------------------------


def test_beyond_the_end():
    way_map = WayMap(contract_of(MAZE_V1), RULES)  # mode 0 comes to (-2, -0.2) upwards in y
    assert way_map.beyond_end(0, np.array([-2.0, -0.2])) == pytest.approx((0.0, 0.0))
    assert way_map.beyond_end(0, np.array([-2.3, 0.2])) == pytest.approx((0.5, 0.4))
    assert way_map.beyond_end(0, np.array([-2.0, -0.5])) == pytest.approx((0.3, -0.3))


def test_what_stands_where_training_had_nothing_is_unexplained():
    way_map = WayMap(contract_of(STRAIGHT), RULES)
    points = np.array([[1.0, 0.5], [1.0, 0.41], [1.0, 0.39], [1.3, 0.0], [-0.6, 0.0]])
    found = way_map.room.unexplained(points, np.array([1.0, 0.0]))
    assert found.tolist() == [False, False, True, True, False]


def test_without_known_clearance_everything_is_unexplained():
    way_map = WayMap(contract_of(STRAIGHT, clearance=None), RULES)
    assert way_map.room.unexplained(np.array([[1.0, 0.5], [1.0, 3.0]]), np.array([1.0, 0.0])).all()
    assert way_map.room.unexplained(np.empty((0, 2)), np.zeros(2)).shape == (0,)


# ---- what moves, and junctions -----------------------------------------------------------------


def look(ways, position, obstacles, foresight=1.0):
    found = WayMap(contract_of(ways), RULES).look(np.array(position, float), obstacles, foresight)
    return {way.id: way for way in found}


def crossing(y, speed):
    """A cylinder beside the middle of ``STRAIGHT``, on its way across."""
    return Obstacles(0.0, (Cylinder((2.0, y), 0.2),), velocities=((0.0, speed),))


def test_what_will_be_in_the_way_blocks_it_and_can_be_waited_for():
    """1 m beside the way, 0.8 m/s towards it: within a second 0.2 m from it, which needs 0.4 m."""
    blocked = look(STRAIGHT, (0.0, 0.0), crossing(-1.0, 0.8))[0]
    assert (blocked.blocked, blocked.passing) == (True, True)
    assert not look(STRAIGHT, (0.0, 0.0), crossing(-1.0, -0.8))[0].blocked
    assert not look(STRAIGHT, (0.0, 0.0), crossing(-1.0, 0.8), foresight=0.0)[0].blocked


def test_what_comes_to_where_the_robot_is_is_not_waited_for_and_closes_no_way_but_where_it_is():
    """It is 1 m off and within a second at the robot; the way back along the other one is free all the while."""
    ways = {0: STRAIGHT[0], 1: [(0.0, 0.0), (0.0, 4.0)]}
    coming = Obstacles(0.0, (Cylinder((2.0, 0.0), 0.2),), velocities=((-0.8, 0.0),))
    found = look(ways, (1.0, 0.0), coming)
    assert (found[0].blocked, found[0].passing, found[1].blocked) == (True, False, False)


def test_what_stands_is_not_waited_for():
    both = (Cylinder((2.0, -1.0), 0.2), Box((3.0, 0.0), (0.1, 0.4)))
    stands = look(STRAIGHT, (0.0, 0.0), Obstacles(0.0, both, velocities=((0.0, 0.8), (0.0, 0.0))))[0]
    assert (stands.blocked, stands.passing) == (True, False)


def test_what_comes_to_where_the_robot_is_leaves_no_time():
    coming = Obstacles(0.0, (Cylinder((2.0, 0.0), 0.2),), velocities=((-0.8, 0.0),))
    assert look(STRAIGHT, (1.0, 0.0), coming)[0].haste
    assert not look(STRAIGHT, (0.0, 0.0), crossing(-1.0, 0.8))[0].haste


def test_before_what_comes_a_way_that_leads_nearer_to_it_is_blocked_as_long_as_another_leads_away():
    """It is 2 m off to the right, beside the way ahead: that is free now, and will not be when the robot is there."""
    ways = {0: STRAIGHT[0], 1: [(4.0, 0.0), (0.0, 0.0)]}
    coming = Obstacles(0.0, (Cylinder((3.0, 1.0), 0.2),), velocities=((-1.0, -0.5),))
    found = look(ways, (1.0, 0.0), coming, foresight=2.0)
    assert found[0].blocked and not found[0].passing and not found[1].blocked
    assert found[0].clearance == pytest.approx(1.0 - math.sqrt(5.0), abs=0.01)  # so much nearer than the robot is now


def test_before_what_comes_a_way_that_leads_nearer_is_better_than_none():
    coming = Obstacles(0.0, (Cylinder((3.0, 1.0), 0.2),), velocities=((-1.0, -0.5),))
    found = look(STRAIGHT, (1.0, 0.0), coming, foresight=2.0)
    assert found[0].haste and not found[0].blocked


# ---- narrow ways -------------------------------------------------------------------------------

# Two ways; each needs 0.2 m, and 0.1 m (the robot's radius) where none has that.
FORK = {0: STRAIGHT[0], 1: [(0.0, 0.0), (0.0, 4.0)]}
NARROW = dataclasses.replace(RULES, least_margin=0.0)
WALL = Box((3.0, 0.0), (0.1, 0.4))  # across the first


def beside_the_second(gap):
    return Box((0.3 + gap, 2.0), (0.3, 0.3))


def test_where_no_way_keeps_the_margin_one_that_keeps_less_counts():
    found = ways_of(FORK, (0.0, 0.0), shapes(WALL, beside_the_second(0.15)), rules=NARROW)
    assert found[0].blocked and not found[0].narrow
    assert found[1].narrow and found[1].clearance == pytest.approx(0.05, abs=1e-6)


def test_what_the_robot_would_touch_is_no_narrow_way():
    found = ways_of(FORK, (0.0, 0.0), shapes(WALL, beside_the_second(0.09)), rules=NARROW)
    assert found[0].blocked and found[1].blocked and not found[1].narrow
    none = ways_of(FORK, (0.0, 0.0), shapes(WALL, beside_the_second(0.15)), rules=RULES)
    assert none[1].blocked


def test_as_long_as_another_way_keeps_the_margin_a_narrow_one_is_blocked():
    found = ways_of(FORK, (0.0, 0.0), shapes(beside_the_second(0.15)), rules=NARROW)
    assert not found[0].blocked and found[1].blocked and not found[1].narrow


def test_while_something_moves_no_way_is_narrow():
    both = Obstacles(0.0, (WALL, beside_the_second(0.15)), velocities=((0.0, 0.0), (0.06, 0.0)))
    found = WayMap(contract_of(FORK), NARROW).look(np.zeros(2), both, 1.0)
    assert all(way.blocked for way in found)


def test_a_sensed_point_where_training_had_a_wall_is_no_narrow_way():
    """The wall of training was 0.25 m off: a point 0.16 m off is new, and the robot has 0.1 m."""
    found = ways_of(STRAIGHT, (0.0, 0.0), sensed((2.0, 0.14)), clearance=0.25, rules=NARROW)
    assert found[0].narrow
    found = ways_of(STRAIGHT, (0.0, 0.0), sensed((2.0, 0.08)), clearance=0.25, rules=NARROW)
    assert found[0].blocked


# Two ways that cross at (2, 0): the one from below to above, the other from above to below.
CROSSED = {
    0: [(0.0, 0.0), (0.0, -2.0), (2.0, -2.0), (2.0, 2.0), (4.0, 2.0)],
    1: [(0.0, 0.0), (0.0, 2.0), (1.0, 2.0), (1.0, 0.0), (3.0, 0.0), (3.0, -2.0), (4.0, -2.0)],
}


def test_where_no_mode_is_free_one_leads_to_where_another_can_be_taken_up():
    """The first is blocked behind the junction, the second before it: by the first to there, on by the second."""
    closed = shapes(Box((3.0, 2.0), (0.1, 0.4)), Box((0.5, 2.0), (0.1, 0.4)))
    ways = ways_of(CROSSED, (0.0, 0.0), closed)
    assert not ways[0].blocked and ways[1].blocked
    corridor = corridor_of(CROSSED, (0.0, 0.0), 0, closed)
    assert np.linalg.norm(corridor - (2.0, -2.0), axis=1).min() < 0.11
    np.testing.assert_allclose(corridor[-1], (4.0, -2.0))
    there = ways_of(CROSSED, (2.0, -0.1), closed)
    assert there[0].blocked and not there[1].blocked


def test_with_every_road_closed_no_mode_leads_anywhere():
    closed = shapes(Box((3.0, 2.0), (0.1, 0.4)), Box((0.5, 2.0), (0.1, 0.4)), Box((3.0, -1.0), (0.4, 0.1)))
    assert all(way.blocked for way in ways_of(CROSSED, (0.0, 0.0), closed).values())


def test_a_robot_that_passed_walls_nearer_than_its_radius_passes_them_again():
    """Legs fold: 0.2 m of room where the radius is 0.9. The wall of training is no obstacle, half of that room is."""
    path = tuple((0.5 * i, 0.0) for i in range(9))
    contract = dataclasses.replace(contract_of(MAZE_V1), robot_radius=0.9)
    mode = dataclasses.replace(contract.modes[0], path=path, clearance=(0.2,) * 9)
    ways = WayMap(dataclasses.replace(contract, modes=(mode,)), Rules(0.9, 0.1, 0.0, 0.1, 0.06))
    for gap, blocked in ((0.2, False), (0.05, True)):
        wall = Obstacles(0.0, (), np.array([[x, gap] for x in np.arange(0.0, 4.01, 0.05)]))
        (way,) = ways.look(np.zeros(2), wall)
        assert way.blocked == blocked
