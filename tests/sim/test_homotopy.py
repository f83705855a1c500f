"""Which way around the walls: words worked out by hand, and the ways that the mazes were made to allow."""

from __future__ import annotations

import numpy as np
import pytest

from ddiffpg_sim import tasks
from ddiffpg_sim.homotopy import classes, islands, signature
from ddiffpg_sim.task import Wall

MAZES = [f"{robot}-v{n}" for robot in ("pointmaze", "antmaze") for n in (1, 2, 3, 4)]
ONE = np.array([[0.0, 0.0]])
TWO = np.array([[0.0, 0.0], [0.0, 4.0]])  # the second above the first: their rays lie on each other


def box(x: float, y: float, half_x: float = 0.5, half_y: float = 0.5) -> Wall:
    return Wall((x, y), (half_x, half_y))


FRAME = (box(0, 5, 6), box(0, -5, 6), box(5.5, 0, 0.5, 5), box(-5.5, 0, 0.5, 5))


def test_above_to_the_right_above_to_the_left_and_below():
    assert signature(np.array([(-1, 1), (1, 1)]), ONE) == (1,)
    assert signature(np.array([(1, 1), (-1, 1)]), ONE) == (-1,)
    assert signature(np.array([(-1, -1), (1, -1)]), ONE) == ()
    assert signature(np.array([(-1, 1), (-2, 3)]), ONE) == ()


def test_there_and_back_is_nothing_and_around_is_not():
    assert signature(np.array([(-1, 1), (1, 1), (1, 2), (-1, 2)]), ONE) == ()
    assert signature(np.array([(-1, 1), (1, 1), (1, -1), (-1, -1), (-1, 1)]), ONE) == (1,)
    twice = [(-1, 1), (1, 1), (1, -1), (-1, -1)] * 2
    assert signature(np.array(twice), ONE) == (1, 1)


def test_one_above_the_other():
    assert signature(np.array([(-1, 5), (1, 5)]), TWO) == (1, 2)
    assert signature(np.array([(1, 5), (-1, 5)]), TWO) == (-2, -1)
    assert signature(np.array([(-1, 5), (1, 5), (1, 6), (-1, 6)]), TWO) == ()
    assert signature(np.array([(-1, 2), (1, 2)]), TWO) == (1,)


def test_the_order_around_two_counts():
    side = np.array([[-2.0, 0.0], [2.0, 0.0]])
    over_both = [(-4, 1), (4, 1)]
    back_under = [*over_both, (4, -1), (-4, -1)]
    assert signature(np.array(over_both), side) == (1, 2)
    assert signature(np.array(back_under), side) == (1, 2)
    eight = [(-4, 1), (0, 1), (0, -1), (4, -1), (4, 1), (0, 1), (0, -1), (-4, -1)]  # over one, then back over the other
    assert signature(np.array(eight), side) == (1, -2)


def test_islands_are_what_does_not_touch_the_frame():
    alone, pair = (box(0, 0),), (box(3, 3), box(3, 2))
    joined = (box(-3, 3.5, 0.5, 1.0),)
    found = islands([*FRAME, *alone, *pair, *joined])
    assert len(found) == 2
    assert found[0].tolist() == [0, 0]
    assert islands(FRAME).shape == (0, 2)


def test_walls_that_touch_at_a_corner_are_one_island():
    assert len(islands([*FRAME, box(0, 0), box(1, 1)])) == 1
    assert len(islands([*FRAME, box(0, 0), box(1.2, 1)])) == 2


@pytest.mark.parametrize("name", MAZES)
def test_the_intended_ways_are_of_different_classes(name):
    task = tasks.make(name)
    found = classes([np.array(w.points) for w in task.ways], task.walls, task.goals)
    assert [goal for goal, _ in found] == [w.goal for w in task.ways]
    assert len(set(found)) == len(task.ways)


@pytest.mark.parametrize("name", MAZES)
def test_a_path_that_keeps_off_the_walls_keeps_its_class(name):
    task, rng = tasks.make(name), np.random.default_rng(0)
    cell = 0.4 * task.spec.path_tolerance / 0.6
    for way in task.ways:
        corners = np.array(way.points)
        moved = corners + rng.uniform(-cell, cell, (20, *corners.shape))
        straight = classes([corners], task.walls, task.goals)
        assert classes(list(moved), task.walls, task.goals) == straight * 20


@pytest.mark.parametrize("seed", range(5))
def test_small_steps_do_not_change_the_word(seed):
    # a path is pulled to where it is going, point by point, unless an island would be crossed
    rng = np.random.default_rng(seed)
    path = np.cumsum(rng.normal(size=(60, 2)), axis=0)
    around = rng.normal(size=(4, 2)) * 3
    fine = np.concatenate([np.linspace(a, b, 8, endpoint=False) for a, b in zip(path[:-1], path[1:])] + [path[-1:]])
    assert signature(fine, around) == signature(path, around)
    assert signature(path[::-1], around) == tuple(-k for k in reversed(signature(path, around)))
