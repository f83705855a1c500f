"""The control tick: what it does when all is well, when a way closes, and with whatever else may come in."""

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
from tests.robot.point_robot import PointRobot, drive
from tests.robot.scripted_policy import MAZE_V1, MAZE_V4, contract_of, steering_graph, write_model, write_policy

RADIUS = 0.1
SHARED_END = {
    0: [(0.0, 0.0), (4.0, 0.0)],
    1: [(0.0, 0.0), (0.0, 2.0), (3.0, 2.0), (3.0, 0.0), (4.0, 0.0)],
    2: [(0.0, 0.0), (0.0, -2.0), (3.0, -2.0), (3.0, 0.0), (4.0, 0.0)],
}
WORLDS = {"v1": MAZE_V1, "v4": MAZE_V4, "shared end": SHARED_END}


@pytest.fixture(scope="session")
def policies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("policies")
    return {name: Policy.load(write_policy(folder / f"{name}.onnx", ways)) for name, ways in WORLDS.items()}


def make(policies, world="v1", seed=0, **config) -> Controller:
    return Controller(policies[world], ControllerConfig(**config), np.random.default_rng(seed))


def state_at(x=0.0, y=0.0, now=0.0) -> RobotState:
    return PointRobot(np.array([x, y]), time=now).state()


def start_driving(controller: Controller, now: float = 0.0) -> np.ndarray:
    """Tick until it is at speed; returns what was sent last (at ``now + 0.4``)."""
    for i in range(5):
        decision = controller.tick(now + 0.1 * i, state_at(now=now + 0.1 * i), Obstacles(now + 0.1 * i), Operator())
    assert decision.state == "DRIVE" and np.linalg.norm(decision.action) > 0.7
    return decision.action


# ---- all is well -------------------------------------------------------------------------------


@pytest.mark.parametrize("world, mode", [(w, m) for w, ways in WORLDS.items() for m in ways])
def test_it_drives_each_mode_to_its_end_and_stops_there(policies, world, mode):
    controller, robot = make(policies, world), PointRobot(np.array([0.05, -0.05]))
    ticks = drive(controller, robot, 30.0, operator=Operator(mode))
    last = ticks[-1].decision
    assert (last.state, last.mode, last.reason) == ("ARRIVED", mode, f"at the end of mode {mode}")
    assert {t.decision.mode for t in ticks} == {mode}
    assert np.linalg.norm(robot.position - WORLDS[world][mode][-1]) < 0.3
    assert not last.action.any()


def test_left_alone_it_takes_one_mode_and_never_changes_it(policies):
    ticks = drive(make(policies), PointRobot(np.zeros(2)), 30.0)
    assert ticks[-1].decision.state == "ARRIVED"
    assert len({t.decision.mode for t in ticks}) == 1


def test_a_decision_says_what_was_wanted_what_is_sent_and_why(policies):
    decision = make(policies).tick(0.0, state_at(), Obstacles(0.0), Operator(1))
    assert (decision.state, decision.mode, decision.reason) == ("DRIVE", 1, "mode 1 is asked for")
    np.testing.assert_allclose(decision.wanted, [0.0, 0.8], atol=1e-6)
    np.testing.assert_allclose(decision.action, [0.0, 0.4], atol=1e-6)  # 4 m/s^2 for 0.1 s
    assert decision.limited_by == ("slew",)
    assert [w.id for w in decision.ways] == [0, 1] and all(w.free for w in decision.ways)
    assert decision.corridor[0].tolist() == [0.0, 0.0]
    np.testing.assert_allclose(decision.corridor[-1], MAZE_V1[1][-1])
    assert set(decision.stage_seconds) == {"observe", "ways", "policy", "safety"}
    assert all(s >= 0 for s in decision.stage_seconds.values())


def test_tighter_limits_apply(policies):
    controller = make(policies, max_speed=0.3, max_acceleration=1.0)
    actions = [t.decision.action for t in drive(controller, PointRobot(np.zeros(2)), 3.0)]
    assert max(np.linalg.norm(a) for a in actions) == pytest.approx(0.3)
    assert max(np.linalg.norm(b - a) for a, b in zip(actions, actions[1:])) == pytest.approx(0.1)


def test_a_larger_radius_counts_a_smaller_one_does_not(policies):
    assert make(policies, radius=0.25).radius == 0.25
    assert make(policies, radius=0.05).radius == RADIUS


