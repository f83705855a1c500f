"""A task that is computed otherwise: what differs, that nothing else does, and that robots of all kinds run in it."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from ddiffpg_sim import tasks
from ddiffpg_sim.batch import BatchedEnv
from ddiffpg_sim.robot import SimRobot
from ddiffpg_sim.second_simulator import AS_TRAINED, SIMULATORS, elsewhere
from ddiffpg_sim.signals import Deviation, Signals
from ddiffpg_sim.simulator import Simulator
from ddiffpg_sim.task import PlanarTask

MAZE = tasks.make("pointmaze-v1")


def compiled(task) -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(task.model_xml())


@pytest.mark.parametrize("name", ["pointmaze-v1", "antmaze-v1", "panda-peg"])
def test_the_same_simulator_is_the_same_model(name):
    task = tasks.make(name)
    here, there = compiled(task), compiled(elsewhere(task, AS_TRAINED))
    for field in ("opt.timestep", "body_mass", "geom_solref", "geom_size", "dof_damping", "actuator_gainprm", "qpos0"):
        first, second = here, there
        for part in field.split("."):
            first, second = getattr(first, part), getattr(second, part)
        np.testing.assert_allclose(first, second, rtol=1e-5)  # MJCF is text of so many digits


@pytest.mark.parametrize("name", ["pointmaze-v1", "panda-peg"])
def test_it_is_the_model_that_one_simulated_robot_has(name):
    simulator, task = SIMULATORS["all of it"], tasks.make(name)
    here, there = compiled(task), compiled(elsewhere(task, simulator))
    simulator.write(here)
    assert (there.opt.timestep, there.opt.integrator, there.opt.cone) == (
        pytest.approx(here.opt.timestep), here.opt.integrator, here.opt.cone)  # fmt: skip
    np.testing.assert_allclose(there.geom_solref, here.geom_solref, rtol=1e-5)
    assert elsewhere(task, simulator).substeps * 0.005 == pytest.approx(1 / task.spec.rate_hz)


@pytest.mark.parametrize("delay", [0.0, 0.06])
def test_motors_lag_in_a_batch_as_they_do_for_one_robot(delay):
    deviation = Deviation(signals=Signals(action_delay=delay), simulator=Simulator(timestep=0.005, motor_lag=0.1))
    one = SimRobot(MAZE, seed=0, deviation=deviation)
    env = BatchedEnv(elsewhere(MAZE, deviation.simulator), 1, deviate=lambda rng, count: [deviation] * count)
    action, speeds = np.array([-1.0, 0.0]), []
    for _ in range(4):
        speeds.append((one.step(action).linear_velocity[0], env.step(action[None]).final_obs[0, 2]))
    np.testing.assert_allclose(*np.transpose(speeds), atol=1e-3)
    assert -0.75 < speeds[0][0] < -0.05 and speeds[3][0] < -0.9
    env.close()


def test_an_arm_whose_motors_lag_begins_where_it_stands():
    deviation, task = Deviation(simulator=Simulator(motor_lag=0.1)), tasks.make("panda-peg")
    env = BatchedEnv(task, 2, deviate=lambda rng, count: [deviation] * count)
    first = env.reset(0)[:, task.spec.path_columns]
    assert np.abs(env.step(np.zeros((2, 7))).final_obs[:, task.spec.path_columns] - first).max() < 0.005
    saved = env.state_dict()
    then = [env.step(np.full((2, 7), 0.01)).final_obs for _ in range(2)]
    env.load_state_dict(saved)
    np.testing.assert_array_equal([env.step(np.full((2, 7), 0.01)).final_obs for _ in range(2)], then)
    env.close()


@pytest.mark.parametrize("rate", [0.5, 0.8, 2.0])
def test_another_control_rate_takes_the_same_time(rate):
    task = elsewhere(MAZE, AS_TRAINED, rate)
    assert task.spec.rate_hz == pytest.approx(10 * rate) and task.spec.max_steps == pytest.approx(150 * rate, abs=1)
    robot = SimRobot(task)
    for _ in range(10):
        robot.step(np.zeros(2))
    assert robot.time == pytest.approx(1.0 / rate, abs=0.02)  # what is less than a physics step comes later


@pytest.mark.parametrize("simulator", SIMULATORS.values(), ids=list(SIMULATORS))
@pytest.mark.parametrize("name", ["pointmaze-v1", "antmaze-v1", "panda-peg"])
def test_every_robot_runs_in_every_simulator(name, simulator):
    task = elsewhere(tasks.make(name), simulator)
    assert isinstance(task, PlanarTask) == isinstance(tasks.make(name), PlanarTask)
    env = BatchedEnv(task, 2)
    rng = np.random.default_rng(0)
    for _ in range(5):
        action = rng.uniform(task.spec.action.low, task.spec.action.high, (2, task.spec.action_dim))
        assert np.isfinite(env.step(action).final_obs).all()
    env.close()
