"""How fast obstacles move, from where they were seen; numbers worked by hand."""

from __future__ import annotations

import pytest

from ddiffpg.tracking import Tracker


def test_two_sightings_tell_a_velocity_and_more_make_it_steadier():
    tracker = Tracker()
    tracker.see("a", 1.0, (0.0, 0.0))
    assert tracker.velocities(["a"], 1.0) == ((0.0, 0.0),)
    tracker.see("a", 1.5, (0.5, -1.0))
    assert tracker.velocities(["a"], 1.5) == ((1.0, -2.0),)
    tracker.see("a", 2.0, (0.5, -1.0))  # stands now: four tenths of the news count
    assert tracker.velocities(["a"], 2.0) == (pytest.approx((0.6, -1.2)),)


def test_the_same_message_twice_changes_nothing():
    tracker = Tracker()
    for stamp, x in ((0.0, 0.0), (0.5, 0.5), (0.5, 0.5)):
        tracker.see(7, stamp, (x, 0.0))
    assert tracker.velocities([7], 0.5) == ((1.0, 0.0),)


@pytest.mark.parametrize("stamp, x, now", [(0.5, 3.0, 0.5), (1.5, 0.5, 1.5), (0.5, 0.5, 1.6), (-1.0, 0.5, -1.0)])
def test_a_leap_a_long_gap_an_old_sighting_or_a_clock_that_went_back_tell_none(stamp, x, now):
    """3 m in 0.5 s are 6 m/s; 1.5 s between sightings, or since the last, are more than a second."""
    tracker = Tracker()
    tracker.see(7, 0.0, (0.0, 0.0))
    tracker.see(7, stamp, (x, 0.0))
    assert tracker.velocities([7], now) == ((0.0, 0.0),)


def test_each_has_its_own_and_what_is_not_asked_for_is_forgotten():
    tracker = Tracker()
    for stamp in (0.0, 0.5):
        tracker.see("a", stamp, (stamp, 0.0))
        tracker.see("b", stamp, (0.0, -stamp))
    assert tracker.velocities(["b", "a", "c"], 0.5) == ((0.0, -1.0), (1.0, 0.0), (0.0, 0.0))
    assert tracker.velocities(["a"], 0.5) == ((1.0, 0.0),)
    assert tracker.velocities(["b"], 0.5) == ((0.0, 0.0),)
