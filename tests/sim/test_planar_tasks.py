"""What every task of a robot on a floor must do: goals, ways and obstacles in the plane."""

from __future__ import annotations

import numpy as np
import pytest

from ddiffpg_core.spec import Step
from ddiffpg_sim import tasks
from ddiffpg_sim.batch import BatchedEnv
from ddiffpg_sim.obstacles import Obstacle
from ddiffpg_sim.task import planar
from tests.sim.support import PLANAR, dense, distance, place


@pytest.fixture(params=PLANAR)
def task(request):
    return planar(tasks.make(request.param), "this test")


def scale(task) -> float:
    """How large its world is: 1 for cells of a metre."""
    return task.spec.path_tolerance / 0.6


def move(env: BatchedEnv, velocity: np.ndarray) -> Step:
    """One step at ``velocity [N, 2]`` (m/s). A robot that cannot be told one is towed, its own motors off."""
    if env.spec.action.kind == "base_velocity":
        return env.step(velocity)
    state = env.state_dict()
    nq = env.task.start(np.random.default_rng(0), 1)[0].size
    state["physics"][:, 1 + nq : 3 + nq] = velocity
    env.load_state_dict(state)
    return env.step(np.zeros((env.num_envs, env.spec.action_dim)))


def test_goals_and_ways_are_free(task):
    assert (task.clearance(task.goals) > task.robot_radius).all()
    for way in task.ways:
        points = np.array(way.points)
        assert task.clearance(dense(points)).min() > 2 * task.robot_radius
        np.testing.assert_allclose(points[-1], task.goals[way.goal])


@pytest.mark.parametrize("gap, reached", [(-0.005, True), (0.005, False)])
def test_success_begins_at_the_goal_radius(task, gap, reached):
    directions = [(1, 0), (-1, 0), (0, 1), (0, -1)]
    for goal in task.goals:
        ring = goal + np.array(directions) * (task.goal_radius + gap)
        assert (task.success(ring) == reached).all()
        assert ((task.reward(ring) > 0.0) == reached).all()


def follow(points: np.ndarray, position: np.ndarray, leg: np.ndarray, speed: float) -> tuple[np.ndarray, np.ndarray]:
    """Towards the end of the running leg, at ``speed`` m/s at most: velocities ``[N, 2]``, and the leg after."""
    offset = points[leg] - position
    leg = np.minimum(leg + (np.linalg.norm(offset, axis=1) < 0.15 * speed), len(points) - 1)
    offset = points[leg] - position
    return np.clip(offset * 5.0, -speed, speed), leg


@pytest.mark.parametrize("name, index", [(n, i) for n in PLANAR for i in range(len(tasks.make(n).ways))])
def test_each_intended_way_leads_to_its_goal(name, index):
    task = tasks.make(name)
    way = dense(task.ways[index].points)
    env = BatchedEnv(task, 16)
    obs, leg, running = env.reset(index), np.zeros(16, int), np.ones(16, bool)
    for _ in range(task.spec.max_steps):
        velocity, leg = follow(np.array(task.ways[index].points), obs[:, :2], leg, scale(task))
        step = move(env, velocity)
        begun = running & (leg > 0)  # it may have started beside the way
        assert distance(step.final_obs[begun, :2], way).max(initial=0.0) < task.spec.path_tolerance / 2
        arrived = step.final_obs[running & step.done, :2]
        assert step.success[running & step.done].all()
        assert (np.linalg.norm(arrived - way[-1], axis=1) < task.goal_radius).all()
        running &= ~step.done
        obs = step.obs
        if not running.any():
            return
    pytest.fail(f"{running.sum()} of 16 did not arrive")


def at_origin(task) -> np.ndarray:
    """A first state ``[nq]``, with the robot at the origin."""
    qpos = task.start(np.random.default_rng(0), 1)[0][0]
    qpos[:2] = 0.0
    return qpos


def first_leg(task) -> np.ndarray:
    """Unit direction of the first way's first leg."""
    leg = np.array(task.ways[0].points[1]) - np.array(task.ways[0].points[0])
    return leg / np.linalg.norm(leg)


@pytest.mark.parametrize("shape", ["box", "cylinder"])
def test_obstacles_appear_move_and_go(task, shape):
    ahead, size = first_leg(task), scale(task)
    env = BatchedEnv(task, 4)
    for row in range(4):
        place(env, row, at_origin(task))  # head on, or it slides past a cylinder

    def travelled(steps: int) -> float:
        for _ in range(steps):
            step = move(env, np.tile(ahead * size, (4, 1)))
        return float((step.obs[:, :2] @ ahead).max())

    half = (0.45 * size, 0.45 * size, 0.3 * size)
    env.set_obstacles([Obstacle(1, shape, (*(ahead * 0.9 * size), 0.0), half)])
    blocked, near = travelled(15), 0.45 * size
    assert near - 2 * task.robot_radius < blocked < near, "as far as the obstacle and its own radius let it"
    env.set_obstacles([Obstacle(1, shape, (*(ahead * 1.3 * size), 0.0), half)])
    pushed_back = travelled(10)
    assert blocked + 0.2 * size < pushed_back < 0.85 * size, "one that moved away blocks where it is now"
    env.set_obstacles([])
    step = move(env, np.tile(ahead * size, (4, 1)))
    assert (step.final_obs[:, :2] @ ahead > pushed_back + 0.03 * size).all() or step.success.any()
