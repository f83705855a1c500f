"""The closed loop without ROS: what the controller is told, and what a run counts."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ddiffpg.controller import Controller, ControllerConfig
from ddiffpg.decision import NO_WAY, Decision
from ddiffpg.obstacles import Box, Cylinder
from ddiffpg.policy import Policy
from ddiffpg.tracking import Tracker
from ddiffpg_sim import tasks
from ddiffpg_sim.closed_loop import Conditions, Episode, declared, run_episode, sense
from ddiffpg_sim.obstacles import Obstacle
from ddiffpg_sim.robot import SimRobot
from ddiffpg_sim.script import ObstacleScript
from ddiffpg_sim.task import PlanarTask
from tests.robot.joint_policies import write_pattern
from tests.ros.field_policy import contract_of_task, write_field_policy

POLICIES = Path(__file__).resolve().parents[2] / "policies"


def _on_a_floor(task: str) -> bool:
    return isinstance(tasks.make(task), PlanarTask)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    path = tmp_path_factory.mktemp("policies") / "v1.onnx"
    write_field_policy("pointmaze-v1", path)
    return Policy.load(path)


@pytest.fixture
def robot() -> SimRobot:
    return SimRobot(tasks.make("pointmaze-v1"), 0)


def controller(policy: Policy) -> Controller:
    return Controller(policy, ControllerConfig(), np.random.default_rng(0))


def test_switches_are_changes_of_mode() -> None:
    assert [Episode(True, False, 9, modes).switches for modes in ((), (1,), (0, 1), (0, 1, 0))] == [0, 0, 1, 2]


def test_obstacles_are_declared_by_what_they_cover() -> None:
    box = Obstacle(3, "box", (1.0, 2.0, 0.5), (0.1, 0.2, 0.5), 0.3)
    pillar = Obstacle(4, "cylinder", (1.0, 2.0, 0.5), (0.1, 0.1, 0.5))
    assert declared(box) == Box((1.0, 2.0), (0.1, 0.2), 0.3, (0.0, 1.0))
    assert declared(pillar) == Cylinder((1.0, 2.0), 0.1, (0.0, 1.0))


def test_scan_hits_lie_on_walls_and_obstacles(robot: SimRobot) -> None:
    # A wall of the maze is at x = 0.5; this box's near side is 0.4 m to the other side of the robot.
    state, conditions = robot.state(), Conditions(1, scan_beams=4, scan_range=5.0)
    x, y = state.position[:2]
    robot.set_obstacle(Obstacle(0, "box", (x - 0.6, y, 0.25), (0.2, 0.2, 0.25)))
    seen = sense(robot, state, conditions, Tracker())
    by_angle = dict(zip((-math.pi, -math.pi / 2, 0.0, math.pi / 2), seen.points))
    assert by_angle[-math.pi] == pytest.approx([x - 0.4, y], abs=1e-6)
    assert by_angle[0.0] == pytest.approx([0.5, y], abs=1e-6)
    assert len(sense(robot, state, Conditions(1), Tracker()).points) == 0
    off = replace(state, position=state.position + np.array([0.03, -0.02, 0.0]))  # as odometry may have it
    np.testing.assert_allclose(sense(robot, off, conditions, Tracker()).points - seen.points, [[0.03, -0.02]] * 4)


@pytest.mark.parametrize("task", sorted(p.stem for p in POLICIES.glob("*.onnx") if _on_a_floor(p.stem)))
def test_the_walls_of_training_block_no_way(task: str) -> None:
    """Whatever the start: a robot that senses nothing but the walls has room to spare for errors of its scan."""
    trained = Policy.load(POLICIES / f"{task}.onnx")
    robot = SimRobot(tasks.make(task), 1)
    room: list[float] = []

    def watch(_: SimRobot, decision: Decision) -> None:
        room.extend(way.clearance for way in decision.ways if way.id == decision.mode)

    ant, arrived = task.startswith("ant"), 0
    for _ in range(15):
        conditions = Conditions(trained.contract.max_steps if ant else 200, scan_beams=180, scan_range=8.0)
        episode = run_episode(robot, controller(trained), conditions, watch=watch)
        assert episode.switches == 0, episode
        arrived += episode.success
        robot.reset()
    assert arrived >= (12 if ant else 15)  # one that falls over does not arrive, walls or not
    assert min(room) > 0.02


def test_a_run_ends_at_the_limit(policy: Policy, robot: SimRobot) -> None:
    episode = run_episode(robot, controller(policy), Conditions(max_steps=5))
    assert (episode.success, episode.steps) == (False, 5)
    assert robot.time == pytest.approx(0.5)


def test_it_waits_while_blocked_and_goes_on_when_a_way_opens(policy: Policy, robot: SimRobot) -> None:
    script = ObstacleScript.parse(
        "- {center: [-1.2, -1.0], half_size: [0.2, 0.6], appears: 0.1, goes: 8.0}\n"
        "- {center: [-1.2, 1.0], half_size: [0.2, 0.6], appears: 0.1}\n"
    )
    seen: list[Decision] = []
    conditions = Conditions(200, script, scan_beams=60)
    episode = run_episode(robot, controller(policy), conditions, watch=lambda _, decision: seen.append(decision))
    assert (episode.success, episode.collided) == (True, False)
    assert episode.steps > 80
    assert episode.modes[-1] == 0
    waiting = [d for d in seen if 3.0 < d.now < 7.9]
    assert {d.state for d in waiting} == {NO_WAY}
    assert all(np.allclose(d.action, 0.0) for d in waiting)


def test_the_same_seed_gives_the_same_run(policy: Policy) -> None:
    episodes = [
        run_episode(SimRobot(tasks.make("pointmaze-v1"), 7), controller(policy), Conditions(150)) for _ in range(2)
    ]
    assert episodes[0] == episodes[1]


@pytest.mark.parametrize("beams", [0, 60])
def test_an_ant_is_driven_by_its_efforts_and_walls_of_its_training_do_not_stop_it(tmp_path: Path, beams: int) -> None:
    task, push = tasks.make("antmaze-v1"), 20.0 * np.array([1, 0, -1, 0, 1, 0, -1, 0])
    file = write_pattern(tmp_path / "ant.onnx", contract_of_task(task), {0: push, 1: push})
    robot, decisions = SimRobot(task, 0), []
    before = robot.joint_positions
    conditions = Conditions(max_steps=6, scan_beams=beams)
    episode = run_episode(robot, controller(Policy.load(file)), conditions, lambda _, d: decisions.append(d))
    assert (episode.steps, episode.success, len(episode.modes)) == (6, False, 1)
    assert [(d.state, d.limited_by) for d in decisions] == [("DRIVE", ())] * 6
    np.testing.assert_allclose(decisions[-1].sent, push)
    turned = robot.joint_positions - before
    assert (turned[[0, 4]] > 0.3).all() and (turned[[2, 6]] < -0.3).all()
