"""How efforts and steps of joint positions are sent: for any input within all limits, and stopped as they must be."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddiffpg.actuation import JointEffort, JointPositionDelta, Moment, actuation_of
from ddiffpg.contract import ActionField, ContractError
from ddiffpg.decision import ControllerConfig
from ddiffpg.observation import JointState, RobotState
from ddiffpg.obstacles import Approach
from ddiffpg.safety import Braking
from tests.robot.joint_policies import ARM_JOINTS, STEP, arm_contract
from tests.robot.scripted_policy import MAZE_V1, contract_of

ARM = arm_contract()
LOW, HIGH = np.array([-2.0, -1.0]), np.array([2.0, 1.0])  # its joint limits
LEGS = dataclasses.replace(
    contract_of(MAZE_V1),
    action_kind="joint_effort",
    action=tuple(ActionField(name, "N m", -30.0, 30.0, name) for name in ("hip", "ankle")),
)
FIRM = Braking(stop_distance=0.1, deceleration=4.0, reaction_time=0.3)
SOFT = dataclasses.replace(FIRM, contact_speed=0.3)
TINY = 1e-9

anything = st.lists(st.floats(allow_nan=True, allow_infinity=True, width=64), min_size=2, max_size=2).map(np.array)
wishes = anything | st.lists(st.floats(-0.2, 0.2), min_size=2, max_size=2).map(np.array)
seconds = st.floats(0.0, 0.5)
reachable = st.tuples(st.floats(-2.05, 2.05), st.floats(-1.05, 1.05)).map(np.array)


def arm(**config) -> JointPositionDelta:
    return JointPositionDelta(ARM, ControllerConfig(**config))


def legs(**config) -> JointEffort:
    return JointEffort(LEGS, ControllerConfig(**config))


def state(positions=(0.0, 0.0)) -> RobotState:
    return RobotState(0.0, joints={n: JointState(float(p), 0.0) for n, p in zip(ARM_JOINTS, positions)})


def moment(positions=(0.0, 0.0), elapsed: float = 0.04, scenes=(), velocity=(0.0, 0.0, 0.0)) -> Moment:
    return Moment(state(positions), np.array(velocity, float), elapsed, scenes)


def seen(distance: float, toward=(1.0, 0.0, 0.0)) -> Approach:
    return Approach(np.array([distance]), np.array([toward]))


# ---- steps of joint positions: for any input -----------------------------------------------------------


@given(st.lists(st.tuples(wishes, reachable, seconds, st.sampled_from(["drive", "rest", "stop"])), max_size=20))
def test_whatever_is_wanted_no_joint_is_sent_beyond_its_limits_or_more_than_a_step(ticks):
    """A whole run: sent positions are within the joints' limits, new ones within a step of where the joints are."""
    actuation, last = arm(), None
    for wanted, measured, elapsed, verb in ticks:
        assert actuation.problem(state(measured)) is None
        if verb == "stop":
            sent = actuation.stop(elapsed).sent
            assert (sent is None) if last is None else np.array_equal(sent, last)
            continue
        now = moment(measured, elapsed)
        command = actuation.drive(wanted, now) if verb == "drive" else actuation.rest(now)
        last = command.sent
        assert (last >= LOW).all() and (last <= HIGH).all()
        assert (np.abs(last - measured) <= STEP + TINY).all()
        np.testing.assert_allclose(measured + command.action, last, atol=TINY)


@given(wishes, reachable, seconds, st.floats(0.0, 3.0))
def test_joints_are_told_no_faster_than_the_operator_allows(wanted, measured, elapsed, speed):
    command = arm(max_joint_speed=speed).drive(wanted, moment(measured, elapsed))
    within = np.minimum(np.maximum(measured, LOW), HIGH)  # a joint beyond its limit is brought back all the same
    assert (np.abs(command.sent - within) <= speed * elapsed + TINY).all()


@given(reachable, wishes)
def test_it_names_a_rule_exactly_when_the_step_is_not_what_was_wanted(measured, wanted):
    command = arm().drive(wanted, moment(measured))
    assert (command.limited_by == ()) == np.array_equal(command.sent, measured + wanted)


# ---- steps of joint positions: by hand -----------------------------------------------------------------


def test_what_is_sent_is_where_the_joints_are_and_the_step():
    command = arm().drive(np.array([0.02, -0.03]), moment((1.0, 0.5)))
    np.testing.assert_allclose(command.sent, [1.02, 0.47])
    np.testing.assert_allclose(command.action, [0.02, -0.03])
    assert command.limited_by == ()


@pytest.mark.parametrize(
    "wanted, sent, rules",
    [
        ([0.08, 0.0], [0.05, 0.98], ("limits",)),
        ([0.0, 0.04], [0.0, 1.0], ("joint limits",)),
        ([0.03, 0.0], [0.02, 0.98], ("speed",)),
    ],
)
def test_each_limit_is_named(wanted, sent, rules):
    speed = 0.5 if rules == ("speed",) else 100.0
    command = arm(max_joint_speed=speed).drive(np.array(wanted), moment((0.0, 0.98)))
    np.testing.assert_allclose(command.sent, sent)
    assert command.limited_by == rules


