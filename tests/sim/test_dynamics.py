"""A robot's dynamics, written into a model: what they change, and that nothing of it stays."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from ddiffpg_sim import tasks
from ddiffpg_sim.dynamics import NOMINAL, Dynamics, Robot
from ddiffpg_sim.signals import Signals

CHANGED = Dynamics(mass=1.5, friction=0.5, damping=2.0, armature=0.5, strength=0.8, dry_friction=0.1)


def compiled(name: str) -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(tasks.make(name).model_xml())


def test_the_ant_is_heavier_and_the_floor_is_not():
    model, nominal = compiled("antmaze-v1"), compiled("antmaze-v1")
    Robot(model).write(CHANGED, model)
    torso, floor = model.body("robot").id, model.geom("floor").id
    assert model.body_mass[0] == nominal.body_mass[0]
    assert model.body_subtreemass[torso] == pytest.approx(1.5 * nominal.body_subtreemass[torso])
    assert model.geom_friction[floor, 0] == pytest.approx(0.5) and model.geom_friction[floor, 1] == 0.5
    np.testing.assert_allclose(model.dof_damping, [0.0] * 6 + [2.0] * 8)
    np.testing.assert_allclose(model.dof_frictionloss, [0.0] * 6 + [0.1] * 8)
    np.testing.assert_allclose(model.actuator_gainprm[:, 0], 0.8 * nominal.actuator_gainprm[:, 0])


def test_a_weaker_arm_has_lower_limits():
    model, nominal = compiled("panda-reach"), compiled("panda-reach")
    Robot(model).write(CHANGED, model)
    np.testing.assert_allclose(model.jnt_actfrcrange, 0.8 * nominal.jnt_actfrcrange)
    assert nominal.jnt_actfrcrange[0, 1] == 87.0


@pytest.mark.parametrize("name", tasks.names())
def test_what_was_written_goes_without_a_trace(name):
    model, nominal = compiled(name), compiled(name)
    robot = Robot(model)
    robot.write(CHANGED, model)
    assert len(robot.joint_dofs) >= 2 and model.body_mass.sum() > nominal.body_mass.sum()
    robot.write(NOMINAL, model)
    for field in ("body_mass", "body_inertia", "dof_damping", "dof_invweight0", "body_invweight0", "geom_friction"):
        np.testing.assert_array_equal(getattr(model, field), getattr(nominal, field))


def test_what_makes_no_sense_is_named():
    with pytest.raises(ValueError, match="mass is 0"):
        Dynamics(mass=0.0)
    with pytest.raises(ValueError, match="friction is nan"):
        Dynamics(friction=float("nan"))
    with pytest.raises(ValueError, match="dropout is 1"):
        Signals(dropout=1.0)
