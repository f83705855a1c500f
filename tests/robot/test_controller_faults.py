"""The control tick with what is missing, old or senseless, and with anything at all."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ddiffpg.contract import ContractError
from ddiffpg.controller import Controller, ControllerConfig, Operator
from ddiffpg.decision import STATES
from ddiffpg.observation import RobotState
from ddiffpg.obstacles import Box, Obstacles
from ddiffpg.policy import Policy
from tests.robot.controllers import make, start_driving, state_at
from tests.robot.scripted_policy import MAZE_V1, contract_of, steering_graph, write_model, write_policy


def test_before_the_first_state_it_holds_and_says_so(policies):
    decision = make(policies).tick(0.0, None, None, Operator())
    assert (decision.state, decision.reason) == ("HOLD", "no state of the robot yet")
    assert not decision.action.any() and np.isnan(decision.wanted).all()
    assert all(not w.free and math.isnan(w.clearance) and math.isnan(w.length) for w in decision.ways)


FAULTS = {
    "stale state": (lambda now: (now, state_at(now=now - 0.4), Obstacles(now)), "state is 0.400 s old"),
    "no state": (lambda now: (now, None, Obstacles(now)), "no state"),
    "state of the future": (lambda now: (now, state_at(now=now + 0.2), Obstacles(now)), "ahead of the clock"),
    "state without time": (lambda now: (now, state_at(now=math.nan), Obstacles(now)), "no usable time stamp"),
    "stale obstacles": (lambda now: (now, state_at(now=now), Obstacles(now - 0.6)), "obstacles is 0.600 s old"),
    "nan position": (lambda now: (now, state_at(math.nan, now=now), Obstacles(now)), "x (odom.position.x)"),
    "infinite position": (lambda now: (now, state_at(0, math.inf, now=now), Obstacles(now)), "y (odom.position.y)"),
    "no velocity": (lambda now: (now, RobotState(now, [0, 0, 0]), Obstacles(now)), "vx (odom.linear_velocity.x)"),
    "no clock": (lambda now: (math.nan, state_at(now=now), Obstacles(now)), "the clock says nan"),
    "clock back": (lambda now: (now - 5, state_at(now=now - 5), Obstacles(now - 5)), "the clock went back by 4.9"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_on_a_fault_it_stops_at_once_says_why_and_goes_on_after(policies, name):
    controller = make(policies)
    start_driving(controller)
    bad_input, says = FAULTS[name]
    decision = controller.tick(*bad_input(0.5), Operator())
    assert decision.state == "HOLD" and says in decision.reason
    assert not decision.action.any() and np.isnan(decision.wanted).all()
    later = 0.6 if name != "clock back" else -4.4
    decision = controller.tick(later, state_at(now=later), Obstacles(later), Operator())
    speed = 0.8 if name == "no clock" else 0.4  # the tick without a time counts for none: two periods have passed
    assert decision.state == "DRIVE" and np.linalg.norm(decision.action) == pytest.approx(speed, abs=1e-6)


def test_a_clock_that_goes_back_does_not_open_what_was_blocked(policies):
    controller = make(policies)
    closed = (Box((-1.0, -1.0), (0.2, 0.2)), Box((-1.0, 1.0), (0.2, 0.2)))
    assert controller.tick(100.0, state_at(now=100.0), Obstacles(100.0, closed), Operator()).state == "NO_WAY"
    states = []
    for now in (50.0, 50.1, 50.5, 51.0, 51.2):
        states.append(controller.tick(now, state_at(now=now), Obstacles(now), Operator()).state)
    assert states == ["HOLD", "NO_WAY", "NO_WAY", "NO_WAY", "DRIVE"]


def test_obstacles_are_waited_for_only_where_they_are_needed(policies):
    assert make(policies).tick(0.0, state_at(), None, Operator()).state == "DRIVE"
    decision = make(policies, need_obstacles=True).tick(0.0, state_at(), None, Operator())
    assert (decision.state, decision.reason) == ("HOLD", "no obstacles received yet")


def test_an_unknown_mode_holds_and_names_the_known_ones(policies):
    decision = make(policies).tick(0.0, state_at(), None, Operator(7))
    assert (decision.state, decision.reason) == ("HOLD", "mode 7 is not in the policy; it has [0, 1]")


def test_released_it_stops_at_the_ordinary_rate_and_starts_from_rest(policies):
    controller = make(policies)
    sent = start_driving(controller)
    speeds = []
    for i in range(5, 10):
        now = 0.1 * i
        decision = controller.tick(now, state_at(now=now), Obstacles(now), Operator(enabled=False))
        assert (decision.state, decision.reason, decision.mode) == ("OFF", "not enabled", None)
        speeds.append(float(np.linalg.norm(decision.action)))
    assert speeds[0] == pytest.approx(np.linalg.norm(sent) - 0.4) and speeds[2:] == [0.0, 0.0, 0.0]
    decision = controller.tick(1.0, state_at(now=1.0), Obstacles(1.0), Operator())
    assert decision.state == "DRIVE" and np.linalg.norm(decision.action) == pytest.approx(0.4)


def test_released_without_a_state_it_is_off_and_says_what_is_missing(policies):
    decision = make(policies).tick(0.0, None, None, Operator(enabled=False))
    assert (decision.state, decision.reason) == ("OFF", "not enabled (no state of the robot yet)")


def test_a_policy_that_gives_no_number_holds(tmp_path):
    graph = steering_graph(MAZE_V1, contract_of(MAZE_V1), speed=math.nan)
    policy = Policy.load(write_model(tmp_path / "nan.onnx", graph, contract_of(MAZE_V1).to_json()))
    assert np.isnan(policy.act(np.zeros(4, np.float32))).any()
    decision = Controller(policy, ControllerConfig(), np.random.default_rng(0)).tick(0.0, state_at(), None, Operator())
    assert decision.state == "HOLD" and decision.reason.startswith("the policy gave [nan, nan]")
    assert not decision.action.any()


def test_a_policy_that_asks_too_much_gets_its_limits(tmp_path):
    wild = dataclasses.replace(
        contract_of(MAZE_V1),
        action=tuple(dataclasses.replace(f, low=-0.2, high=0.2) for f in contract_of(MAZE_V1).action),
    )
    policy = Policy.load(write_policy(tmp_path / "wild.onnx", MAZE_V1, wild))
    decision = Controller(policy, ControllerConfig(), np.random.default_rng(0)).tick(0.0, state_at(), None, Operator(1))
    np.testing.assert_allclose(decision.action, [0.0, 0.2], atol=1e-6)
    assert "limits" in decision.limited_by


def test_a_policy_that_cannot_be_stopped_is_refused_at_the_start(tmp_path):
    joints = tuple(dataclasses.replace(f, joint=f.name) for f in contract_of(MAZE_V1).action)
    contract = dataclasses.replace(contract_of(MAZE_V1), action_kind="joint_position", action=joints)
    policy = Policy.load(write_policy(tmp_path / "joints.onnx", MAZE_V1, contract))
    with pytest.raises(ContractError, match="action_kind"):
        Controller(policy, ControllerConfig(), np.random.default_rng(0))


# ---- anything at all ---------------------------------------------------------------------------

number = st.floats(allow_nan=True, allow_infinity=True) | st.floats(-3, 3) | st.floats(-3, 3)
nearby = st.floats(-2.5, 2.5)
states = st.none() | st.builds(
    lambda age, p, v: (age, p, v),
    st.floats(-0.05, 0.25) | number,
    st.tuples(nearby, nearby) | st.tuples(number, number),
    st.tuples(number, number),
)
scenes = st.none() | st.builds(
    lambda age, shapes, points: (age, shapes, points),
    st.floats(-0.05, 0.45) | number,
    st.lists(st.builds(lambda x, y, h: Box((x, y), (h, h)), nearby, nearby, st.floats(0.01, 1.0)), max_size=3),
    st.lists(st.tuples(nearby, nearby), max_size=5),
)
operators = st.builds(Operator, st.sampled_from([-1, -1, 0, 1, 5]), st.booleans() | st.just(True))
ticks = st.tuples(st.floats(0.0, 0.5) | number, states, scenes, operators)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(ticks, max_size=25))
def test_whatever_comes_in_the_command_is_finite_and_within_limits_and_rates(policies, sequence):
    controller, now, sent = make(policies), 0.0, np.zeros(2)
    for passed, state, scene, operator in sequence:
        previous, now = now, now + passed if math.isfinite(passed) else passed
        robot = None if state is None else RobotState(now - state[0], [*state[1], 0.0], [1, 0, 0, 0], [*state[2], 0.0])
        around = None if scene is None else Obstacles(now - scene[0], scene[1], np.reshape(scene[2], (-1, 2)))
        decision = controller.tick(now, robot, around, operator)
        assert decision.state in STATES and decision.reason
        assert np.isfinite(decision.action).all() and (np.abs(decision.action) <= 1.0).all()
        assert np.linalg.norm(decision.action - sent) <= controller.config.emergency_deceleration * 0.2 + 1e-9
        if decision.state != "HOLD" and "approach" not in decision.limited_by and operator.enabled:
            assert np.linalg.norm(decision.action - sent) <= controller.config.max_acceleration * 0.2 + 1e-9
        if decision.state != "DRIVE":
            assert np.isnan(decision.wanted).all()
            assert (np.abs(decision.action) <= np.abs(sent) + 1e-9).all()  # slower, in the same direction
            assert (decision.action * sent >= 0).all()
        sent = decision.action
        now = now if math.isfinite(now) else previous
