"""One simulated robot: time, scan, contacts, obstacles that come and go."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ddiffpg.observation import RobotState
from ddiffpg_sim import tasks
from ddiffpg_sim.batch import BatchedEnv
from ddiffpg_sim.obstacles import Obstacle
from ddiffpg_sim.robot import SimRobot

UP = np.array([0.0, 1.0])


@pytest.fixture
def robot():
    return SimRobot(tasks.make("pointmaze-v1"), 0)


def box(obstacle_id: int, x: float, y: float, half: float = 0.2, yaw: float = 0.0) -> Obstacle:
    return Obstacle(obstacle_id, "box", (x, y, 0.25), (half, half, 0.25), yaw)


def positions(robot: SimRobot, commands) -> np.ndarray:
    return np.array([robot.step(c).position for c in commands])


def ahead(robot: SimRobot) -> float:
    """Range of the beam towards +y."""
    angles, ranges = robot.scan(360, 10.0)
    return float(ranges[np.abs(angles - math.pi / 2).argmin()])


# ---- time -----------------------------------------------------------------------------------------


def test_seed_and_commands_decide_the_run():
    commands = np.random.default_rng(0).uniform(-1, 1, (50, 2))
    one, other = SimRobot(tasks.make("pointmaze-v3"), 4), SimRobot(tasks.make("pointmaze-v3"), 1)
    other.reset(4)
    np.testing.assert_array_equal(positions(one, commands), positions(other, commands))
    second, third = one.reset().position, other.reset().position
    np.testing.assert_array_equal(second, third, err_msg="the next episode of the same sequence")
    assert (second != one.reset(4).position).any()


def test_it_moves_as_the_training_environment_does():
    task = tasks.make("pointmaze-v4")
    commands = np.repeat(np.random.default_rng(1).uniform(-1, 1, (20, 2)), 5, axis=0)
    robot, env = SimRobot(task, 2), BatchedEnv(task, 1)
    state = env.state_dict()
    state["physics"][0, 1:3] = robot.reset(2).position[:2]
    env.load_state_dict(state)
    for command in commands:
        step, pose = env.step(command[None]), robot.step(command)
        np.testing.assert_allclose(pose.position[:2], step.final_obs[0, :2], atol=1e-5)
        np.testing.assert_allclose(pose.linear_velocity[:2], step.final_obs[0, 2:], atol=1e-4)
        assert robot.success == step.success[0]


def test_a_state_says_all_that_the_base_knows(robot):
    state = robot.reset(0)
    assert isinstance(state, RobotState)
    assert state.stamp == 0.0 and (np.abs(state.position[:2]) <= 0.1).all()
    np.testing.assert_array_equal(state.orientation, [1, 0, 0, 0])
    assert robot.step(UP).stamp == pytest.approx(0.1)
    assert robot.state().linear_velocity[1] > 0.5
    assert not robot.state().joints


@pytest.mark.parametrize("hertz", [10, 50, 100, 30, 7])
def test_finer_steps_come_to_the_same(robot, hertz):
    """A rate that is no multiple of the physics step loses no time on the way."""
    fine = SimRobot(robot.task, 0)
    for _ in range(hertz):
        fine.advance(UP, 1 / hertz)
    for _ in range(10):
        robot.step(UP)
    assert fine.time == pytest.approx(robot.time)
    np.testing.assert_array_equal(fine.state().position, robot.state().position)


def test_less_than_a_physics_step_is_made_up_for(robot):
    for _ in range(3):
        robot.advance(UP, 0.005)
    assert robot.time == 0.0
    robot.advance(UP, 0.005)
    assert robot.time == pytest.approx(0.02)


def test_who_watches_sees_every_step_of_physics(robot):
    seen: list[tuple[float, np.ndarray]] = []
    watched = SimRobot(robot.task, 0, lambda time, qpos: seen.append((time, qpos)))
    assert [time for time, _ in seen] == [0.0]
    for _ in range(3):
        np.testing.assert_array_equal(watched.step(UP).position, robot.step(UP).position)
    np.testing.assert_allclose([time for time, _ in seen], 0.02 * np.arange(16))
    np.testing.assert_array_equal(seen[5 * 3][1], watched.state().position[:2])


@pytest.mark.parametrize("command", [[math.nan, 0], [0, math.inf], [0.0], [0.0, 0.0, 0.0]])
def test_a_bad_command_is_refused_and_moves_nothing(robot, command):
    before = robot.state()
    with pytest.raises(ValueError, match="expected 2 finite numbers"):
        robot.step(np.array(command))
    np.testing.assert_array_equal(robot.state().position, before.position)
    assert robot.time == 0.0


@pytest.mark.parametrize("seconds", [-0.1, math.nan, math.inf])
def test_time_does_not_go_backwards(robot, seconds):
    with pytest.raises(ValueError, match="seconds"):
        robot.advance(UP, seconds)


def test_a_command_is_clipped(robot):
    other = SimRobot(robot.task, 0)
    np.testing.assert_array_equal(robot.step(UP * 50).position, other.step(UP).position)


# ---- success and contacts -------------------------------------------------------------------------


def test_success_is_remembered_until_the_reset():
    robot = SimRobot(tasks.make("pointmaze-v2"), 0)
    for _ in range(20):
        robot.step(np.array([1.0, 0.0]))
    assert robot.success
    for _ in range(10):
        robot.step(np.array([-1.0, 0.0]))
    assert robot.success
    robot.reset()
    assert not robot.success


def test_walls_and_obstacles_are_told_apart(robot):
    for _ in range(25):
        robot.step(UP)
    assert robot.touching_wall and not robot.collided
    robot.reset(0)
    robot.set_obstacle(box(1, 0.0, 0.8, 0.3))
    for _ in range(10):
        robot.step(UP)
    assert robot.collided and not robot.touching_wall
    for _ in range(10):
        robot.step(np.array([1.0, -1.0]))
    assert robot.collided and robot.touching_wall, "remembered, whatever is touched later"
    robot.reset()
    assert not robot.collided


def test_passing_close_by_is_no_collision(robot):
    x = float(robot.reset(0).position[0])
    robot.set_obstacle(box(1, x + 0.1 + 0.2 + 0.01, 0.8))
    for _ in range(15):
        robot.step(UP)
    assert not robot.collided and robot.state().position[1] > 1.0


def test_an_obstacle_that_drives_into_the_robot_is_a_collision_and_pushes_it(robot):
    start = robot.reset(0).position[1]
    for index in range(10):
        robot.set_obstacle(box(1, 0.0, -0.8 + 0.05 * index, 0.3))
        robot.step(np.zeros(2))
    for _ in range(20):
        robot.step(np.zeros(2))
    assert robot.collided
    assert robot.state().position[1] > max(start, -0.35 + 0.3 + 0.1 - 0.01)


# ---- obstacles ------------------------------------------------------------------------------------


def test_the_scan_sees_what_comes_moves_turns_and_goes(robot):
    y = float(robot.reset(0).position[1])
    free = 1.5 - y
    assert ahead(robot) == pytest.approx(free)
    robot.set_obstacle(box(7, 0.0, 1.0))
    assert ahead(robot) == pytest.approx(0.8 - y)
    robot.set_obstacle(box(7, 0.0, 0.6))
    assert ahead(robot) == pytest.approx(0.4 - y)
    robot.set_obstacle(box(7, 0.0, 1.0, yaw=math.pi / 4))
    assert ahead(robot) == pytest.approx(1.0 - 0.2 * math.sqrt(2) + abs(robot.state().position[0]) - y, abs=1e-6)
    robot.set_obstacle(Obstacle(7, "cylinder", (float(robot.state().position[0]), 1.0, 0.0), (0.3, 0.3, 0.1)))
    assert ahead(robot) == pytest.approx(0.7 - y)
    robot.remove_obstacle(7)
    assert ahead(robot) == pytest.approx(free)


def test_the_scan_goes_around_once_and_stops_at_its_range(robot):
    angles, ranges = robot.scan(8, 1.0)
    np.testing.assert_allclose(angles, -math.pi + math.pi / 4 * np.arange(8))
    assert np.isinf(ranges).any() and (ranges[np.isfinite(ranges)] <= 1.0).all()
    x = robot.state().position[0]
    np.testing.assert_allclose(ranges[[0, 4]], [0.5 + x, 0.5 - x])


def test_many_obstacles_by_id(robot):
    for i in range(40):
        robot.set_obstacle(box(i, 20.0 + i, 0.0))
    robot.remove_obstacle(13)
    assert sorted(o.id for o in robot.obstacles) == [i for i in range(40) if i != 13]
    with pytest.raises(KeyError, match="no obstacle 13"):
        robot.remove_obstacle(13)
    robot.clear_obstacles()
    assert robot.obstacles == ()


def test_obstacles_that_come_and_go_elsewhere_do_not_disturb_the_robot(robot):
    calm = SimRobot(robot.task, 0)
    for index in range(40):
        if index % 7 == 3:
            robot.set_obstacle(box(index, 30.0 + index, 0.0))
        if index % 11 == 5:
            robot.clear_obstacles()
        command = np.array([math.cos(index / 5), math.sin(index / 5)])
        np.testing.assert_array_equal(robot.step(command).position, calm.step(command).position)
    assert robot.time == calm.time


def test_obstacles_stay_over_a_reset(robot):
    robot.set_obstacle(box(1, 0.0, 0.8, 0.3))
    robot.reset()
    for _ in range(15):
        robot.step(UP)
    assert robot.collided and robot.state().position[1] < 0.42


@pytest.mark.parametrize(
    "values, message",
    [
        ({"shape": "sphere"}, "shape"),
        ({"center": (0.0, math.nan, 0.0)}, "finite"),
        ({"center": (0.0, 0.0)}, "three"),
        ({"half_size": (0.1, 0.0, 0.1)}, "more than 0"),
        ({"half_size": (0.1, math.inf, 0.1)}, "finite"),
        ({"shape": "cylinder", "half_size": (0.1, 0.2, 0.1)}, "radius"),
        ({"yaw": math.inf}, "finite"),
    ],
)
def test_an_obstacle_that_makes_no_sense_is_refused(values, message):
    fine = {"id": 3, "shape": "box", "center": (0.0, 0.0, 0.0), "half_size": (0.1, 0.1, 0.1)}
    with pytest.raises(ValueError, match=f"obstacle 3: .*{message}"):
        Obstacle(**{**fine, **values})


def test_an_id_is_there_once():
    with pytest.raises(ValueError, match="once"):
        BatchedEnv(tasks.make("pointmaze-v1"), 1).set_obstacles([box(1, 0, 1), box(1, 0, -1)])
