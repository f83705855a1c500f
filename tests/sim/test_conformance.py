"""What every task must do, whichever it is."""

from __future__ import annotations

import pickle

import gymnasium
import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import ddiffpg_sim.gym_env  # noqa: F401 (registers the tasks)
from ddiffpg.contract import ACTION_KINDS, OBSERVATION_SOURCES
from ddiffpg.observation import RobotState, observe
from ddiffpg_sim import tasks
from ddiffpg_sim.batch import BatchedEnv
from ddiffpg_sim.obstacles import Obstacle
from tests.sim.support import NAMES, STEP_ARRAYS, assert_same, dense, distance, done_states, held_actions, place


@pytest.fixture(params=NAMES)
def task(request):
    return tasks.make(request.param)


# ---- the description ------------------------------------------------------------------------------


def test_spec_fits_the_contract_and_the_model(task):
    spec = task.spec
    model = mujoco.MjModel.from_xml_string(task.model_xml())
    assert spec.name in NAMES
    assert all(
        f.source in OBSERVATION_SOURCES and (f.joint is not None) == f.source.startswith("joint")
        for f in spec.observation
    )
    assert len({f.name for f in spec.observation}) == spec.obs_dim
    assert set(spec.path) <= {f.name for f in spec.observation}
    assert spec.action.kind in ACTION_KINDS and (spec.action.low < spec.action.high).all()
    qpos, _ = task.start(np.random.default_rng(0), 1)
    assert task.control(np.zeros((1, spec.action_dim)), qpos).shape == (1, model.nu)
    assert all(len(point) == len(spec.path) for way in task.ways for point in way.points)
    assert model.opt.timestep * task.substeps == pytest.approx(1 / spec.rate_hz)


def test_observations_are_about_one_when_normalised(task):
    """An arm may swing behind itself, where it has nothing to do."""
    env = BatchedEnv(task, 32)
    for action in held_actions(task, np.random.default_rng(0), min(200, 2 * task.spec.max_steps), 32):
        step = env.step(action)
        assert np.abs(task.spec.normalise(step.final_obs)).max() < (1.8 if len(task.spec.path) == 3 else 1.3)


def test_unknown_task_names_the_known_ones():
    with pytest.raises(KeyError, match="pointmaze-v1"):
        tasks.make("pointmaze-v9")


# ---- episodes -------------------------------------------------------------------------------------


def test_a_seed_decides_everything(task):
    actions = held_actions(task, np.random.default_rng(1), 60, 8)
    one, other, third = BatchedEnv(task, 8), BatchedEnv(task, 8, threads=3), BatchedEnv(task, 8)
    np.testing.assert_array_equal(one.reset(5), other.reset(5))
    varied = np.ptp(task.start(np.random.default_rng(0), 20)[0], axis=0).any()
    assert (third.reset(6) != one.reset(5)).any() == varied
    for action in actions:
        assert_same(one.step(action), other.step(action))


def test_reset_starts_the_same_whatever_happened_before(task):
    env = BatchedEnv(task, 4)
    first = env.reset(3)
    for action in held_actions(task, np.random.default_rng(0), 30, 4):
        env.step(action)
    np.testing.assert_array_equal(env.reset(3), first)
    assert (env.steps == 0).all()


def test_time_limit_truncates_and_does_not_terminate(task):
    env = BatchedEnv(task, 3)
    sway = 0.1 * np.tile(task.spec.action.high, (3, 1))
    for index in range(task.spec.max_steps - 1):
        step = env.step(sway * (-1) ** index)
        assert not step.done.any()
    step = env.step(sway)
    assert step.truncated.all()
    assert not step.terminated.any() and not step.success.any() and (step.reward == 0).all()
    assert (step.final_obs != step.obs).any(axis=1).all(), "obs begins the next episode, final_obs ends the last"
    assert (env.steps == 0).all() and (env.state_dict()["physics"][:, 0] == 0).all()


