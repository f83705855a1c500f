"""A task that is computed otherwise: what differs, that nothing else does, and that robots of all kinds run in it."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from ddiffpg_sim import tasks
from ddiffpg_sim.batch import BatchedEnv
from ddiffpg_sim.robot import SimRobot
from ddiffpg_sim.second_simulator import AS_TRAINED, SIMULATORS, Simulator, elsewhere
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


def test_each_setting_changes_what_it_says():
    finer = compiled(elsewhere(MAZE, Simulator(finer=4)))
    assert finer.opt.timestep == pytest.approx(0.005) and elsewhere(MAZE, Simulator(finer=4)).substeps == 20
    rk4 = compiled(elsewhere(MAZE, Simulator(integrator="RK4", solver="CG", cone="elliptic")))
    assert rk4.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4
    assert (rk4.opt.solver, rk4.opt.cone) == (mujoco.mjtSolver.mjSOL_CG, mujoco.mjtCone.mjCONE_ELLIPTIC)
    soft = compiled(elsewhere(MAZE, Simulator(softness=3.0)))
    assert soft.geom("wall0").solref[0] == pytest.approx(3 * compiled(MAZE).geom("wall0").solref[0])
    assert compiled(elsewhere(MAZE, Simulator(motor_lag=0.05))).na == 2


def test_a_motor_that_lags_is_slower_to_get_going():
    speed = {}
    for lag in (0.0, 0.1):
        robot = SimRobot(elsewhere(MAZE, Simulator(motor_lag=lag)))
        speed[lag] = robot.step(np.array([-1.0, 0.0])).linear_velocity[0]
    assert speed[0.0] < -0.8 and -0.75 < speed[0.1] < -0.1


@pytest.mark.parametrize("rate", [0.5, 0.8, 2.0])
def test_another_control_rate_takes_the_same_time(rate):
    task = elsewhere(MAZE, AS_TRAINED, rate)
    assert task.spec.rate_hz == pytest.approx(10 * rate) and task.spec.max_steps == pytest.approx(150 * rate, abs=1)
    robot = SimRobot(task)
    for _ in range(10):
        robot.step(np.zeros(2))
    assert robot.time == pytest.approx(1.0 / rate)


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


@pytest.mark.parametrize(
    ("field", "value"),
    [("integrator", "euler"), ("solver", "Newtons"), ("cone", "round"), ("finer", 0), ("softness", 0.0),
     ("motor_lag", -0.1), ("motor_lag", float("nan"))],
)  # fmt: skip
def test_what_makes_no_sense_is_named(field, value):
    with pytest.raises(ValueError, match=f"{field} is .?{value}"):
        Simulator(**{field: value})
