"""The control tick: what it does when all is well and when a way closes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ddiffpg.controller import Controller, ControllerConfig, Operator
from ddiffpg.obstacles import Box, Obstacles
from ddiffpg.policy import Policy
from tests.robot.controllers import RADIUS, WORLDS, make, start_driving, state_at
from tests.robot.point_robot import PointRobot, drive
from tests.robot.scripted_policy import MAZE_V1, contract_of, write_policy

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
