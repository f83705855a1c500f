"""Leading commands over while command changes hands: for each kind of action, by hand and for any input."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddiffpg.actuation import BaseVelocity, JointPositionDelta
from ddiffpg.decision import ControllerConfig
from ddiffpg.obstacles import Approach
from ddiffpg.safety import Braking
from tests.robot.scripted_policy import MAZE_V1, contract_of
from tests.robot.test_actuation import ARM, HIGH, LOW, STEP, legs, moment, reachable, state, wishes

BASE = contract_of(MAZE_V1)
TINY = 1e-9
portions = st.floats(0.0, 1.0)
seconds = st.floats(0.01, 0.2)


def base(**config) -> BaseVelocity:
    return BaseVelocity(BASE, ControllerConfig(**config))


def now(elapsed: float = 0.1, portion: float | None = None, **more):
    return dataclasses.replace(moment(elapsed=elapsed, **more), portion=portion, velocity=np.zeros(2))


# ---- velocities --------------------------------------------------------------------------------


def test_a_velocity_goes_the_portion_of_the_way():
    actuation = base(transition_acceleration=100.0, max_acceleration=4.0)
    command = actuation.drive(np.array([0.4, 0.0]), now(portion=0.25))
    np.testing.assert_allclose(command.action, [0.1, 0.0])
    assert command.limited_by == ("blend",)
    np.testing.assert_allclose(actuation.drive(np.array([0.4, 0.0]), now(portion=1.0)).action, [0.4, 0.0])


def test_the_lower_of_both_accelerations_counts_in_a_transition():
    for transition, step in [(1.0, 0.1), (9.0, 0.4)]:
        command = base(transition_acceleration=transition).drive(np.array([1.0, 0.0]), now(portion=1.0))
        np.testing.assert_allclose(command.action, [step, 0.0])
        assert command.limited_by == ("slew",)


def test_outside_of_a_transition_the_plain_rate_counts():
    command = base(transition_acceleration=0.5).drive(np.array([1.0, 0.0]), now())
    np.testing.assert_allclose(command.action, [0.4, 0.0])


def test_coming_to_rest_is_not_slowed_down():
    actuation = base(transition_acceleration=0.5)
    for _ in range(3):
        actuation.drive(np.array([1.0, 0.0]), now())
    np.testing.assert_allclose(actuation.rest(now(portion=0.1)).action, [0.6, 0.0])


def test_an_obstacle_counts_more_than_the_transition():
    actuation = base(transition_acceleration=0.5)
    for _ in range(3):
        actuation.drive(np.array([1.0, 0.0]), now())
    ahead = Approach(np.array([0.1]), np.array([[1.0, 0.0]]))
    scene = (ahead, Braking(stop_distance=0.2, deceleration=4.0, reaction_time=0.3))
    command = actuation.drive(np.array([1.0, 0.0]), now(portion=0.1, scenes=[scene]))
    assert command.action.tolist() == [0.0, 0.0] and "approach" in command.limited_by


@given(st.lists(st.tuples(wishes, seconds, st.none() | portions), max_size=20), st.floats(0.1, 10.0))
def test_whatever_is_wanted_velocities_stay_within_limits_and_rates(ticks, transition):
    actuation, last = base(transition_acceleration=transition), np.zeros(2)
    for wanted, elapsed, portion in ticks:
        before, last = last, actuation.drive(wanted, now(elapsed, portion)).sent
        assert (np.abs(last) <= 1.0).all()
        rate = 4.0 if portion is None else min(4.0, transition)
        assert np.linalg.norm(last - before) <= rate * elapsed + TINY


# ---- efforts -----------------------------------------------------------------------------------


def test_efforts_rise_by_the_portion_and_the_lower_rate():
    actuation = legs(transition_effort_rate=100.0)
    command = actuation.drive(np.array([30.0, -4.0]), now(portion=0.5))
    assert command.sent.tolist() == [10.0, -2.0] and command.limited_by == ("blend", "slew")
    assert actuation.drive(np.array([30.0, -4.0]), now()).sent.tolist() == [30.0, -4.0]


@given(st.lists(st.tuples(wishes, seconds, st.none() | portions), max_size=10), st.floats(1.0, 1000.0))
def test_whatever_is_wanted_efforts_stay_within_size_and_rate(ticks, rate):
    actuation, last = legs(transition_effort_rate=rate), np.zeros(2)
    for wanted, elapsed, portion in ticks:
        before, last = last, actuation.drive(np.clip(wanted, -9.0, 9.0) * 100, now(elapsed, portion)).sent
        assert (np.abs(last) <= 30.0).all()
        assert portion is None or (np.abs(last - before) <= rate * elapsed + 1e-6).all()


# ---- steps of joint positions ------------------------------------------------------------------


def arm(acceleration: float = 10.0, **config) -> JointPositionDelta:
    return JointPositionDelta(ARM, ControllerConfig(transition_joint_acceleration=acceleration, **config))


def follow(actuation: JointPositionDelta, wanted, ticks: int, portion=None, at=(0.0, 0.0)) -> list[np.ndarray]:
    """What is sent to an arm that is wherever it was sent in the tick before."""
    sent, positions = [], np.array(at, float)
    for _ in range(ticks):
        here = dataclasses.replace(moment(positions), portion=portion)
        positions = actuation.drive(np.array(wanted), here).sent
        sent.append(positions)
    return sent


def test_joints_start_slowly_and_speed_up():
    """At most 10 rad/s^2 in 0.04 s: 0.4 rad/s more in every tick, until a step of 0.05 rad is 1.25 rad/s."""
    sent = follow(arm(), [0.05, 0.0], 5, portion=1.0)
    np.testing.assert_allclose(np.diff([0.0, *(s[0] for s in sent)]), [0.016, 0.032, 0.048, 0.05, 0.05], atol=1e-12)


def test_joints_that_turn_round_slow_down_first():
    actuation = arm()
    start = follow(actuation, [0.04, 0.0], 3)[-1]
    sent = follow(actuation, [-0.04, 0.0], 6, 1.0, start)
    steps = np.diff([start[0], *(s[0] for s in sent)])
    np.testing.assert_allclose(steps, [0.024, 0.008, -0.008, -0.024, -0.04, -0.04], atol=1e-12)


def test_no_joint_is_sent_faster_in_a_transition_than_the_operator_allows():
    sent = follow(arm(max_joint_speed=0.5), [0.05, 0.0], 4, portion=1.0)
    assert max(np.diff([0.0, *(s[0] for s in sent)])) <= 0.5 * 0.04 + TINY


def test_two_ticks_at_the_same_time_send_the_same():
    actuation = arm()
    first = actuation.drive(np.array([0.05, 0.0]), now(0.04, 1.0)).sent
    again = actuation.drive(np.array([-0.05, 0.0]), now(0.0, 0.5)).sent
    assert np.array_equal(first, again)


@given(st.lists(st.tuples(wishes, reachable, seconds, portions), max_size=20))
def test_whatever_is_wanted_no_joint_leaves_its_limits_in_a_transition(ticks):
    actuation = arm()
    for wanted, measured, elapsed, portion in ticks:
        sent = actuation.drive(wanted, dataclasses.replace(moment(measured, elapsed), portion=portion)).sent
        assert (sent >= LOW).all() and (sent <= HIGH).all()
        assert (np.abs(sent - measured) <= STEP + TINY).all()


@given(st.lists(st.tuples(wishes, portions), min_size=1, max_size=20))
def test_the_speed_of_joints_changes_by_no_more_than_the_limit(ticks):
    """For an arm that is where it was sent, whatever is asked of it."""
    actuation, positions, pace = arm(), np.zeros(2), np.zeros(2)
    for wanted, portion in ticks:
        sent = actuation.drive(wanted, dataclasses.replace(moment(positions), portion=portion)).sent
        assert actuation.problem(state(sent)) is None
        before, pace, positions = pace, (sent - positions) / 0.04, sent
        inside = (np.abs(sent) < HIGH - 0.1).all()  # at a joint's limit it stops at once
        assert not inside or (np.abs(pace - before) <= 10.0 * 0.04 + 1e-6).all()


@pytest.mark.parametrize("actuation", [base(), legs(), arm()], ids=["base", "legs", "arm"])
def test_how_long_it_takes_to_cross_everything(actuation):
    """2 m/s^2 over a diagonal of 2.8 m/s; as good as no limit of efforts; 10 rad/s^2 over 2.5 rad/s."""
    expected = {"BaseVelocity": math.sqrt(2.0), "JointEffort": 6e-5, "JointPositionDelta": 0.25}
    assert actuation.swing == pytest.approx(expected[type(actuation).__name__])
