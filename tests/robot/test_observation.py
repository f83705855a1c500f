"""Observations by the contract: order, names, and what is missing."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from ddiffpg.contract import OBSERVATION_SOURCES, ObservationField
from ddiffpg.observation import JointState, RobotState, missing_fields, observe
from tests.robot.scripted_policy import contract_of

WAYS = {0: [(0.0, 0.0), (1.0, 0.0)]}


def with_fields(*fields: ObservationField):
    return dataclasses.replace(contract_of(WAYS), observation=fields)


def full_state(**joints: JointState) -> RobotState:
    return RobotState(0.0, [1, 2, 3], [0.5, 0.5, -0.5, 0.5], [4, 5, 6], [7, 8, 9], joints, [10, 11, 12], [13, 14, 15])


def test_each_source_is_read_from_its_own_place():
    sources = [s for s in OBSERVATION_SOURCES if not s.startswith("joint.")]
    contract = with_fields(*(ObservationField(s, s, "") for s in sources))
    # The orientation turns x to z, y to -x and z to -y: seen from the body, (7, 8, 9) is (9, -7, -8).
    expected = [1, 2, 3, 0.5, 0.5, -0.5, 0.5, 4, 5, 6, 7, 8, 9, 9, -7, -8, 10, 11, 12, 13, 14, 15]
    np.testing.assert_array_equal(observe(contract, full_state()), np.array(expected, np.float32))


def test_the_contract_gives_the_order():
    contract = with_fields(
        ObservationField("vy", "odom.linear_velocity.y", "m/s"), ObservationField("x", "odom.position.x", "m")
    )
    observation = observe(contract, full_state())
    assert observation.dtype == np.float32
    assert observation.tolist() == [5.0, 1.0]


JOINTS = with_fields(
    ObservationField("q1", "joint.position", "rad", "elbow"),
    ObservationField("q2", "joint.position", "rad", "wrist"),
    ObservationField("dq1", "joint.velocity", "rad/s", "elbow"),
)


def test_joints_are_found_by_name_in_whatever_order_they_come():
    elbow, wrist = JointState(0.1, 0.2), JointState(0.3, 0.4)
    one = observe(JOINTS, full_state(elbow=elbow, wrist=wrist))
    other = observe(JOINTS, full_state(wrist=wrist, thumb=JointState(9, 9), elbow=elbow))
    np.testing.assert_array_equal(one, np.array([0.1, 0.3, 0.2], np.float32))
    np.testing.assert_array_equal(one, other)


def test_a_missing_joint_is_nan_and_named_with_its_source():
    observation = observe(JOINTS, full_state(elbow=JointState(0.1, 0.2)))
    assert np.isnan(observation[1]) and np.isfinite(observation[[0, 2]]).all()
    assert missing_fields(JOINTS, observation) == ("q2 (joint.position of joint 'wrist')",)


def test_a_joint_without_velocity_is_missing_its_velocity_only():
    observation = observe(JOINTS, full_state(elbow=JointState(position=0.1), wrist=JointState(0.3, 0.4)))
    assert missing_fields(JOINTS, observation) == ("dq1 (joint.velocity of joint 'elbow')",)


def test_nothing_measured_is_nan_everywhere_never_zero():
    contract = contract_of(WAYS)
    observation = observe(contract, RobotState(0.0))
    assert np.isnan(observation).all()
    assert len(missing_fields(contract, observation)) == len(contract.observation)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e300])
def test_what_is_not_finite_in_float32_is_named(bad):
    contract = contract_of(WAYS)
    state = dataclasses.replace(full_state(), position=[1.0, bad, 0.0])
    assert missing_fields(contract, observe(contract, state)) == ("y (odom.position.y)",)


@pytest.mark.parametrize("name", ["position", "orientation", "linear_velocity", "angular_velocity"])
def test_a_vector_of_the_wrong_length_is_refused_by_name(name):
    with pytest.raises(ValueError, match=name):
        RobotState(0.0, **{name: [1.0, 2.0]})


def test_a_state_keeps_its_own_copy():
    position = np.zeros(3)
    state = RobotState(0.0, position=position)
    position[0] = 7.0
    assert state.position[0] == 0.0
