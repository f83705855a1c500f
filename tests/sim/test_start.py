"""Episodes that begin elsewhere than their task has it."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from ddiffpg_sim import tasks
from ddiffpg_sim.batch import BatchedEnv
from ddiffpg_sim.randomised import RandomisedEnv
from ddiffpg_sim.robot import SimRobot
from ddiffpg_sim.signals import Deviation
from ddiffpg_sim.start import Start
from ddiffpg_sim.variation import Variation
from tests.sim.support import NAMES, assert_same, held_actions


def starts(name: str, start: Start, envs: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """``qpos [N, nq]`` and ``qvel [N, nv]`` of so many episodes that begin with it."""
    env = BatchedEnv(tasks.make(name), envs, deviate=lambda rng, count: [Deviation(start=start)] * count)
    return env._qpos.copy(), env._qvel.copy()


@pytest.mark.parametrize("name", ["pointmaze-v1", "antmaze-v1"])
def test_a_base_begins_so_far_off_and_so_fast_at_most(name):
    qpos, qvel = starts(name, Start(position=0.3, velocity=0.5))
    as_task, still = starts(name, Start())
    for moved, was, most in ((qpos, as_task, 0.3), (qvel, still, 0.5)):
        off = moved[:, :2] - was[:, :2]  # the same seed, so the same start before it was moved
        assert (np.abs(off) <= most).all() and (off.max(0) > 0.95 * most).all() and (off.min(0) < -0.95 * most).all()
        assert abs(np.corrcoef(off.T)[0, 1]) < 0.2
        np.testing.assert_array_equal(moved[:, 2:], was[:, 2:])


@pytest.mark.parametrize("name", ["antmaze-v1", "panda-reach", "panda-drawer"])
def test_joints_begin_off_within_their_limits_and_the_world_stays(name):
    task = tasks.make(name)
    model = mujoco.MjModel.from_xml_string(task.model_xml())
    robot = [j for j in range(model.njnt) if model.jnt_type[j] == mujoco.mjtJoint.mjJNT_HINGE
             and model.actuator_trnid[:, 0].tolist().count(j)]  # fmt: skip
    columns = model.jnt_qposadr[robot]
    qpos, _ = starts(name, Start(joints=0.4))
    as_task, _ = starts(name, Start())
    low, high = model.jnt_range[robot].T
    assert (qpos[:, columns] >= low).all() and (qpos[:, columns] <= high).all()
    centre = (as_task[:, columns].min(0) + as_task[:, columns].max(0)) / 2.0
    reach = np.minimum(np.minimum(centre - low, high - centre), 0.35)
    assert (np.abs(qpos[:, columns] - centre).max(0) > reach).all()
    others = np.setdiff1d(np.arange(model.nq), columns)
    np.testing.assert_array_equal(qpos[:, others], as_task[:, others])


def test_what_the_robot_has_not_is_refused():
    with pytest.raises(ValueError, match="position: task 'panda-reach' has no base to move"):
        starts("panda-reach", Start(position=0.1), 2)
    with pytest.raises(ValueError, match="joints: task 'pointmaze-v1' has a robot without joints"):
        starts("pointmaze-v1", Start(joints=0.1), 2)
    with pytest.raises(ValueError, match="velocity is -1"):
        Start(velocity=-1.0)


@pytest.mark.parametrize("name", NAMES)
def test_no_start_of_its_own_draws_nothing(name):
    plain = BatchedEnv(tasks.make(name), 4, deviate=lambda rng, count: [Deviation()] * count)
    same = BatchedEnv(tasks.make(name), 4, deviate=lambda rng, count: [Deviation(start=Start())] * count)
    np.testing.assert_array_equal(plain.reset(3), same.reset(3))


def test_one_robot_begins_off_as_well():
    task = tasks.make("antmaze-v1")
    robot = SimRobot(task, deviation=Deviation(start=Start(position=0.5, joints=0.2)))
    as_task = SimRobot(task)
    off = np.array([robot.reset(seed).position[:2] - as_task.reset(seed).position[:2] for seed in range(30)])
    assert 0.4 < np.abs(off).max() <= 0.5
    np.testing.assert_array_equal(robot.reset(3).position[:2] - as_task.reset(3).position[:2], off[3])


def test_a_randomised_run_goes_on_with_its_starts():
    variation = Variation.from_plain({"start": {"position": {"uniform": [0.0, 0.3], "unit": "m"}}}, "x")
    task = tasks.make("pointmaze-v1")
    env, other = (RandomisedEnv(task, 3, 1, variation, training=True) for _ in range(2))
    for robots in (env, other):
        robots._progress.share = 1.0
    actions = held_actions(task, np.random.default_rng(0), 250, 3)
    for action in actions[:120]:
        env.step(action)
    np.testing.assert_array_equal(other.load_state_dict(env.state_dict()), env._observe())
    for action in actions[120:]:
        assert_same(env.step(action), other.step(action))
