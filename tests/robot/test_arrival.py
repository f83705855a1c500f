"""When the end of a way has been reached: at it, beside it, and not by the way from which it was crossed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ddiffpg.arrival import Arrival
from ddiffpg.modes import Rules, Way, WayMap
from tests.robot.scripted_policy import contract_of

# To one goal around (4, 0): along y = 0, and down from above to where it is entered from the side.
WAYS = {0: [(0.0, 0.0), (4.0, 0.0)], 1: [(0.0, 0.0), (0.0, 3.0), (4.0, 3.0), (4.0, 0.45)]}
TOLERANCE = 0.6  # m
FAST, STILL = np.array([1.0, 0.0]), np.zeros(2)


@pytest.fixture
def ways() -> WayMap:
    return WayMap(contract_of(WAYS, clearance=0.3), Rules(0.1, 0.1, 0.0, 0.1, 0.1))


def arrives(ways: WayMap, mode: int, *places: tuple[float, float], velocity: np.ndarray = FAST) -> bool:
    """Driven in ``mode`` from one of ``places`` to the next, is it there at the last?"""
    arrival = Arrival(ways, 0.1, TOLERANCE)
    for place in places:
        arrival.follow(mode, ways.look(np.array(place), None))
    return arrival.at_end(mode, np.array(places[-1]), velocity)


def on_the_way(beside: float = 0.0, end: float = 3.9) -> list[tuple[float, float]]:
    return [(x, beside) for x in np.arange(0.0, end, 0.1)]


def test_near_the_end_it_is_there_once_it_is_past_it_or_rests(ways):
    assert not arrives(ways, 0, *on_the_way(), (3.95, 0.0))
    assert arrives(ways, 0, *on_the_way(), (3.95, 0.0), velocity=STILL)
    assert arrives(ways, 0, *on_the_way(), (4.02, 0.0))


def test_come_along_its_own_way_it_is_there_beside_the_end(ways):
    """0.35 m beside, where the way of the other mode is nearer and the walls too near to see the end from there."""
    drive = on_the_way(0.3)
    assert not arrives(ways, 0, *drive, (4.05, 0.35))
    assert arrives(ways, 0, *drive, (4.05, 0.35), (4.15, 0.35))
    assert not arrives(ways, 0, *drive, (4.15, 0.75))  # too far beside


def test_where_another_way_crosses_its_end_it_is_not_there(ways):
    """Down the other one, asked for in mode 0: past its end by the direction, and 0.4 m beside."""
    down = [(4.15, y) for y in np.arange(3.0, 0.4, -0.1)]
    position = np.array([4.15, 0.4])
    distance, past = ways.beyond_end(0, position)
    assert distance < TOLERANCE and past > 0.1
    assert not arrives(ways, 0, *down, tuple(position))


def test_another_mode_is_not_at_its_end_by_what_the_first_has_driven(ways):
    arrival = Arrival(ways, 0.1, TOLERANCE)
    own = Way(0, math.inf, 0.5, np.empty(0, int))
    arrival.follow(0, [own])
    assert arrival.at_end(0, np.array([4.2, 0.4]), FAST)
    arrival.follow(1, [own, Way(1, math.inf, 6.0, np.empty(0, int))])
    assert not arrival.at_end(0, np.array([4.2, 0.4]), FAST)
