"""The point mazes' world and physics: walls that hold, a servo that follows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddiffpg_sim import tasks
from ddiffpg_sim.batch import BatchedEnv
from ddiffpg_sim.obstacles import Obstacle
from ddiffpg_sim.pointmaze import PointMaze
from ddiffpg_sim.robot import SimRobot

NAMES = [name for name in tasks.names() if name.startswith("pointmaze")]


def maze(name: str) -> PointMaze:
    task = tasks.make(name)
    assert isinstance(task, PointMaze)
    return task


def drive(robot: SimRobot, command, steps: int):
    """``steps`` control periods of one command; returns the last state."""
    for _ in range(steps):
        state = robot.step(np.array(command, float))
    return state


# ---- the world ------------------------------------------------------------------------------------


def test_goals_are_where_the_paper_puts_them():
    # v2: R in row 3, column 3; the near goal two columns right, the far one two left and two rows on.
    np.testing.assert_array_equal(maze("pointmaze-v1").goals, [[-2, 0]])
    np.testing.assert_array_equal(maze("pointmaze-v2").goals, [[2, 0], [-2, 2]])
    np.testing.assert_array_equal(maze("pointmaze-v3").goals, [[3, -3], [-3, 3]])
    np.testing.assert_array_equal(maze("pointmaze-v4").goals, [[-4, -1], [-4, 1]])


@pytest.mark.parametrize("name, ways", [*zip(NAMES, [2, 2, 5, 4])])
def test_each_maze_has_its_ways(name, ways):
    assert len(maze(name).ways) == ways


def test_position_is_scaled_by_the_mazes_extent():
    # v4 is 7 by 7 with R in row 3, column 5: its middle is two columns left of the origin.
    fields = {f.name: f for f in maze("pointmaze-v4").spec.observation}
    assert (fields["x"].offset, fields["x"].scale) == (-2.0, 3.5)
    assert (fields["y"].offset, fields["y"].scale) == (0.0, 3.5)
    assert (fields["vx"].offset, fields["vx"].scale) == (0.0, 1.0)


def test_clearance_by_hand():
    # v1, cells of 1 m: from the origin half a metre to the wall cell on the left (and to the right one),
    # from (-1, 1) half a metre down to the middle cell's face, from (-0.3, 0.7) to its corner (-0.5, 0.5).
    points = np.array([[0.0, 0.0], [-1.0, 1.0], [-0.3, 0.7], [-1.0, 0.0]])
    expected = [0.5, 0.5, 0.2 * np.sqrt(2), -0.5]
    np.testing.assert_allclose(maze("pointmaze-v1").clearance(points), expected)


@pytest.mark.parametrize("name", NAMES)
def test_walls_cover_the_wall_cells_and_nothing_else(name):
    task = maze(name)
    rows, columns = len(task.maze.layout.rows), len(task.maze.layout.rows[0])
    row, column = next((r, c) for r in range(rows) for c in range(columns) if task.maze.layout.rows[r][c] == "R")
    cells = [(r, c) for r in range(rows) for c in range(columns)]
    centers = np.array([(c - column, r - row) for r, c in cells], float)
    inside = task.clearance(centers) < 0
    assert inside.tolist() == [task.maze.layout.rows[r][c] == "1" for r, c in cells]
    assert len(task.maze.free_cells) == (~inside).sum()
    area = sum(4 * w.half_size[0] * w.half_size[1] for w in task.walls)
    assert area == inside.sum(), "no two boxes overlap"


@pytest.mark.parametrize("name", NAMES)
def test_the_scan_sees_the_walls_where_clearance_says(name):
    robot, rng = SimRobot(tasks.make(name), 0), np.random.default_rng(0)
    for _ in range(20):
        state = drive(robot, rng.uniform(-1, 1, 2), 7)
        _, ranges = robot.scan(1440, 20.0)
        assert ranges.min() == pytest.approx(robot.task.clearance(state.position[None, :2])[0], abs=2e-3)


# ---- the servo ------------------------------------------------------------------------------------


@pytest.mark.parametrize("speed", [1.0, 0.3, -1.0])
def test_the_base_follows_its_command(speed):
    robot = SimRobot(maze("pointmaze-v1"), 0)
    speeds = [float(robot.step(np.array([0.0, speed])).linear_velocity[1]) / speed for _ in range(6)]
    assert speeds[0] > 1 - np.exp(-1), "one time constant is less than a control period"
    assert speeds[3] > 0.99 and max(speeds) <= 1.0 + 1e-9, "no overshoot"


def test_the_base_stops_within_a_few_centimetres():
    robot = SimRobot(maze("pointmaze-v1"), 0)
    before = drive(robot, (0, 1), 6).position[1]
    after = drive(robot, (0, 0), 10)
    assert after.position[1] - before < 0.06
    assert abs(after.linear_velocity[1]) < 1e-6


# ---- the walls ------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(NAMES), st.integers(0, 2**31), st.sampled_from([0.02, 0.1, 0.4]))
def test_nobody_gets_into_a_wall(name, seed, restless):
    """Pushed about: never deeper than one physics step goes at its speed (28 mm head-on into a corner), and a bit."""
    task, rng = maze(name), np.random.default_rng(seed)
    env = BatchedEnv(task, 64)
    speed = np.linalg.norm(env.reset(seed)[:, 2:], axis=1)
    action = rng.choice([-1.0, 0.0, 1.0], (64, 2))
    for _ in range(150):
        turned = rng.random(64) < restless
        action[turned] = rng.choice([-1.0, 0.0, 1.0], (turned.sum(), 2))
        fastest = np.maximum(speed, np.linalg.norm(action, axis=1))
        step = env.step(action)
        depth = task.robot_radius - task.clearance(step.final_obs[:, :2])
        assert (depth < fastest / (task.rate_hz * task.substeps) + 0.005).all()
        assert np.abs(step.final_obs[:, 2:]).max() < 1.3
        speed = np.linalg.norm(step.obs[:, 2:], axis=1)


def test_leaning_on_a_wall_does_not_sink_in():
    robot = SimRobot(maze("pointmaze-v1"), 0)
    state = drive(robot, (1, 0), 60)
    assert state.position[0] == pytest.approx(0.4, abs=1e-3)
    assert robot.touching_wall and not robot.collided
    assert not np.allclose(drive(robot, (-1, 0), 5).position[0], 0.4, atol=0.1)
    assert not robot.touching_wall


def test_along_a_wall_it_slides_as_fast_as_without():
    """Pressed against the right wall of v1 at full force, past the seams between wall cells."""
    robot = SimRobot(maze("pointmaze-v1"), 0)
    drive(robot, (1, -1), 30)
    state = drive(robot, (1, 1), 5)
    assert robot.touching_wall
    start = state.position[1]
    state = drive(robot, (1, 1), 15)
    assert state.position[1] - start == pytest.approx(1.5, abs=0.01)


@pytest.mark.parametrize("away", [(-1, 0), (0, -1), (-1, -1)])
def test_out_of_a_corner_at_once(away):
    robot = SimRobot(maze("pointmaze-v1"), 0)
    corner = drive(robot, (1, 1), 40).position[:2]
    np.testing.assert_allclose(corner, [0.4, 1.4], atol=1e-3)
    moved = drive(robot, away, 5).position[:2] - corner
    np.testing.assert_allclose(moved, 0.44 * np.array(away), atol=0.02)


def test_past_an_outer_corner_without_hanging():
    """Down the right side of v1's middle wall, pressed against it, then round its corner to the left."""
    robot = SimRobot(maze("pointmaze-v1"), 0)
    state = drive(robot, (-1, 1), 20)
    assert state.position[0] < -1.0 and state.position[1] > 1.3


