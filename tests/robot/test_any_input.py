"""Whatever comes in, for each kind of robot: the command keeps its limits and rates, and no fault ends in motion.

Here clocks jump, readings and their ages are no numbers, humans send anything, e-stops come in the middle of a
blend, and the watchdog stops the robot without the controller.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddiffpg.contract import ActionField, Contract, KnownStates
from ddiffpg.controller import Controller, ControllerConfig, Decision, HandoffConfig, Operator
from ddiffpg.decision import E_STOP, ENGAGE, FAULT, REARM, RELEASE, Teleop
from ddiffpg.handoff import BLEND
from ddiffpg.observation import JointState, RobotState
from ddiffpg.obstacles import Box, Obstacles
from ddiffpg.policy import Policy
from tests.robot.joint_policies import ARM_JOINTS, arm_contract, write_pattern
from tests.robot.scripted_policy import MAZE_V1, contract_of, write_policy

TINY = 1e-6
KNOWN = KnownStates((1.0,) * 4, ((0.0, 0.0, 0.0, 0.0), (0.0, -1.0, 0.0, 0.0)), 0.8)


def legs_contract() -> Contract:
    """A base in the plane that is moved by the efforts of two joints."""
    joints = ("left", "right")
    action = tuple(ActionField(joint, "N m", -3.0, 2.0, joint) for joint in joints)
    return replace(contract_of(MAZE_V1), robot="legs", action_kind="joint_effort", action=action)


@pytest.fixture(scope="module")
def robots(tmp_path_factory) -> dict[str, Policy]:
    """A policy of each kind of action, which always asks for a lot."""
    folder, legs, arm = tmp_path_factory.mktemp("robots"), legs_contract(), arm_contract()
    base = replace(contract_of(MAZE_V1), known_states=KNOWN)
    files = {
        "base": write_policy(folder / "base.onnx", MAZE_V1, base, speed=1.5),
        "legs": write_pattern(folder / "legs.onnx", legs, {0: [2.0, -3.0], 1: [-3.0, 2.0]}),
        "arm": write_pattern(folder / "arm.onnx", arm, {0: [0.05, -0.05], 1: [-0.05, 0.05]}),
    }
    return {name: Policy.load(file) for name, file in files.items()}


# ---- what may come in ------------------------------------------------------------------------------------

anything = st.floats(allow_nan=True, allow_infinity=True)
near = st.floats(-2.5, 2.5)


def mostly(good: st.SearchStrategy, other: st.SearchStrategy, times: int = 7) -> st.SearchStrategy:
    """``other`` only now and then: where nearly everything is wrong, a robot stands and shows nothing."""
    return st.sampled_from(range(times + 1)).flatmap(lambda i: other if i == times else good)


passes = mostly(st.just(0.1), st.floats(0.0, 0.4) | st.sampled_from([-30.0, -0.05, 30.0, math.nan, math.inf]))
age = mostly(st.just(0.0), st.floats(-0.05, 0.2) | anything, 12)
pair = st.tuples(st.floats(-0.4, 0.4), st.floats(-0.4, 0.4))
numbers = mostly(pair, st.tuples(st.floats(-5, 5), st.floats(-5, 5)) | st.tuples(anything, anything), 12)
points = st.lists(st.tuples(near, near) | st.tuples(st.floats(-1e9, 1e9), near), max_size=4)
boxes = st.lists(st.builds(lambda x, y: Box((x, y), (0.2, 0.2)), near, near), max_size=2)
requests = mostly(
    st.sampled_from([(), (REARM, ENGAGE)]),
    st.lists(st.sampled_from([ENGAGE, ENGAGE, RELEASE, REARM, REARM, E_STOP]), max_size=2).map(tuple),
)
flags = [st.booleans()] * 3 + [st.sampled_from([False, False, True])] * 2
rules = st.builds(HandoffConfig, *flags, st.just(0.3), st.sampled_from([0.0, 0.3, 1.0]))
often = st.sampled_from([True] * 40 + [False])
seldom = often.map(lambda value: not value)


@dataclass(frozen=True)
class Moment:
    """What one tick gets: ages (s) of readings, where the robot is (``place``, and how fast), what is around it, what
    the human does; ``hangs``: the watchdog has stopped the robot before."""

    passes: float
    state: tuple[float, tuple[float, float], tuple[float, float]] | None
    around: tuple[float, list[Box], list[tuple[float, float]]] | None
    teleop: tuple[float, tuple[float, ...]] | None
    deadman: float | None
    mode: int
    enabled: bool
    e_stop: bool
    e_stop_fault: bool
    requests: tuple[str, ...]
    hangs: bool


moments = st.builds(
    Moment,
    passes,
    mostly(st.tuples(age, numbers, numbers), st.none(), 12),
    mostly(st.none(), st.tuples(age, boxes, points), 3),
    mostly(st.none(), st.tuples(age, mostly(pair, st.tuples(st.floats(-1, 1)) | numbers, 12)), 2),
    mostly(st.none(), age, 3),
    mostly(st.sampled_from([-1, 0, 1]), st.just(7), 12),
    often,
    seldom,
    seldom,
    requests,
    seldom,
)
sequences = st.lists(moments, min_size=25, max_size=40)


def state_of(kind: str, now: float, moment: Moment) -> RobotState | None:
    """The robot's two numbers are its place, or its joints' positions."""
    if moment.state is None:
        return None
    old, (a, b), (va, vb) = moment.state
    if kind == "arm":
        joints = {name: JointState(position=value) for name, value in zip(ARM_JOINTS, (a, b))}
        tip = {"end_effector_position": [0.4, 0.1, 0.5], "end_effector_velocity": [va, vb, 0.0]}
        return RobotState(now - old, joints=joints, **tip)
    return RobotState(now - old, [a, b, 0.0], [1.0, 0.0, 0.0, 0.0], [va, vb, 0.0], [0.0] * 3)


def operator_of(now: float, moment: Moment) -> Operator:
    teleop = None if moment.teleop is None else Teleop(now - moment.teleop[0], moment.teleop[1])
    deadman = None if moment.deadman is None else now - moment.deadman
    silent = "the e-stop is silent" if moment.e_stop_fault else None
    return Operator(moment.mode, moment.enabled, teleop, deadman, moment.e_stop, moment.requests, silent)


def run(controller: Controller, kind: str, sequence: list[Moment], check) -> float:
    """Tick through the sequence; ``check(decision, state, moment)`` sees each. Returns the last usable time."""
    now = 100.0
    for moment in sequence:
        before, now = now, now + moment.passes
        if moment.hangs:
            controller.stopped("a tick hung", before)
        state, around = state_of(kind, now, moment), None
        if moment.around is not None:
            old, shapes, seen = moment.around
            around = Obstacles(now - old, shapes, np.reshape(seen, (-1, 2)) if kind != "arm" else np.empty((0, 3)))
        decision = controller.tick(now, state, around, operator_of(now, moment))
        assert np.isfinite(decision.action).all() and decision.reason
        assert decision.sent is None or np.isfinite(decision.sent).all()
        if moment.e_stop or moment.e_stop_fault or E_STOP in moment.requests:
            assert decision.state == FAULT
        check(decision, state, moment)
        now = now if math.isfinite(now) else before
    return now


def ends(controller: Controller, now: float) -> Decision:
    """The last decision of a second in which the e-stop is pressed and nothing else is known."""
    for i in range(1, 11):
        decision = controller.tick(now + 0.1 * i, None, None, Operator(e_stop=True))
    assert decision.state == FAULT
    return decision


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_around_the_robot_cannot_be_no_number_at_all(bad):
    with pytest.raises(ValueError, match="finite"):
        Obstacles(0.0, (), np.array([[0.0, bad]]))
    with pytest.raises(ValueError, match="Box"):
        Box((bad, 0.0), (0.2, 0.2))


# ---- and what goes out -----------------------------------------------------------------------------------


@settings(max_examples=50)
@given(sequences, rules, st.floats(0.3, 6.0))
def test_a_base_keeps_its_limits_and_rates_and_every_fault_brings_it_to_rest(robots, sequence, how, gentle):
    slow = {"max_acceleration": 2.0, "emergency_deceleration": 3.0}  # so slow that a stop takes several ticks
    config = ControllerConfig(transition_acceleration=gentle, unknown_hold_after=0.1, **slow)
    controller = Controller(robots["base"], config, np.random.default_rng(0), rules=how)
    last = np.zeros(2)

    def check(decision: Decision, state: RobotState | None, moment: Moment) -> None:
        nonlocal last
        last = np.zeros(2) if moment.hangs else last
        step = float(np.linalg.norm(decision.action - last))
        assert (np.abs(decision.action) <= 1.0).all() and step <= config.emergency_deceleration * 0.2 + TINY
        moves = decision.state == "DRIVE" or (decision.state == "TELEOP" and decision.wanted.any())
        if moves and "approach" not in decision.limited_by:
            rate = min(gentle, config.max_acceleration) if decision.in_command == BLEND else config.max_acceleration
            assert step <= rate * 0.2 + TINY
        if not moves:
            assert (np.abs(decision.action) <= np.abs(last) + TINY).all() and (decision.action * last >= 0).all()
        last = decision.action

    now = run(controller, "base", sequence, check)
    assert not ends(controller, now).action.any()


@settings(max_examples=50)
@given(sequences, rules, st.floats(1.0, 60.0))
def test_efforts_keep_their_limits_and_rates_and_are_gone_in_every_fault(robots, sequence, how, rate):
    config = ControllerConfig(max_effort=2.5, max_effort_rate=rate, transition_effort_rate=rate / 2)
    controller = Controller(robots["legs"], config, np.random.default_rng(0), rules=how)
    last = np.zeros(2)

    def check(decision: Decision, state: RobotState | None, moment: Moment) -> None:
        nonlocal last
        last = np.zeros(2) if moment.hangs else last
        assert (decision.action >= -2.5).all() and (decision.action <= 2.0).all()
        assert decision.state != "TELEOP"  # nobody can give an effort by hand
        if decision.state == "DRIVE" and "approach" not in decision.limited_by:
            most = rate / 2 if decision.in_command == BLEND else rate
            assert (np.abs(decision.action - last) <= most * 0.2 + TINY).all()
        else:
            assert not decision.action.any()
        last = decision.action

    now = run(controller, "legs", sequence, check)
    assert not ends(controller, now).action.any()


@settings(max_examples=50)
@given(sequences, rules, st.floats(1.0, 100.0))
def test_joints_are_sent_within_their_limits_and_a_step_and_stay_in_every_fault(robots, sequence, how, gentle):
    config = ControllerConfig(transition_joint_acceleration=gentle)
    controller = Controller(robots["arm"], config, np.random.default_rng(0), rules=how)
    last: np.ndarray | None = None

    def check(decision: Decision, state: RobotState | None, moment: Moment) -> None:
        nonlocal last
        if decision.sent is not None and decision.state not in ("HOLD", FAULT):
            assert state is not None or decision.state == "OFF"
            assert (np.abs(decision.sent) <= [2.0 + TINY, 1.0 + TINY]).all()
        if decision.state in ("DRIVE", "TELEOP") and decision.sent is not None and state is not None:
            measured = np.array([state.joints[name].position for name in ARM_JOINTS])
            inside = np.clip(measured, [-2.0, -1.0], [2.0, 1.0])  # those outside their limits are led back in
            assert (np.abs(decision.sent - inside) <= 0.05 + TINY).all()
        if decision.state == FAULT:
            assert (last is None) == (decision.sent is None)
            assert last is None or np.array_equal(decision.sent, last)  # where they were told to be
        last = decision.sent

    now = run(controller, "arm", sequence, check)
    held = ends(controller, now)
    assert not held.action.any() and (last is None or np.array_equal(held.sent, last))
