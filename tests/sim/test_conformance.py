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
from ddiffpg_core.spec import Step
from ddiffpg_sim import tasks
from ddiffpg_sim.batch import BatchedEnv
from ddiffpg_sim.obstacles import Obstacle

NAMES = tasks.names()
STEP_ARRAYS = ("obs", "reward", "terminated", "truncated", "success", "final_obs")


@pytest.fixture(params=NAMES)
def task(request):
    return tasks.make(request.param)


def held_actions(task, rng: np.random.Generator, steps: int, envs: int) -> np.ndarray:
    """Random actions ``[T, N, A]`` that are held for five steps, so that robots reach the walls."""
    low, high = task.spec.action.low, task.spec.action.high
    return np.repeat(rng.uniform(low, high, (-(-steps // 5), envs, len(low))), 5, axis=0)[:steps].astype(np.float32)


def assert_same(a: Step, b: Step) -> None:
    for name in STEP_ARRAYS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def place(env: BatchedEnv, row: int, position, steps: int = 0, velocity=(0.0, 0.0)) -> None:
    """Put the robot of ``row`` at ``position`` (x, y), ``steps`` into its episode."""
    qpos, qvel = env.task.start(np.random.default_rng(0), 1)
    qpos[0, :2], qvel[0, :2] = position, velocity
    state = env.state_dict()
    state["physics"][row] = 0.0
    state["physics"][row, 1 : 1 + qpos.size + qvel.size] = np.concatenate([qpos[0], qvel[0]])
    state["steps"][row] = steps
    env.load_state_dict(state)


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


def spread(task) -> float:
    """How far from the origin (m, in x or y) an episode may start."""
    return float(np.abs(task.start(np.random.default_rng(0), 2000)[0][:, :2]).max()) + 0.01


# ---- the description ------------------------------------------------------------------------------


def test_spec_fits_the_contract_and_the_model(task):
    spec = task.spec
    model = mujoco.MjModel.from_xml_string(task.model_xml())
    assert spec.name in NAMES
    assert all(
        f.source in OBSERVATION_SOURCES and (f.joint is None) == f.source.startswith("odom") for f in spec.observation
    )
    assert len({f.name for f in spec.observation}) == spec.obs_dim
    assert set(spec.path) <= {f.name for f in spec.observation}
    assert spec.action.kind in ACTION_KINDS and (spec.action.low < spec.action.high).all()
    assert model.nu == task.control(np.zeros((1, spec.action_dim))).shape[1]
    assert model.opt.timestep * task.substeps == pytest.approx(1 / spec.rate_hz)


def test_observations_are_about_one_when_normalised(task):
    env = BatchedEnv(task, 32)
    for action in held_actions(task, np.random.default_rng(0), 200, 32):
        step = env.step(action)
        assert np.abs(task.spec.normalise(step.final_obs)).max() < 1.3


def test_goals_and_ways_are_free(task):
    assert (task.clearance(task.goals) > task.robot_radius).all()
    for way in task.ways:
        points = np.array(way.points)
        assert task.clearance(dense(points)).min() > 2 * task.robot_radius
        np.testing.assert_allclose(points[-1], task.goals[way.goal])


def test_unknown_task_names_the_known_ones():
    with pytest.raises(KeyError, match="pointmaze-v1"):
        tasks.make("pointmaze-v9")


# ---- episodes -------------------------------------------------------------------------------------


def test_a_seed_decides_everything(task):
    actions = held_actions(task, np.random.default_rng(1), 60, 8)
    one, other, third = BatchedEnv(task, 8), BatchedEnv(task, 8, threads=3), BatchedEnv(task, 8)
    np.testing.assert_array_equal(one.reset(5), other.reset(5))
    assert (third.reset(6) != one.reset(5)).any()
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
    idle = np.zeros((3, task.spec.action_dim), np.float32)
    for _ in range(task.spec.max_steps - 1):
        step = env.step(idle)
        assert not step.done.any()
    step = env.step(idle)
    assert step.truncated.all()
    assert not step.terminated.any() and not step.success.any() and (step.reward == 0).all()
    assert (step.final_obs != step.obs).any(axis=1).all(), "obs begins the next episode, final_obs ends the last"
    assert (env.steps == 0).all() and (env.state_dict()["physics"][:, 0] == 0).all()


@pytest.mark.parametrize("last", [False, True], ids=["early", "at the time limit"])
def test_success_terminates_and_does_not_truncate(task, last):
    env = BatchedEnv(task, 2)
    for goal in task.goals:
        env.reset(0)
        place(env, 1, goal, steps=task.spec.max_steps - 1 if last else 0)
        step = env.step(np.zeros((2, task.spec.action_dim), np.float32))
        assert step.terminated.tolist() == step.success.tolist() == [False, True]
        assert not step.truncated.any()
        assert step.reward[0] == 0.0 and step.reward[1] > 0.0
        np.testing.assert_allclose(step.final_obs[1, :2], goal, atol=0.05)
        np.testing.assert_array_equal(step.obs[0], step.final_obs[0])
        assert np.abs(step.obs[1, :2]).max() <= spread(task), "the next episode has begun"
        assert env.steps.tolist() == [1, 0]


@pytest.mark.parametrize("gap, reached", [(-0.005, True), (0.005, False)])
def test_success_begins_at_the_goal_radius(task, gap, reached):
    directions = [(1, 0), (-1, 0), (0, 1), (0, -1)]
    for goal in task.goals:
        ring = goal + np.array(directions) * (task.goal_radius + gap)
        assert (task.success(ring) == reached).all()
        assert ((task.reward(ring) > 0.0) == reached).all()


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


def follow(points: np.ndarray, position: np.ndarray, leg: np.ndarray, speed: float) -> tuple[np.ndarray, np.ndarray]:
    """Towards the end of the running leg, at ``speed`` m/s at most: velocities ``[N, 2]``, and the leg after."""
    offset = points[leg] - position
    leg = np.minimum(leg + (np.linalg.norm(offset, axis=1) < 0.15 * speed), len(points) - 1)
    offset = points[leg] - position
    return np.clip(offset * 5.0, -speed, speed), leg


@pytest.mark.parametrize("name, index", [(n, i) for n in NAMES for i in range(len(tasks.make(n).ways))])
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


def dense(corners) -> np.ndarray:
    """Points ``[P, 2]`` every few centimetres along ``corners``."""
    corners = np.array(corners)
    return np.concatenate([np.linspace(a, b, 50) for a, b in zip(corners[:-1], corners[1:])])


def distance(points: np.ndarray, way: np.ndarray) -> np.ndarray:
    """Metres from each of ``points [N, 2]`` to the nearest of ``way [P, 2]``: ``[N]``."""
    return np.linalg.norm(points[:, None] - way[None], axis=-1).min(axis=1)


def test_the_ways_of_a_task_are_further_apart_than_its_tolerance(task):
    ways = [dense(way.points) for way in task.ways]
    for i, one in enumerate(ways):
        for other in ways[i + 1 :]:
            assert max(distance(one, other).max(), distance(other, one).max()) > task.spec.path_tolerance


# ---- obstacles ------------------------------------------------------------------------------------


def first_leg(task) -> np.ndarray:
    """Unit direction of the first way's first leg."""
    leg = np.array(task.ways[0].points[1]) - np.array(task.ways[0].points[0])
    return leg / np.linalg.norm(leg)


@pytest.mark.parametrize("shape", ["box", "cylinder"])
def test_obstacles_appear_move_and_go(task, shape):
    ahead, size = first_leg(task), scale(task)
    env = BatchedEnv(task, 4)
    for row in range(4):
        place(env, row, (0.0, 0.0))  # head on, or it slides past a cylinder

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
    alike = task.spec.max_steps if len(qpos) == 2 else 5  # legs on a floor make much of the last digit
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
