"""Robots that differ from their model, in the batch: what each deviation does, and that everything can be repeated."""

from __future__ import annotations

import pickle
from collections.abc import Sequence

import mujoco
import numpy as np
import pytest

from ddiffpg_sim import tasks
from ddiffpg_sim.batch import BatchedEnv
from ddiffpg_sim.dynamics import NOMINAL, Dynamics
from ddiffpg_sim.obstacles import Obstacle
from ddiffpg_sim.signals import Deviation, Signals
from ddiffpg_sim.task import PlanarTask, Task
from tests.sim.support import NAMES, PLANAR, assert_same, held_actions


@pytest.fixture(params=NAMES)
def task(request):
    return tasks.make(request.param)


def always(dynamics: Dynamics = NOMINAL, **signals: float):
    """The same deviation for every episode."""
    deviation = Deviation(dynamics, Signals(**signals))
    return lambda rng, count: [deviation] * count


def mixed(task: Task):
    """Everything that can differ, in another way for each episode."""
    most = Signals(0.15, 0.05, 0.08, 0.05, 0.05, 0.2, 0.1, *((0.5, 0.4) if isinstance(task, PlanarTask) else (0, 0)))

    def draw(rng: np.random.Generator, count: int) -> Sequence[Deviation]:
        shares = rng.random((count, len(vars(most)) + 2))
        return [
            Deviation(
                Dynamics(mass=0.7 + 0.6 * share[0], friction=0.7 + 0.6 * share[1], strength=0.8 + 0.4 * share[1]),
                Signals(*(s * value for s, value in zip(share[2:].tolist(), vars(most).values()))),
            )
            for share in shares
        ]

    return draw


def true_state(env: BatchedEnv) -> tuple[np.ndarray, np.ndarray]:
    physics = env.state_dict()["physics"]
    nq, nv = (array.shape[1] for array in env.task.start(np.random.default_rng(0), 1))
    return physics[:, 1 : 1 + nq], physics[:, 1 + nq : 1 + nq + nv]


# ---- all of it ------------------------------------------------------------------------------------


def test_a_nominal_deviation_equals_none(task):
    none, nominal = BatchedEnv(task, 6), BatchedEnv(task, 6, deviate=always())
    np.testing.assert_array_equal(none.reset(3), nominal.reset(3))
    for action in held_actions(task, np.random.default_rng(0), 30, 6):
        assert_same(none.step(action), nominal.step(action))


def test_a_seed_decides_everything(task):
    one, other = BatchedEnv(task, 6, deviate=mixed(task)), BatchedEnv(task, 6, threads=2, deviate=mixed(task))
    third = BatchedEnv(task, 6, deviate=mixed(task))
    for action in held_actions(task, np.random.default_rng(1), 5, 6):
        one.step(action)
    assert (one.reset(5) != third.reset(6)).any()
    np.testing.assert_array_equal(one.reset(5), other.reset(5))
    for action in held_actions(task, np.random.default_rng(1), 30, 6):
        assert_same(one.step(action), other.step(action))


def test_saved_state_has_identical_futures(task):
    rng, deviate = np.random.default_rng(4), mixed(task)
    env, resumed = (BatchedEnv(task, 4, threads, deviate) for threads in (1, 2))
    env.set_obstacles([Obstacle(2, "box", (0.5, 0.5, 0.0), (0.2, 0.1, 0.3), 0.7)])
    for action in held_actions(task, rng, 20, 4):
        step = env.step(action)
    late = np.array([True, False, False, True])
    step = env.end(step, late)
    saved = pickle.loads(pickle.dumps(env.state_dict()))
    np.testing.assert_array_equal(resumed.load_state_dict(saved), step.obs)
    for index, action in enumerate(held_actions(task, rng, 20, 4)):
        ours, theirs = env.step(action), resumed.step(action)
        assert_same(ours, theirs)
        if index == 10:  # episodes that begin draw their deviations from the saved generator
            assert_same(env.end(ours, ~late), resumed.end(theirs, ~late))


def test_a_saved_state_is_for_an_environment_of_its_kind(task):
    varied, plain = BatchedEnv(task, 2, deviate=mixed(task)), BatchedEnv(task, 2)
    with pytest.raises(ValueError, match="saved with deviations"):
        plain.load_state_dict(varied.state_dict())
    with pytest.raises(ValueError, match="saved without deviations"):
        varied.load_state_dict(plain.state_dict())


def test_what_is_true_and_not_what_is_seen_ends_an_episode(task):
    env = BatchedEnv(task, 4, deviate=always(noise=3.0, bias=3.0))
    for action in held_actions(task, np.random.default_rng(0), 10, 4):
        step = env.step(action)
        assert not step.done.any()
        np.testing.assert_array_equal(step.reward, task.reward(true_state(env)[0]))


# ---- dynamics -------------------------------------------------------------------------------------


def test_a_heavier_robot_moves_differently(task):
    light, heavy = BatchedEnv(task, 3), BatchedEnv(task, 3, deviate=always(Dynamics(mass=1.5)))
    np.testing.assert_array_equal(light.reset(0), heavy.reset(0))
    for action in held_actions(task, np.random.default_rng(2), 5, 3):
        light.step(action)
        heavy.step(action)
    assert (light.state_dict()["physics"] != heavy.state_dict()["physics"]).any(axis=1).all()


