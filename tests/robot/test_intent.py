"""Which mode a human began: from the beginning, from the middle, not clear, and for any path."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddiffpg.intent import MEMORY, SHORTEST, IntentTracker
from tests.robot.joint_policies import ARM_WAYS, arm_contract
from tests.robot.scripted_policy import MAZE_V1, MAZE_V4, contract_of, dense

V1, V4 = contract_of(MAZE_V1), contract_of(MAZE_V4)


def driven(points, contract=V1, step: float = 0.03, threshold: float = 0.7) -> IntentTracker:
    """A tracker that has followed the polyline through ``points``, a position every ``step`` metres."""
    tracker = IntentTracker(contract, threshold)
    for position in dense(points, step):
        tracker.add(position)
    return tracker


# ---- clear -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode, y", [(0, -1.0), (1, 1.0)])
def test_half_a_metre_to_one_side_is_that_sides_mode(mode, y):
    found = driven([(0.0, 0.0), (0.0, 0.6 * y)]).intent()
    assert found.mode == mode and found.confidence > 0.9
    assert found.reason == f"mode {mode} was begun by hand (confidence {found.confidence:.2f})"


@pytest.mark.parametrize("mode", MAZE_V4)
def test_of_ways_that_share_their_beginning_the_one_is_told_once_they_have_parted(mode):
    assert driven(MAZE_V4[mode][:4], V4).intent().mode == mode


def test_ways_that_are_just_parting_are_told_by_where_the_robot_heads():
    end = (0.0, -0.21)
    standing, heading = driven([(0.0, 0.0), end]), driven([(0.0, 0.0), end])
    assert standing.intent().mode is None
    standing.go_on(np.array(end), np.zeros(2))
    assert standing.intent().mode is None
    heading.go_on(np.array(end), np.array([0.0, -0.8]))
    assert heading.intent().mode == 0


@pytest.mark.parametrize("velocity", [(math.nan, 0.0), (math.inf, 0.0)])
def test_where_the_robot_heads_may_not_be_known(velocity):
    tracker = driven([(0.0, 0.0), (0.0, 0.6)])
    before = tracker.intent()
    tracker.go_on(np.array([0.0, 0.6]), np.array(velocity))
    assert tracker.intent() == before


def test_however_fast_the_robot_is_it_goes_on_by_half_of_the_tolerance_at_most():
    tracker, far = driven([(0.0, 0.0), (0.0, 0.6)]), np.array([0.0, 1000.0])
    tracker.go_on(np.array([0.0, 0.6]), far)
    other = driven([(0.0, 0.0), (0.0, 0.6 + V1.path_tolerance / 2)], step=0.6)
    assert tracker.intent().mode == other.intent().mode == 1


def test_too_little_stays_too_little_wherever_the_robot_heads():
    tracker = driven([(0.0, 0.0), (0.0, -0.05)])
    tracker.go_on(np.array([0.0, -0.05]), np.array([0.0, -0.8]))
    assert "too little was driven by hand" in tracker.intent().reason


def test_who_takes_over_in_the_middle_has_begun_the_way_that_goes_on_from_there():
    assert driven([(-0.5, 1.0), (-1.5, 1.0)]).intent().mode == 1


def test_in_space_and_by_the_policys_own_scale():
    left, right = (driven(ARM_WAYS[mode][:2], arm_contract(), 0.005).intent() for mode in (0, 1))
    assert (left.mode, right.mode) == (0, 1)


def test_a_corner_that_is_cut_and_a_path_that_wavers_are_still_the_way():
    cut = [(0.05, 0.0), (-0.1, -0.5), (-0.4, -0.85), (-1.0, -0.9)]
    assert driven(cut).intent().mode == 0
    waver = [(0.1 * math.sin(9 * t), -t) for t in np.arange(0.0, 0.9, 0.02)]
    assert driven(waver).intent().mode == 0


def test_what_was_driven_last_counts_most():
    """Half of mode 1 and all the way back, then mode 0."""
    back = [(0.0, 0.0), (0.0, 1.0), (-1.0, 1.0), (0.0, 1.0), (0.0, 0.0)]
    assert driven(back).intent().mode is None
    assert driven([*back, (0.0, -1.0), (-1.5, -1.0)]).intent().mode == 0


# ---- not clear ---------------------------------------------------------------------------------


def test_before_anything_was_driven_every_mode_is_possible():
    tracker = IntentTracker(V1, 0.7)
    found = tracker.intent()
    assert not tracker.begun and (found.mode, found.confidence) == (None, 0.0)
    assert found.possible == {0, 1} and found.reason == "too little was driven by hand to tell (0 m)"


def test_too_short_a_path_gives_none():
    found = driven([(0.0, 0.0), (0.0, 0.15)]).intent()
    assert found.mode is None and found.possible == {0, 1} and "too little" in found.reason


def test_a_robot_that_stands_adds_nothing():
    tracker = driven([(0.0, 0.0), (0.0, 0.15)])
    for _ in range(1000):
        tracker.add(np.array([0.0, 0.15]))
    assert tracker.intent().mode is None


def test_a_beginning_that_ways_share_gives_none_and_names_them():
    found = driven([(0.0, 0.0), (0.0, -1.0), (-0.6, -1.0)], V4).intent()
    assert found.mode is None and found.possible == {0, 1} and found.confidence == pytest.approx(0.5, abs=0.02)
    assert found.reason == f"by hand, modes 0 and 1 begin alike (confidence {found.confidence:.2f})"


def test_far_from_every_way_is_none_of_them():
    found = driven([(3.0, 0.0), (3.0, 2.0)]).intent()
    assert found.mode is None and found.possible == frozenset()
    assert found.reason == "what was driven by hand is near no mode"


def test_backwards_along_a_way_is_none_of_them():
    assert driven([(-1.8, 1.0), (-0.2, 1.0)]).intent().mode is None


def test_a_threshold_that_is_not_reached_gives_none_and_says_how_likely_it_is():
    path = [(0.0, 0.0), (0.0, 0.7)]
    sure = driven(path).intent()
    doubtful = driven(path, threshold=0.999).intent()
    assert sure.mode == 1 and doubtful.mode is None and doubtful.confidence == sure.confidence
    assert "mode 1 was perhaps begun" in doubtful.reason


# ---- how it follows ----------------------------------------------------------------------------


def test_a_leap_of_odometry_begins_anew():
    tracker = driven([(0.0, 0.0), (0.0, 1.0)])
    tracker.add(np.array([0.0, -0.5]))
    assert "too little" in tracker.intent().reason


def test_forgetting_begins_anew():
    tracker = driven([(0.0, 0.0), (0.0, 1.0)])
    tracker.forget()
    assert not tracker.begun
    for position in dense([(0.0, 0.0), (0.0, -0.8)], 0.03):
        tracker.add(position)
    assert tracker.intent().mode == 0


@pytest.mark.parametrize("step", [0.005, 0.03, 0.1, 0.35])
def test_it_does_not_matter_how_often_it_looks(step):
    found = driven([(0.0, 0.0), (0.0, 0.7)], step=step).intent()
    assert found.mode == 1 and found.confidence == pytest.approx(driven([(0.0, 0.0), (0.0, 0.7)]).intent().confidence)


def test_the_costs_are_those_of_the_best_path_by_hand():
    """Two straight ways, three points 0.1 m apart on the first; every point that is 0.3 m off costs a half."""
    contract = contract_of({0: [(0.0, 0.0), (1.0, 0.0)], 1: [(0.0, 0.3), (1.0, 0.3)]})
    tracker = driven([(0.0, 0.0), (0.2, 0.0)], contract, 0.1)
    fade = 1 - 1 / MEMORY
    weight = 1 + fade + fade * fade
    ours, theirs = 1.0, math.exp(-0.5 * weight)  # "none" is as likely as the other
    assert SHORTEST == 3
    assert tracker.intent().confidence == pytest.approx(ours / (ours + 2 * theirs))


places = st.tuples(st.floats(-5, 5), st.floats(-5, 5)).map(np.array)


@given(st.lists(places, max_size=30))
def test_for_any_path_there_is_a_confidence_and_a_reason(path):
    tracker = IntentTracker(V4, 0.7)
    for position in path:
        tracker.add(position)
        found = tracker.intent()
        assert 0.0 <= found.confidence <= 1.0 and found.reason
        assert found.possible <= set(V4.mode_ids)
        assert found.mode is None or (found.mode in found.possible and found.confidence >= 0.7)
