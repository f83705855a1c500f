"""One simulated robot that differs from its model: when commands arrive, what its sensors say."""

from __future__ import annotations

import numpy as np
import pytest

from ddiffpg_sim import tasks
from ddiffpg_sim.commands import drive_of
from ddiffpg_sim.dynamics import Dynamics
from ddiffpg_sim.obstacles import Obstacle
from ddiffpg_sim.robot import SimRobot
from ddiffpg_sim.signals import Deviation, Signals
from ddiffpg_sim.simulator import Simulator

STEP = 0.02  # s of physics on a point maze


def robot(task: str = "pointmaze-v1", dynamics: Dynamics | None = None, simulator: Simulator | None = None, **signals):
    return SimRobot(
        tasks.make(task), 0, deviation=Deviation(dynamics or Dynamics(), Signals(**signals), simulator or Simulator())
    )


def speeds(of: SimRobot, count: int = 8, command=(0.5, 0.0)) -> np.ndarray:
    """vx (m/s) after each physics step of one command."""
    return np.array([of.advance(np.array(command), STEP).linear_velocity[0] for _ in range(count)])


def test_a_command_arrives_late_and_the_one_before_holds_so_long():
    prompt, late = speeds(robot()), speeds(robot(action_delay=0.06))
    np.testing.assert_array_equal(late[:3], 0.0)
    np.testing.assert_allclose(late[3:], prompt[:5])


def test_commands_under_way_do_not_overtake_each_other():
    slow = robot(action_delay=0.02, action_jitter=0.2)
    seen = []
    for number in range(40):
        slow.advance(np.array([0.02 * number, 0.0]), STEP)
        seen.append(slow._data.ctrl[0])
    assert np.all(np.diff(seen) >= 0.0) and seen[1] == 0.0 and len(set(seen)) < 40


@pytest.mark.parametrize("task", ["antmaze-v1", "panda-reach"])
def test_with_nothing_commanded_yet_a_late_robot_holds(task):
    late = robot(task, action_delay=0.5)
    before = late.joint_positions if task == "panda-reach" else None
    drive = drive_of(late)
    drive.advance(np.full(drive.count, 0.3), 0.2)
    if before is None:
        np.testing.assert_array_equal(late._data.ctrl, 0.0)
    else:
        np.testing.assert_allclose(late.joint_positions, before, atol=1e-3)


def test_motors_lag():
    lagging = robot(simulator=Simulator(motor_lag=0.02))
    speeds(lagging, 2, (1.0, 0.0))
    assert lagging._data.ctrl[0] == pytest.approx(1.0 - np.exp(-2.0))


def test_its_dynamics_outlive_a_change_of_obstacles():
    heavy = robot(dynamics=Dynamics(mass=2.0))
    heavy.set_obstacle(Obstacle(1, "box", (3.0, 3.0, 0.2), (0.1, 0.1, 0.1)))
    assert heavy._model.body("robot").mass[0] == 2.0
    assert speeds(heavy, 1)[0] < speeds(robot(), 1)[0]


def test_what_is_measured_is_old_and_the_robot_does_not_know():
    seen = robot(observation_delay=0.04)
    true = speeds(seen, 5)
    measured = seen.measure()
    assert measured is not None and measured.stamp == pytest.approx(seen.time)
    assert measured.linear_velocity[0] == pytest.approx(true[2])


def test_noise_and_bias_are_parts_of_a_field_s_scale():
    ant = robot("antmaze-v1", noise=0.01)
    truth = ant.state()
    seen = [state for _ in range(400) if (state := ant.measure())]
    turning = np.array([state.body_angular_velocity[2] for state in seen])
    ankle = np.array([state.joints["front_left_ankle"].velocity for state in seen])
    height = np.array([state.position[2] for state in seen])
    np.testing.assert_allclose([turning.std(), ankle.std(), height.std()], [0.06, 0.12, 0.005], rtol=0.15)
    assert np.linalg.norm(seen[0].orientation) == pytest.approx(1.0)
    assert ant.state().position[2] == truth.position[2]
    off = robot(bias=0.1)
    one, other = off.measure(), off.measure()
    assert one is not None and other is not None
    np.testing.assert_array_equal(one.position, other.position)
    assert 0.0 < np.abs(one.linear_velocity[0]) <= 0.1


def test_readings_get_lost():
    lossy = robot(dropout=0.3)
    assert sum(lossy.measure() is None for _ in range(1000)) == pytest.approx(300, abs=50)


def test_the_same_seed_gives_the_same_errors_and_the_model_s_robot_none():
    one, other = robot(noise=0.1), robot(noise=0.1)
    a, b = one.measure(), other.measure()
    assert a is not None and b is not None
    np.testing.assert_array_equal(a.position, b.position)
    exact, plain = robot(), SimRobot(tasks.make("pointmaze-v1"), 0)
    np.testing.assert_array_equal(speeds(exact), speeds(plain))
    measured = exact.measure()
    assert measured is not None
    np.testing.assert_array_equal(measured.position, plain.state().position)


@pytest.mark.parametrize("signals, said", [({"rate_jitter": 0.1}, "rate_jitter"), ({"push": 0.5}, "push is")])
def test_what_one_robot_cannot_have_is_refused(signals, said):
    with pytest.raises(ValueError, match=said):
        robot(**signals)