@pytest.mark.parametrize("last", [False, True], ids=["early", "at the time limit"])
def test_success_terminates_and_does_not_truncate(task, last):
    env, columns = BatchedEnv(task, 2), task.spec.path_columns
    starts = task.observe(*task.start(np.random.default_rng(0), 2000))[:, columns]
    for state in done_states(task):
        env.reset(0)
        place(env, 1, state, steps=task.spec.max_steps - 1 if last else 0)
        step = env.step(np.zeros((2, task.spec.action_dim), np.float32))
        assert step.terminated.tolist() == step.success.tolist() == [False, True]
        assert not step.truncated.any()
        assert step.reward[0] == 0.0 and step.reward[1] > 0.0
        there = task.observe(state[None], np.zeros_like(task.start(np.random.default_rng(0), 1)[1]))[0]
        np.testing.assert_allclose(step.final_obs[1, columns], there[columns], atol=0.05)
        np.testing.assert_array_equal(step.obs[0], step.final_obs[0])
        begun = step.obs[1, columns]
        assert ((starts.min(axis=0) - 0.01 < begun) & (begun < starts.max(axis=0) + 0.01)).all(), "the next episode"
        assert env.steps.tolist() == [1, 0]


def test_an_episode_that_is_given_up_ends_as_if_its_time_were_up(task):
    env = BatchedEnv(task, 4)
    env.reset(0)
    for _ in range(3):
        step = env.step(np.zeros((4, task.spec.action_dim)))
    ended = env.end(step, np.array([False, True, False, True]))
    assert ended.truncated.tolist() == [False, True, False, True] and not ended.terminated.any()
    assert env.steps.tolist() == [3, 0, 3, 0]
    np.testing.assert_array_equal(ended.final_obs, step.final_obs)
    np.testing.assert_array_equal(ended.obs[[0, 2]], step.obs[[0, 2]])
    assert (ended.obs[[1, 3]] != step.final_obs[[1, 3]]).any(1).all()
    assert env.end(ended, ended.truncated) is ended  # they have ended already


def test_what_a_step_gives_is_its_own(task):
    touched, left_alone = BatchedEnv(task, 8), BatchedEnv(task, 8)
    for action in held_actions(task, np.random.default_rng(2), 40, 8):
        step, expected = touched.step(action), left_alone.step(action)
        assert_same(step, expected)
        arrays = [getattr(step, name) for name in STEP_ARRAYS]
        for i, array in enumerate(arrays):
            assert not any(np.shares_memory(array, other) for other in arrays[i + 1 :])
            array[:] = 0 if array.dtype == bool else 99
        touched.state_dict()["physics"][:] = 99
        touched.steps[:] = 99


def test_what_its_sensors_report_says_where_the_robot_is(task):
    env, rows = BatchedEnv(task, 4), task.start(np.random.default_rng(0), 1)
    nq, nv = rows[0].shape[1], rows[1].shape[1]
    for action in held_actions(task, np.random.default_rng(3), 10, 4):
        step = env.step(action)
    for physics, seen in zip(env.state_dict()["physics"], step.final_obs):
        qpos, qvel = np.split(physics[1 : 1 + nq + nv], [nq])
        state = task.robot_state(0.0, qpos, qvel)
        np.testing.assert_array_equal(task.qpos_of(state), qpos)
        np.testing.assert_allclose(task.qvel_of(state), qvel, atol=1e-12)
        np.testing.assert_allclose(observe(task.spec, state), seen, atol=1e-5)
    assert np.isnan(task.qpos_of(RobotState(0.0))).any()


def test_rewards_and_flags_have_their_types(task):
    step = BatchedEnv(task, 2).step(np.zeros((2, task.spec.action_dim), np.float32))
    assert step.obs.dtype == step.final_obs.dtype == step.reward.dtype == np.float32
    assert step.terminated.dtype == step.truncated.dtype == step.success.dtype == bool
    assert step.obs.shape == (2, task.spec.obs_dim)


def test_actions_are_clipped_to_the_limits(task):
    one, other = BatchedEnv(task, 4), BatchedEnv(task, 4)
    high = np.tile(task.spec.action.high, (4, 1))
    assert_same(one.step(high), other.step(high * 7))


