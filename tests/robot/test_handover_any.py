"""The control tick with anything that operators may do, in any order."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ddiffpg.controller import Controller, ControllerConfig, HandoffConfig, Operator
from ddiffpg.decision import E_STOP, ENGAGE, FAULT, REARM, RELEASE, STATES, Teleop
from ddiffpg.handoff import BLEND, COMMANDS
from ddiffpg.obstacles import Box, Obstacles
from tests.robot.controllers import state_at
from tests.robot.point_robot import PointRobot
from tests.robot.test_handover import TINY, make

number = st.floats(allow_nan=True, allow_infinity=True) | st.floats(-3, 3)
velocity = st.tuples(st.floats(-2, 2), st.floats(-2, 2)) | st.sampled_from([(0.0, 0.0), (1.0, 0.0), (0.0, -1.0)])
by_hand = st.none() | st.tuples(st.floats(-0.1, 0.8), velocity | st.tuples(number, number))
asked = st.lists(st.sampled_from([ENGAGE, ENGAGE, RELEASE, REARM, REARM, E_STOP]), max_size=2).map(tuple)
switch = st.none() | st.floats(-0.1, 0.8)
around = st.none() | st.lists(
    st.builds(lambda x, y: Box((x, y), (0.2, 0.2)), st.floats(-2.5, 0.5), st.floats(-1.5, 1.5)), max_size=2
)
operators = st.tuples(
    st.sampled_from([-1, -1, 0, 1, 5]),
    st.sampled_from([True] * 6 + [False]),
    by_hand,
    switch,
    st.sampled_from([False] * 6 + [True]),
    asked,
)
sequences = st.lists(
    st.tuples(st.floats(0.0, 0.3) | st.just(0.1), st.sampled_from([True] * 6 + [False]), around, operators), max_size=30
)
rules = st.builds(HandoffConfig, *[st.booleans()] * 5, st.sampled_from([0.2, 0.5]), st.sampled_from([0.0, 0.3, 1.0]))


@given(sequences, rules, st.floats(0.2, 6.0))
def test_whatever_comes_in_commands_keep_their_limits_and_rates_and_no_fault_moves(policies, sequence, how, transition):
    config = ControllerConfig(transition_acceleration=transition)
    controller = Controller(policies["v1"], config, np.random.default_rng(0), rules=how)
    robot, sent, before = PointRobot(np.zeros(2)), np.zeros(2), None
    for passed, seen, shapes, (mode, enabled, teleop, deadman, e_stop, requests) in sequence:
        robot.time += passed
        now = robot.time
        wish = Operator(
            mode,
            enabled,
            None if teleop is None else Teleop(now - teleop[0], teleop[1]),
            None if deadman is None else now - deadman,
            e_stop,
            requests,
        )
        obstacles = None if shapes is None else Obstacles(now, tuple(shapes))
        decision = controller.tick(now, robot.state() if seen else None, obstacles, wish)
        step = float(np.linalg.norm(decision.action - sent))
        assert decision.state in STATES and decision.in_command in COMMANDS and decision.reason
        assert np.isfinite(decision.action).all() and (np.abs(decision.action) <= 1.0).all()
        assert step <= config.emergency_deceleration * 0.2 + TINY
        check_rates(decision, step, config)
        check_stops(decision, sent, passed, config)
        if before is not None and before.state == FAULT and decision.state != FAULT:
            assert REARM in requests and not e_stop
        sent, before = decision.action, decision
        robot.position = robot.position + 0.1 * sent


def check_rates(decision, step: float, config: ControllerConfig) -> None:
    """Only an obstacle and a fault may change a command faster; a blend changes it more slowly, but to rest."""
    if decision.state in ("HOLD", FAULT) or "approach" in decision.limited_by:
        return
    rests = decision.state not in ("DRIVE", "TELEOP") or not decision.wanted.any()
    off = decision.state == "OFF" and "(" in decision.reason  # and something is missing too
    gentle = decision.in_command == BLEND and not rests
    rate = min(config.max_acceleration, config.transition_acceleration) if gentle else config.max_acceleration
    assert off or step <= rate * 0.2 + TINY


def check_stops(decision, sent: np.ndarray, passed: float, config: ControllerConfig) -> None:
    """Where nobody drives the command goes to zero, and never beyond it; in a fault as fast as it can."""
    if decision.state not in ("DRIVE", "TELEOP"):
        assert (np.abs(decision.action) <= np.abs(sent) + TINY).all() and (decision.action * sent >= 0).all()
    if decision.state == FAULT:
        left = np.linalg.norm(sent) - config.emergency_deceleration * min(passed, 0.2)
        assert np.linalg.norm(decision.action) <= max(left, 0.0) + TINY


@given(sequences)
def test_where_nobody_teleoperates_it_does_what_it_did_without_hand_overs(policies, sequence):
    """With and without the blend, a human who never comes and no requests: the same, to the last bit."""
    ours, plain = make(policies), make(policies, blend_time=0.0)
    now = 0.0
    for passed, seen, shapes, (mode, enabled, *_) in sequence:
        now += passed
        state = state_at(-0.3, 0.2, now) if seen else None
        obstacles = None if shapes is None else Obstacles(now, tuple(shapes))
        one, two = (c.tick(now, state, obstacles, Operator(mode, enabled)) for c in (ours, plain))
        assert (one.state, one.reason, one.mode) == (two.state, two.reason, two.mode)
        assert np.array_equal(one.action, two.action)
        assert one.in_command in ("POLICY", "OFF") and one.intent is None