def test_noise_only_where_it_is_asked_for_and_from_the_given_generator(policies):
    def wanted(seed, scale):
        controller = make(policies, seed=seed, noise_scale=scale)
        return controller.tick(0.0, state_at(), None, Operator(0)).wanted.tolist()

    assert wanted(0, 0.0) == wanted(1, 0.0)
    assert wanted(0, 1.0) == wanted(0, 1.0) != wanted(1, 1.0)
    assert wanted(0, 0.5) != wanted(0, 1.0)


# ---- a way closes ------------------------------------------------------------------------------


def test_a_block_changes_mode_and_command_in_the_same_tick(policies):
    controller = make(policies)
    sent = start_driving(controller)
    chosen = controller.tick(0.5, state_at(now=0.5), Obstacles(0.5), Operator()).mode
    other, side = 1 - chosen, math.copysign(1.0, sent[1])
    closed = Obstacles(0.6, (Box((-1.0, side), (0.2, 0.2)),))
    decision = controller.tick(0.6, state_at(now=0.6), closed, Operator())
    assert decision.state == "DRIVE" and decision.mode == other
    assert decision.reason.startswith(f"mode {chosen} is blocked, mode {other} is the best free way")
    np.testing.assert_allclose(decision.wanted, [0.0, -0.8 * side], atol=1e-5)
    assert np.linalg.norm(decision.action - sent) == pytest.approx(0.4)  # already on its way to it
    assert not next(w for w in decision.ways if w.id == chosen).free


def drop_ahead(controller, at: float, ahead: float, half: float):
    """From time ``at`` on: a box on the chosen corridor, ``ahead`` metres from where the robot is then."""
    placed = []

    def shapes(last, now):
        if not placed and now >= at and last is not None and last.decision.state == "DRIVE":
            corridor = last.decision.corridor
            along = np.cumsum(np.linalg.norm(np.diff(corridor, axis=0), axis=1))
            if along[-1] > ahead + 1.7:  # not on the goal itself, nor where all ways to it are one
                placed.append(Box(tuple(corridor[1 + int(np.searchsorted(along, ahead))]), (half, half)))
        return tuple(placed)

    return shapes


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("at", [0.3, 1.1, 1.9, 2.7])
def test_wherever_it_is_when_its_way_closes_it_goes_another_way_without_collision(policies, world, at):
    controller, robot = make(policies, world), PointRobot(np.array([0.02, 0.01]))
    ticks = drive(controller, robot, 60.0, drop_ahead(controller, at, ahead=0.7, half=0.2))
    assert ticks[-1].decision.state == "ARRIVED"
    assert min(t.distance for t in ticks) > RADIUS
    modes = [t.decision.mode for t in ticks]
    dropped = any(math.isfinite(t.distance) for t in ticks)
    assert dropped == (len(set(modes)) > 1)
    assert sum(a != b for a, b in zip(modes, modes[1:])) == int(dropped)  # one change, and no wavering


def test_what_appears_behind_changes_nothing(policies):
    controller, robot = make(policies), PointRobot(np.zeros(2))
    behind = Box((0.0, 0.0), (0.2, 0.2))
    ticks = drive(controller, robot, 30.0, lambda last, now: (behind,) if now > 1.2 else ())
    assert ticks[-1].decision.state == "ARRIVED" and len({t.decision.mode for t in ticks}) == 1


@pytest.mark.parametrize("at", [0.35, 1.15, 1.75])
def test_with_every_way_blocked_it_stops_without_collision_and_goes_on_when_one_opens(policies, at):
    walls = (Box((-1.0, -1.0), (0.2, 0.2)), Box((-1.0, 1.0), (0.2, 0.2)), Box((-2.0, 0.0), (0.6, 0.3)))
    controller, robot = make(policies), PointRobot(np.zeros(2))

    def shapes(last, now):
        return () if now < at else walls if now < 8.0 else walls[1:2]

    ticks = drive(controller, robot, 40.0, shapes)
    closed = [t for t in ticks if at + 1.0 < t.decision.now < 7.9]
    assert {t.decision.state for t in closed} == {"NO_WAY"}
    assert {(t.decision.mode, t.decision.reason) for t in closed} == {(None, "no way is free")}
    assert not any(t.decision.action.any() for t in closed)
    assert min(t.distance for t in ticks) > RADIUS
    assert ticks[-1].decision.state == "ARRIVED"
    again = next(t.decision.now for t in ticks if t.decision.now > 8.0 and t.decision.state == "DRIVE")
    assert again < 8.0 + controller.config.dwell + 0.35