@pytest.mark.parametrize("where", [(1.0, 0.0, 0.0), (0.5, 0.0, 0.0)], ids=["reshaped", "moved"])
def test_obstacles_leave_a_robot_as_heavy_as_it_was(where):
    task = tasks.make("pointmaze-v1")
    rows = [always(Dynamics(mass=m)) for m in (1.0, 1.5)]
    plain, heavy = (BatchedEnv(task, 1, deviate=deviate) for deviate in rows)
    alone = BatchedEnv(task, 1, deviate=rows[1])
    for env in (plain, heavy, alone):
        env.reset(0)
    for env in (plain, heavy):
        env.set_obstacles([Obstacle(0, "box", (1.0, 0.0, 0.0), (0.1, 2.0, 0.1))])
        env.set_obstacles([Obstacle(0, "box", where, (0.1, 2.0, 0.1))])
    action = np.array([[1.0, 0.0]])
    first = [env.step(action).final_obs for env in (plain, heavy, alone)]
    np.testing.assert_array_equal(first[1], first[2])
    assert (first[0] != first[1]).any()
    for _ in range(10):
        step = heavy.step(action)
    assert step.final_obs[0, 0] < where[0]


# ---- commands -------------------------------------------------------------------------------------


@pytest.mark.parametrize("physics_steps", [3, 11])
def test_a_delayed_command_is_exactly_the_same_command_later(task, physics_steps):
    """By hand: a queue of inputs in front of MuJoCo, which begins with what keeps the robot still."""
    timestep = 1.0 / (task.spec.rate_hz * task.substeps)
    env = BatchedEnv(task, 1, deviate=always(action_delay=physics_steps * timestep))
    env.reset(0)
    qpos, qvel = true_state(env)
    model = mujoco.MjModel.from_xml_string(task.model_xml())
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = qpos[0], qvel[0]
    queue = [task.control(np.zeros((1, task.spec.action_dim)), qpos)[0]] * physics_steps
    for action in held_actions(task, np.random.default_rng(0), 12, 1):
        queue += [task.control(action, data.qpos[None])[0]] * task.substeps
        data.qacc_warmstart[:] = 0.0
        for _ in range(task.substeps):
            data.ctrl[:] = queue.pop(0)
            mujoco.mj_step(model, data)
        env.step(action)
        np.testing.assert_array_equal(true_state(env)[0][0], data.qpos)


def test_of_jittering_commands_the_newest_that_arrived_counts():
    """Speed and direction tell which command drives: none is older than the delay allows, none comes back."""
    task = tasks.make("pointmaze-v1")
    env = BatchedEnv(task, 50, deviate=always(action_delay=0.1, action_jitter=0.3))
    env.reset(0)
    driving = np.full((1, 50), -1.0)
    for index in range(30):
        env.step(np.tile([-1.0 + index / 20, 0.0], (50, 1)).astype(np.float32))
        inputs = np.rint((env._control[:, :, 0].T + 1.0) * 20)  # which command; 20 stands still
        inputs[inputs == 20] = -1.0 if index < 20 else 20
        driving = np.concatenate([driving, inputs])
    steady = driving[30:]
    ages = np.arange(len(steady))[:, None] // 5 + 6 - 1 - steady
    assert (np.diff(steady, axis=0) >= 0).all()
    assert ages.min() >= 0 and ages.max() <= 5 and len(np.unique(ages)) > 3


# ---- observations ---------------------------------------------------------------------------------


def test_a_delayed_observation_is_exactly_an_earlier_state(task):
    env = BatchedEnv(task, 4, deviate=always(observation_delay=2 / task.spec.rate_hz))
    seen = [env.reset(0)]
    true = [task.observe(*true_state(env))] * 3
    for action in held_actions(task, np.random.default_rng(0), 15, 4):
        step = env.step(action)
        assert not step.done.any()
        seen.append(step.final_obs)
        true.append(task.observe(*true_state(env)))
    np.testing.assert_array_equal(seen, true[: len(seen)])


def test_noise_has_the_declared_size_and_changes_nothing_else(task):
    scale = np.array([f.scale for f in task.spec.observation])
    env, silent = BatchedEnv(task, 40, deviate=always(noise=0.05)), BatchedEnv(task, 40, deviate=always())
    errors = [(env.reset(0) - silent.reset(0)) / scale]
    for action in held_actions(task, np.random.default_rng(0), 10, 40):
        step, expected = env.step(action), silent.step(action)
        errors.append((step.final_obs - expected.final_obs) / scale)
        np.testing.assert_array_equal(step.obs, step.final_obs)
    spread = np.std(errors, axis=(0, 1))
    np.testing.assert_allclose(spread, 0.05, rtol=0.15)
    assert abs(np.mean(errors)) < 0.002


