"""Pieces of a motion that are simulated again: exact for the robot that moved so, off for another."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from ddiffpg_sim import tasks
from ddiffpg_sim.dynamics import NOMINAL, Dynamics
from ddiffpg_sim.robot import SimRobot
from ddiffpg_sim.shooting import Candidate, Motion, Shooting, position_differences
from ddiffpg_sim.signals import Deviation, Signals

HIDDEN = Dynamics(mass=1.4, strength=0.9, damping=1.3, armature=1.2, friction=0.8)
DELAY = 0.06


def motion_of(name: str, seconds: float = 3.0, hidden: Dynamics = HIDDEN) -> Motion:
    """A hidden robot that takes random actions, read at each control step's end and in between."""
    task = tasks.make(name)
    robot, rng = SimRobot(task, 0, deviation=Deviation(hidden, Signals(action_delay=DELAY))), np.random.default_rng(0)
    action, rows, inputs = task.spec.action, [], []
    step = 1.0 / (task.spec.rate_hz * task.substeps)
    for number in range(round(seconds / step)):
        state = robot.state()
        rows.append((robot.time, task.qpos_of(state), task.qvel_of(state)))
        if number % task.substeps == 0:
            command = rng.uniform(action.low, action.high)
            inputs.append(task.control(command[None], rows[-1][1][None])[0])
        if action.kind == "joint_position_delta":
            robot.move_joints(inputs[-1], step)
        else:
            robot.advance(command, step)
    times, qpos, qvel = (np.array(column) for column in zip(*rows))
    return Motion(times, qpos, qvel, times[:: task.substeps], np.array(inputs), np.ones(len(times) - 1, bool))


@pytest.mark.parametrize("name", ["pointmaze-v1", "panda-reach", "antmaze-v1"])
def test_the_robot_that_moved_so_is_told_from_others(name):
    motion = motion_of(name)
    shooting = Shooting(tasks.make(name), motion, count=5, most_delay=0.2)
    tried = [Candidate(HIDDEN, DELAY), Candidate(NOMINAL, DELAY), Candidate(HIDDEN, 0.0)]
    exact, nominal, prompt = np.abs(shooting.errors(tried)).max(axis=(1, 2, 3))
    assert exact < 1e-5 < 1e-2 < min(nominal, prompt)
    np.testing.assert_array_equal(shooting.errors(tried)[0], shooting.errors(tried[:1])[0])


def test_threads_change_nothing():
    motion = motion_of("pointmaze-v1")
    one, two = (Shooting(tasks.make("pointmaze-v1"), motion, 5, 0.2, threads) for threads in (1, 2))
    np.testing.assert_array_equal(one.errors([Candidate(HIDDEN, 0.0)]), two.errors([Candidate(HIDDEN, 0.0)]))
    two.close()


def test_a_delay_between_two_steps_lies_between_theirs():
    shooting = Shooting(tasks.make("pointmaze-v1"), motion_of("pointmaze-v1"), 5, 0.2)
    early, between, late = shooting.simulate([Candidate(HIDDEN, d) for d in (0.04, 0.05, 0.06)])[1]
    np.testing.assert_allclose(between, (early + late) / 2, atol=0.02)
    assert np.abs(early - late).max() > 0.1


def test_no_piece_goes_over_a_break_or_begins_before_its_commands_are_known():
    motion = motion_of("pointmaze-v1")
    motion.whole[70] = False
    shooting = Shooting(tasks.make("pointmaze-v1"), motion, count=5, most_delay=0.19)
    starts = shooting.starts.tolist()
    assert starts[0] == 10 and starts[11:13] == [65, 81]
    assert (shooting.readings[-1] < len(motion.times)).all()


def test_positions_differ_by_what_leads_from_one_to_the_other():
    model = mujoco.MjModel.from_xml_string(tasks.make("antmaze-v1").model_xml())
    rng = np.random.default_rng(0)
    one, moved, expected = rng.standard_normal(model.nq), np.empty(model.nq), 1e-3 * rng.standard_normal(model.nv)
    one[3:7] /= np.linalg.norm(one[3:7])
    moved[:] = one
    mujoco.mj_integratePos(model, moved, expected, 1.0)
    np.testing.assert_allclose(position_differences(model, one, moved), expected, atol=1e-8)
    moved[3:7] *= -1.0  # the same turn
    np.testing.assert_allclose(position_differences(model, one, moved), expected, atol=1e-8)


def test_what_a_model_has_none_of_is_known():
    absent = {name: Shooting(tasks.make(name), motion_of(name, 1.0), 5, 0.2).absent
              for name in ("pointmaze-v1", "panda-reach", "antmaze-v1")}  # fmt: skip
    assert absent == {"pointmaze-v1": ("friction", "damping", "armature"), "panda-reach": ("damping",),
                      "antmaze-v1": ()}  # fmt: skip