def test_a_forced_mode_that_is_blocked_stops_and_is_not_replaced(policies):
    controller, robot = make(policies), PointRobot(np.zeros(2))
    block = (Box((-1.0, -1.0), (0.2, 0.2)),)
    ticks = drive(controller, robot, 20.0, lambda last, now: block if 1.0 < now < 4.0 else (), Operator(0))
    blocked = [t.decision for t in ticks if 2.0 < t.decision.now < 3.9]
    assert {(d.state, d.mode, d.reason) for d in blocked} == {("NO_WAY", None, "mode 0 is asked for and not free")}
    assert (ticks[-1].decision.state, ticks[-1].decision.mode) == ("ARRIVED", 0)


def test_from_the_middle_of_one_mode_another_can_be_asked_for(policies):
    controller, robot = make(policies), PointRobot(np.zeros(2))
    drive(controller, robot, 2.5, operator=Operator(0))
    assert robot.position[1] < -0.8
    ticks = drive(controller, robot, 30.0, operator=Operator(1))
    assert (ticks[-1].decision.state, ticks[-1].decision.mode) == ("ARRIVED", 1)
    assert max(t.position[1] for t in ticks) > 0.9


def test_an_obstacle_on_top_of_the_robot_lets_it_leave(policies):
    """It stands in the margin of a box behind it: away from it is free, at once."""
    controller = make(policies)
    box = (Box((0.0, 0.25), (0.2, 0.2)),)  # its side is 0.05 m from the robot's centre
    decision = controller.tick(0.0, state_at(), Obstacles(0.0, box), Operator(0))
    assert decision.state == "DRIVE" and decision.action[1] == pytest.approx(-0.4)
    assert "approach" not in decision.limited_by


def test_held_off_by_what_its_prototype_does_not_touch_it_tries_another_mode(tmp_path):
    """The policy goes another way than its prototype says, and there is a box: the safety rule holds it off."""
    said = {0: [(0.0, 0.0), (4.0, 0.0)], 1: [(0.0, 0.0), (0.0, 2.0), (4.0, 2.0)]}
    done = {0: [(0.0, 0.0), (1.0, 0.0), (1.0, -0.6), (3.0, -0.6), (4.0, 0.0)], 1: said[1]}
    policy = Policy.load(write_policy(tmp_path / "p.onnx", done, contract_of(said)))
    controller, robot = Controller(policy, ControllerConfig(), np.random.default_rng(0)), PointRobot(np.zeros(2))
    box = (Box((2.0, -0.75), (0.2, 0.2)),)
    ticks = drive(controller, robot, 30.0, lambda last, now: box)
    modes = [t.decision.mode for t in ticks]
    assert modes[0] == 0 and (ticks[-1].decision.state, modes[-1]) == ("ARRIVED", 1)
    assert min(t.distance for t in ticks) > RADIUS
    held = [t for t in ticks if t.decision.mode == 0 and np.linalg.norm(t.decision.action) < 0.1 and t.decision.now > 1]
    assert 10 <= len(held) <= 20  # about stuck_after, 1.5 s
    assert all("approach" in t.decision.limited_by for t in held)


# ---- what it senses ----------------------------------------------------------------------------


def corridor_walls() -> np.ndarray:
    """The outer walls of maze v1 and the two blocks in it, every 2 cm."""

    def box(x0, y0, x1, y1):
        x, y = np.arange(x0, x1, 0.02), np.arange(y0, y1, 0.02)
        sides = [(x, np.full_like(x, y0)), (x, np.full_like(x, y1)), (np.full_like(y, x0), y), (np.full_like(y, x1), y)]
        return np.concatenate([np.stack(side, axis=1) for side in sides])

    return np.concatenate([box(-2.5, -1.5, 0.5, 1.5), box(-1.5, -0.5, -0.5, 0.5)])


def test_sensed_walls_of_training_change_nothing_but_a_sensed_box_does(policies):
    walls = corridor_walls()
    box = np.stack([np.linspace(-0.7, -0.7, 20), np.linspace(0.8, 1.2, 20)], axis=1)
    for extra, expected in [(np.empty((0, 2)), 1), (box, 0)]:
        controller, robot = make(policies), PointRobot(np.array([0.0, 0.3]))
        start = controller.tick(0.0, robot.state(), Obstacles(0.0, points=walls), Operator())
        assert start.mode == 1
        while robot.time < 30.0:
            seen = walls if robot.time < 0.3 else np.concatenate([walls, extra])
            decision = controller.tick(robot.time + 0.1, robot.state(), Obstacles(robot.time, points=seen), Operator())
            if decision.state == "ARRIVED":
                break
            robot.step(decision.action)
        assert (decision.state, decision.mode) == ("ARRIVED", expected)


# ---- what is missing, old or senseless ---------------------------------------------------------


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
    contract = dataclasses.replace(contract_of(MAZE_V1), action_kind="joint_effort", action=joints)
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
