"""The ant mazes: the facts of the paper, and that a policy would see on a robot what it saw in training."""

from __future__ import annotations

import math

import mujoco
import numpy as np
import pytest

from ddiffpg.contract import Contract
from ddiffpg.observation import observe
from ddiffpg_sim import tasks
from ddiffpg_sim.antmaze import JOINTS, STANDING, AntMaze
from ddiffpg_sim.batch import BatchedEnv
from ddiffpg_sim.obstacles import Obstacle
from ddiffpg_sim.robot import SimRobot

NAMES = [name for name in tasks.names() if name.startswith("antmaze")]


def ant(name: str) -> AntMaze:
    task = tasks.make(name)
    assert isinstance(task, AntMaze)
    return task


@pytest.mark.parametrize("name", NAMES)
def test_the_model_is_the_papers(name):
    task = ant(name)
    model = mujoco.MjModel.from_xml_string(task.model_xml())
    assert model.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4
    assert (model.opt.timestep, task.substeps, task.spec.rate_hz) == (0.02, 5, 10.0)
    assert (model.nq, model.nv, model.nu) == (15, 14, 8)
    assert (task.spec.obs_dim, task.spec.action_dim) == (29, 8)
    assert (model.actuator_gear[:, 0] == 30.0).all()
    assert [model.joint(model.actuator_trnid[i, 0]).name for i in range(8)] == list(JOINTS)
    assert [model.joint(1 + i).name for i in range(8)] == list(JOINTS)
    assert (task.goal_radius, task.wall_height, task.maze.cell) == (0.5, 2.0, 4.0)


@pytest.mark.parametrize(
    ("name", "steps", "goals", "rewards"),
    [
        ("antmaze-v1", 500, [(-8, 0)], [10]),
        ("antmaze-v2", 500, [(8, 0), (-8, 8)], [10, 20]),
        ("antmaze-v3", 700, [(12, -12), (-12, 12)], [10, 10]),
        ("antmaze-v4", 700, [(-16, -4), (-16, 4)], [10, 10]),
    ],
)
def test_goals_are_where_the_paper_has_them_and_pay_what_it_says(name, steps, goals, rewards):
    task = ant(name)
    assert task.spec.max_steps == steps
    np.testing.assert_array_equal(task.goals, goals)
    there = np.tile(STANDING, (len(goals), 1))
    there[:, :2] = goals
    assert task.reward(there).tolist() == rewards
    there[:, 0] += 0.51
    assert task.reward(there).tolist() == [0.0] * len(goals)


def test_only_the_first_maze_begins_anywhere_within_two_metres():
    for name in NAMES:
        qpos, qvel = ant(name).start(np.random.default_rng(0), 1000)
        reach = np.abs(qpos[:, :2]).max()
        assert (1.9 < reach <= 2.0) if name == "antmaze-v1" else (reach == 0.0)
        assert not qvel.any() and np.abs(qpos[:, 7:] - STANDING[7:]).max() <= 0.1


def test_left_alone_it_stands():
    env = BatchedEnv(ant("antmaze-v2"), 8)
    for _ in range(50):
        step = env.step(np.zeros((8, 8)))
    assert (np.abs(step.obs[:, :2]) < 0.1).all()
    assert ((step.obs[:, 2] > 0.45) & (step.obs[:, 2] < 0.7)).all()
    assert (step.obs[:, 3] > 0.99).all() and (np.abs(step.obs[:, 15:]) < 0.2).all()


def test_a_torque_bends_the_joint_that_it_is_for():
    task = ant("antmaze-v2")
    for index in range(8):
        env = BatchedEnv(task, 1)
        before = env.reset(0)[0, 7:15]
        action = np.zeros((1, 8))
        action[0, index] = 20.0 if abs(before[index]) < 0.5 or before[index] < 0 else -20.0  # away from its limit
        moved = env.step(action).final_obs[0, 7:15] - before
        assert np.abs(moved).argmax() == index and np.sign(moved[index]) == np.sign(action[0, index])


def test_falling_over_ends_nothing():
    env = BatchedEnv(ant("antmaze-v2"), 1)
    state = env.state_dict()
    state["physics"][0, 4:8] = (0.0, 1.0, 0.0, 0.0)  # on its back
    env.load_state_dict(state)
    for _ in range(20):
        assert not env.step(np.zeros((1, 8))).done.any()


def test_a_policy_sees_on_the_robot_what_it_saw_in_training(ant_contract: Contract):
    task = ant("antmaze-v1")
    env, robot = BatchedEnv(task, 1), SimRobot(task, 0)
    rng = np.random.default_rng(0)
    for _ in range(30):
        qpos, qvel = task.start(rng, 1)
        qpos[0, 3:7] = rng.normal(size=4)
        qpos[0, 3:7] /= np.linalg.norm(qpos[0, 3:7])
        qvel[:] = rng.normal(size=qvel.shape)
        seen = observe(ant_contract, task.robot_state(0.0, qpos[0], qvel[0]))
        np.testing.assert_allclose(seen, task.observe(qpos, qvel)[0], atol=1e-5)
    for action in np.repeat(rng.uniform(-30, 30, (4, 8)), 3, axis=0):
        state = robot.step(action)
        assert state.stamp == pytest.approx(robot.time) and np.isfinite(observe(ant_contract, state)).all()
    env.close()