# ---- obstacles ------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(NAMES), st.integers(0, 2**31))
def test_obstacles_dropped_on_robots_push_nobody_through_a_wall(name, seed):
    task, rng = maze(name), np.random.default_rng(seed)
    env = BatchedEnv(task, 32)
    env.reset(seed)
    for index in range(60):
        if index % 6 == 0:
            env.set_obstacles(obstacles_anywhere(task, rng))
        step = env.step(rng.uniform(-1, 1, (32, 2)))
        assert task.clearance(step.final_obs[:, :2]).min() > 0.0
        assert np.isfinite(step.final_obs).all()


def obstacles_anywhere(task: PointMaze, rng: np.random.Generator) -> list[Obstacle]:
    """Five boxes and cylinders, any size up to a cell, anywhere where the robot can be."""
    cells = task.maze.free_cells[rng.integers(len(task.maze.free_cells), size=5)] + rng.uniform(-0.4, 0.4, (5, 2))
    sizes = rng.uniform(0.05, 0.5, 5)
    return [
        Obstacle(i, ("box", "cylinder")[i % 2], (x, y, 0.0), (h, h, 0.2), float(rng.uniform(0, 3)))
        for i, ((x, y), h) in enumerate(zip(cells.tolist(), sizes.tolist()))
    ]