def test_saved_state_has_identical_futures(task):
    rng = np.random.default_rng(4)
    env = BatchedEnv(task, 6)
    env.reset(7)
    env.set_obstacles([Obstacle(2, "box", (0.5, 0.5, 0.0), (0.2, 0.1, 0.3), 0.7)])
    for action in held_actions(task, rng, task.spec.max_steps // 2, 6):
        env.step(action)
    saved = pickle.loads(pickle.dumps(env.state_dict()))
    kept = env.state_dict()
    resumed = BatchedEnv(task, 6, threads=2)
    obs = resumed.load_state_dict(saved)
    model = mujoco.MjModel.from_xml_string(task.model_xml())
    qpos, qvel = np.split(kept["physics"][:, 1 : 1 + model.nq + model.nv], [model.nq], axis=1)
    np.testing.assert_array_equal(obs, task.observe(qpos, qvel))
    # Long enough for every episode to end, and the next ones to start from the saved generator.
    for action in held_actions(task, rng, task.spec.max_steps, 6):
        assert_same(env.step(action), resumed.step(action))
    np.testing.assert_array_equal(saved["physics"], kept["physics"], err_msg="a saved state stays as it was")
    assert resumed.obstacles == env.obstacles


# ---- ways -----------------------------------------------------------------------------------------


def test_the_ways_of_a_task_are_further_apart_than_its_tolerance(task):
    ways = [dense(way.points) for way in task.ways]
    for i, one in enumerate(ways):
        for other in ways[i + 1 :]:
            assert max(distance(one, other).max(), distance(other, one).max()) > task.spec.path_tolerance


# ---- obstacles ------------------------------------------------------------------------------------


def test_an_obstacle_far_away_changes_nothing(task):
    one, other = BatchedEnv(task, 8), BatchedEnv(task, 8)
    for index, action in enumerate(held_actions(task, np.random.default_rng(3), 60, 8)):
        if index == 20:
            other.set_obstacles([Obstacle(i, "box", (50.0 + i, 0.0, 0.0), (0.1, 0.1, 0.1)) for i in range(20)])
        assert_same(one.step(action), other.step(action))


# ---- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_action_that_is_not_finite_is_refused(task, bad):
    env = BatchedEnv(task, 2)
    action = np.zeros((2, task.spec.action_dim))
    action[1, 0] = bad
    before = env.state_dict()
    with pytest.raises(ValueError, match="finite"):
        env.step(action)
    np.testing.assert_array_equal(env.state_dict()["physics"], before["physics"])


def test_wrong_sizes_are_refused(task):
    env = BatchedEnv(task, 2)
    with pytest.raises(ValueError, match="action is"):
        env.step(np.zeros((3, task.spec.action_dim)))
    with pytest.raises(ValueError, match="saved physics"):
        env.load_state_dict(BatchedEnv(task, 3).state_dict())
    with pytest.raises(ValueError, match="at least 1"):
        BatchedEnv(task, 0)
    with pytest.raises(ValueError, match="at least 1"):
        BatchedEnv(task, 1, threads=0)


def test_after_close_a_step_is_an_error(task):
    env = BatchedEnv(task, 2, threads=2)
    env.close()
    with pytest.raises((RuntimeError, AttributeError)):
        env.step(np.zeros((2, task.spec.action_dim)))


# ---- gymnasium ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*Box observation space m.* value is:UserWarning")
@pytest.mark.filterwarnings("error::DeprecationWarning")
def test_gymnasium_finds_nothing_wrong(task):
    env = gymnasium.make(f"ddiffpg/{task.spec.name}", render_mode="rgb_array")
    check_env(env.unwrapped)
    env.close()


def test_gymnasium_steps_the_same_task(task):
    single, batch = gymnasium.make(f"ddiffpg/{task.spec.name}"), BatchedEnv(task, 1)
    single.reset(seed=3)
    qpos, state = single.unwrapped._data.qpos, batch.state_dict()
    state["physics"][0, 1:] = 0.0
    state["physics"][0, 1 : 1 + len(qpos)] = qpos
    batch.load_state_dict(state)
    alike = task.spec.max_steps if len(qpos) == 2 else 5  # contacts of many joints make much of the last digit
    for index, action in enumerate(held_actions(task, np.random.default_rng(5), task.spec.max_steps, 1)):
        obs, reward, terminated, truncated, info = single.step(action[0])
        step = batch.step(action)
        if index < alike:
            np.testing.assert_allclose(obs, step.final_obs[0], atol=1e-5)
        assert (reward, terminated, truncated) == (step.reward[0], step.terminated[0], step.truncated[0])
        assert info["success"] == step.success[0]
        if terminated or truncated:
            break
    assert terminated or truncated


def test_gymnasium_refuses_what_makes_no_sense(task):
    env = gymnasium.make(f"ddiffpg/{task.spec.name}", disable_env_checker=True)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="finite"):
        env.step(np.full(task.spec.action_dim, np.nan))
    with pytest.raises(ValueError, match="finite"):
        env.step(np.zeros(task.spec.action_dim + 1))