@pytest.fixture
def ant_contract() -> Contract:
    from ddiffpg.contract import ActionField, Mode, ObservationField, Training

    spec = ant("antmaze-v1").spec
    fields = tuple(ObservationField(f.name, f.source, f.unit, f.joint) for f in spec.observation)
    actions = tuple(ActionField(f.name, f.unit, f.low, f.high, f.joint) for f in spec.action.fields)
    mode = Mode(0, (), 1.0, 1.0, 1.0, 100.0, ((0.0, 0.0), (-8.0, 0.0)), (2.0, 2.0))
    return Contract(
        version=1, task=spec.name, robot=spec.robot, rate_hz=spec.rate_hz, max_steps=spec.max_steps,
        observation=fields, action_kind=spec.action.kind, action=actions, path=spec.path,
        path_tolerance=spec.path_tolerance, robot_radius=0.9, noise_dim=8, denoising_steps=1, modes=(mode,),
        training=Training(commit="0" * 40, seed=0, transitions=0, config={}),
    )  # fmt: skip


def test_its_scan_sees_walls_and_obstacles_and_not_its_legs():
    robot = SimRobot(ant("antmaze-v2"), 0)
    angles, ranges = robot.scan(4, 30.0)
    assert ranges.min() > 1.9
    by_angle = dict(zip(np.round(angles, 3), ranges))
    assert by_angle[0.0] == pytest.approx(10.0, abs=0.05)  # the wall behind the goal at x = 8
    assert by_angle[round(-math.pi, 3)] == pytest.approx(10.0, abs=0.05)
    robot.set_obstacle(Obstacle(0, "box", (4.0, 0.0, 1.0), (1.0, 1.0, 1.0)))
    assert robot.scan(4, 30.0)[1][2] == pytest.approx(3.0, abs=0.05)


def test_floor_walls_and_obstacles_are_told_apart():
    robot = SimRobot(ant("antmaze-v2"), 0)
    for _ in range(10):
        robot.step(np.zeros(8))
    assert not robot.touching_wall and not robot.collided, "it stands on the floor"
    robot.set_obstacle(Obstacle(0, "box", (0.9, 0.9, 1.0), (0.4, 0.4, 1.0)))
    robot.step(np.zeros(8))
    assert robot.collided and not robot.touching_wall


# ---- the ant's legs are alike --------------------------------------------------------------------------


def stepped(model: mujoco.MjModel, observation: np.ndarray, action: np.ndarray, steps: int) -> np.ndarray:
    """The observation ``[29]`` after so many control steps of ``action [8]`` (±1)."""
    data = mujoco.MjData(model)
    data.qpos, data.qvel, data.ctrl = observation[:15], observation[15:], action
    mujoco.mj_step(model, data, 5 * steps)
    return np.concatenate([data.qpos, data.qvel])


@pytest.mark.parametrize("which", range(7))
def test_with_its_legs_exchanged_it_moves_the_same(which):
    task = ant("antmaze-v1")
    model = mujoco.MjModel.from_xml_string(task.model_xml())
    symmetry = task.spec.symmetries[which]
    rng = np.random.default_rng(which)
    before = np.concatenate([STANDING, rng.normal(size=14)])
    before[3:7] = rng.normal(size=4) * [1.0, 0.2, 0.2, 1.0]
    before[3:7] /= np.linalg.norm(before[3:7])
    action = rng.uniform(-1, 1, 8)
    after = stepped(model, before, action, 5)
    assert np.linalg.norm(after[7:] - before[7:]) > 0.5
    turned = stepped(model, symmetry.observation @ before, symmetry.action @ action, 5)
    np.testing.assert_allclose(turned, symmetry.observation @ after, atol=1e-6)


def test_seven_exchanges_are_all_there_are_and_an_eighth_changes_nothing():
    symmetries = ant("antmaze-v1").spec.symmetries
    first, last = symmetries[0], symmetries[-1]
    assert len({tuple(np.round(s.observation, 6).ravel()) for s in symmetries}) == 7
    np.testing.assert_allclose(first.observation @ last.observation, np.eye(29), atol=1e-12)
    np.testing.assert_allclose(first.action @ last.action, np.eye(8), atol=1e-12)
    for s in symmetries:  # where it is stays, and limits are kept
        np.testing.assert_array_equal(s.observation[:2], np.eye(29)[:2])
        assert set(np.abs(s.action).sum(1)) == {1.0}