def test_at_rest_it_stays_where_it_was_last_sent_and_does_not_sink_with_the_arm():
    actuation = arm()
    actuation.drive(np.array([0.05, 0.0]), moment())
    for sunk in (0.045, 0.04, 0.03):
        np.testing.assert_allclose(actuation.rest(moment((sunk, -0.01))).sent, [0.05, 0.0])
    np.testing.assert_allclose(actuation.rest(moment((-0.5, 0.0))).sent, [-0.45, 0.0])  # taken elsewhere by hand


def test_before_anything_was_sent_it_rests_where_it_is_and_stops_without_a_command():
    assert arm().stop(0.04).sent is None
    np.testing.assert_allclose(arm().rest(moment((0.3, -0.2))).sent, [0.3, -0.2])


@pytest.mark.parametrize(
    "positions, says",
    [
        ((0.0,), "the position of elbow"),
        ((math.nan, math.inf), "the position of shoulder, elbow"),
        ((2.1, 0.0), "joint 'shoulder' is at 2.1, outside its limits -2 to 2"),
        ((0.0, -1.2), "joint 'elbow' is at -1.2, outside its limits -1 to 1"),
    ],
)
def test_joints_that_are_not_known_or_out_of_reach_are_named(positions, says):
    assert says in (arm().problem(state(positions)) or "")


def test_near_an_obstacle_it_stays():
    actuation = arm()
    actuation.drive(np.array([0.05, 0.0]), moment())
    command = actuation.drive(np.array([0.05, 0.0]), moment((0.05, 0.0), scenes=[(seen(0.09), FIRM)]))
    assert command.limited_by == ("approach",) and actuation.held(command, np.array([0.05, 0.0]))
    np.testing.assert_allclose(command.sent, [0.05, 0.0])


# ---- efforts -------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(anything, seconds), max_size=10), st.floats(0.0, 50.0), st.floats(0.01, 2000.0))
def test_whatever_is_wanted_efforts_stay_within_size_and_rate(ticks, most, rate):
    actuation, last = legs(max_effort=most, max_effort_rate=rate), np.zeros(2)
    for wanted, elapsed in ticks:
        before, last = last, actuation.drive(wanted, moment(elapsed=elapsed)).sent
        assert (np.abs(last) <= min(most, 30.0)).all()
        assert (np.abs(last - before) <= rate * elapsed + 1e-6).all()


def test_limits_of_velocities_are_none_of_efforts():
    """Full torque one way and then the other within 0.1 s, as an ant walks, whatever the base's limits are."""
    actuation = legs(max_speed=0.1, max_acceleration=0.1, emergency_deceleration=0.1)
    for wanted in ([30.0, -30.0], [-30.0, 30.0]):
        command = actuation.drive(np.array(wanted), moment(elapsed=0.1))
        assert command.sent.tolist() == wanted and command.limited_by == ()


def test_a_stop_takes_all_effort_at_once():
    for stop in (lambda a: a.stop(0.1), lambda a: a.rest(moment())):
        actuation = legs(max_effort_rate=1.0)
        actuation.drive(np.array([30.0, 30.0]), moment(elapsed=10.0))
        command = stop(actuation)
        assert command.sent.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    "distance, velocity, braking, limp",
    [
        (0.09, (0.0, 0.0, 0.0), FIRM, True),  # too near, at rest too: which effort leads away is not known
        (0.09, (0.0, 0.0, 0.0), SOFT, False),  # may be touched
        (0.5, (0.0, 0.0, 0.0), FIRM, False),
        (0.5, (1.0, 0.0, 0.0), FIRM, True),  # 0.4 m left: 0.9 m/s is allowed
        (0.5, (0.8, 0.0, 0.0), FIRM, False),
        (0.5, (-3.0, 2.0, 0.0), FIRM, False),  # away from it
        (0.5, (math.nan, 0.0, 0.0), FIRM, True),
    ],
)
def test_it_goes_limp_before_it_comes_too_near(distance, velocity, braking, limp):
    now = moment(velocity=velocity, scenes=[(seen(distance), braking)])
    command = legs().drive(np.array([30.0, -30.0]), now)
    assert command.sent.tolist() == ([0.0, 0.0] if limp else [30.0, -30.0])
    assert command.limited_by == (("approach",) if limp else ())


# ---- which kinds ---------------------------------------------------------------------------------------


def test_a_kind_that_cannot_be_stopped_is_refused_by_name():
    with pytest.raises(ContractError) as caught:
        actuation_of(dataclasses.replace(LEGS, action_kind="joint_position"), ControllerConfig())
    assert caught.value.field == "action_kind"


@pytest.mark.parametrize("contract", [LEGS, ARM])
def test_an_action_that_cannot_be_zero_is_refused_by_field(contract):
    first = dataclasses.replace(contract.action[0], low=0.01)
    with pytest.raises(ContractError) as caught:
        actuation_of(dataclasses.replace(contract, action=(first, *contract.action[1:])), ControllerConfig())
    assert caught.value.field == "action[0].low"