def test_bias_stays_for_an_episode_and_is_another_in_the_next(task):
    scale = np.array([f.scale for f in task.spec.observation])
    env, silent = BatchedEnv(task, 40, deviate=always(bias=0.05)), BatchedEnv(task, 40)
    biases = []
    for seed in (0, 1):
        errors = [(env.reset(seed) - silent.reset(seed)) / scale]
        for action in held_actions(task, np.random.default_rng(0), 3, 40):
            step, expected = env.step(action), silent.step(action)
            errors.append((step.final_obs - expected.final_obs) / scale)
        np.testing.assert_allclose(errors, np.broadcast_to(errors[0], np.shape(errors)), atol=1e-5)
        biases.append(errors[0])
    assert 0.045 < np.abs(biases).max() <= 0.0501 and (biases[0] != biases[1]).all()


def test_what_is_lost_is_seen_as_it_was_before(task):
    env = BatchedEnv(task, 100, deviate=always(dropout=0.3))
    before, lost = env.reset(0), []
    for action in held_actions(task, np.random.default_rng(0), 6, 100):
        step = env.step(action)
        same = (step.final_obs == before).all(axis=1)
        np.testing.assert_array_equal(step.final_obs[~same], task.observe(*true_state(env))[~same])
        before = step.obs
        lost.append(same.mean())
    assert 0.2 < np.mean(lost) < 0.4


# ---- time and pushes ------------------------------------------------------------------------------


def test_periods_are_longer_and_shorter_and_right_on_average(task):
    one, deviation = Deviation(), Deviation(signals=Signals(rate_jitter=0.2))
    many = [Deviation(Dynamics(mass=1.0 + 0.001 * i), deviation.signals) for i in range(99)]
    env = BatchedEnv(task, 100, deviate=lambda rng, count: [one, *many])
    env.reset(0)
    times = [np.zeros(100)]
    for action in held_actions(task, np.random.default_rng(0), 8, 100):
        env.step(action)
        times.append(env.state_dict()["physics"][:, 0])
    periods = np.diff(times, axis=0)[:, 1:] * task.spec.rate_hz
    np.testing.assert_allclose(np.array(times)[:, 0], np.arange(9) / task.spec.rate_hz)
    assert 0.8 <= periods.min() < 0.82 and 1.18 < periods.max() <= 1.2
    assert periods.mean() == pytest.approx(1.0, abs=0.02)


def test_robots_that_are_alike_share_a_model_and_are_told_apart_when_one_changes():
    task = tasks.make("pointmaze-v1")
    heavy, light = (Deviation(Dynamics(mass=mass)) for mass in (1.5, 0.7))
    coming = [heavy, light, heavy, light, light, heavy]
    env = BatchedEnv(task, 4, deviate=lambda rng, count: [coming.pop(0) for _ in range(count)])
    masses = [model.body("robot").mass[0] for model in env._models]
    assert masses == [1.5, 0.7, 1.5, 0.7] and len({id(model) for model in env._models}) == 2
    step = env.step(np.zeros((4, 2)))
    env.end(step, np.array([True, False, False, True]))
    masses = [model.body("robot").mass[0] for model in env._models]
    assert masses == [0.7, 0.7, 1.5, 1.5] and len({id(model) for model in env._models}) == 2


def test_a_delay_that_comes_with_a_later_episode_leaves_the_others_alone():
    task, late = tasks.make("panda-reach"), Deviation(signals=Signals(0.06, observation_delay=0.08))
    coming = [Deviation()] * 3 + [late]
    env, none = (
        BatchedEnv(task, 3, deviate=lambda rng, count: [coming.pop(0) for _ in range(count)]),
        BatchedEnv(task, 3),
    )
    last = np.array([False, False, True])
    for index, action in enumerate(held_actions(task, np.random.default_rng(0), 12, 3)):
        step, expected = env.step(action), none.step(action)
        if index == 5:
            step, expected = env.end(step, last), none.end(expected, last)
        np.testing.assert_array_equal(step.obs[:2], expected.obs[:2])
    assert (step.obs[2] != expected.obs[2]).any()


@pytest.mark.parametrize("name", PLANAR)
def test_a_push_moves_the_base_so_often_and_so_hard(name):
    task = tasks.make(name)
    env, still = BatchedEnv(task, 100, deviate=always(push=0.5, push_every=0.4)), BatchedEnv(task, 100)
    env.reset(0), still.reset(0)
    idle = np.zeros((100, task.spec.action_dim))
    env._fleet.send(idle, env._rng)
    kicks = np.linalg.norm(true_state(env)[1][:, :2], axis=1)
    np.testing.assert_allclose(kicks[kicks > 0], 0.5)
    assert 0.12 < (kicks > 0).mean() < 0.4  # a quarter: one period of 0.1 s in 0.4 s
    np.testing.assert_array_equal((env.step(idle).final_obs != still.step(idle).final_obs).any(axis=1)[kicks > 0], True)


def test_an_arm_has_no_base_to_push():
    with pytest.raises(ValueError, match=r"push is 0\.5: task 'panda-reach' has no base"):
        BatchedEnv(tasks.make("panda-reach"), 1, deviate=always(push=0.5, push_every=1.0))
