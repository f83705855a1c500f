"""How a robot differs from its model: what of that a MuJoCo model can say."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's names come from compiled modules, which a type checker cannot see into.)

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import mujoco
import numpy as np


def check_numbers(values: Mapping[str, float], above_zero: str = "") -> None:
    """ValueError names the first of ``values`` that is not finite, or negative, or 0 and is the one ``above_zero``."""
    for name, value in values.items():
        if not math.isfinite(value) or value < 0.0 or (name == above_zero and value == 0.0):
            least = f", of {above_zero} above 0" if above_zero else ""
            raise ValueError(f"{name} is {value}: expected a finite number that is not negative{least}")


@dataclass(frozen=True)
class Dynamics:
    """Factors of what a task's model says: of the robot's ``mass`` (inertia with it), the ``friction`` of all
    contacts, its joints' ``damping`` and ``armature``, the ``strength`` of its motors (a servo's gains and its limit).
    ``dry_friction`` (N, N m) is added in each of its joints. ValueError where one makes no sense."""

    mass: float = 1.0
    friction: float = 1.0
    damping: float = 1.0
    armature: float = 1.0
    strength: float = 1.0
    dry_friction: float = 0.0

    def __post_init__(self) -> None:
        check_numbers(vars(self), above_zero="mass")


NOMINAL = Dynamics()
PARAMETERS = tuple(f.name for f in fields(Dynamics))


class Robot:
    """The part of a ``model`` that is the robot: the body of that name and what hangs on it, its joints and motors.

    ``write`` puts a robot's dynamics into this model or a copy of it; what they are factors of is always this one.
    """

    def __init__(self, model: mujoco.MjModel) -> None:
        first = model.body("robot").id
        bodies = [b for b in range(model.nbody) if first in _ancestors(model, b)]
        self.bodies = np.array(bodies)
        self.dofs = np.flatnonzero(np.isin(model.dof_bodyid, bodies))
        self.joint_dofs = self.dofs[model.jnt_type[model.dof_jntid[self.dofs]] != mujoco.mjtJoint.mjJNT_FREE]
        self._nominal = {name: np.array(getattr(model, name)) for name in _FIELDS}
        self._scratch = mujoco.MjData(model)  # to make one takes longer than all else that is done here

    def write(self, dynamics: Dynamics, model: mujoco.MjModel) -> None:
        """Make ``model`` that of a robot with these ``dynamics``, whatever it was before."""
        d, was = dynamics, self._nominal
        model.body_mass[self.bodies] = was["body_mass"][self.bodies] * d.mass
        model.body_inertia[self.bodies] = was["body_inertia"][self.bodies] * d.mass
        model.geom_friction[:, 0] = was["geom_friction"][:, 0] * d.friction
        model.dof_damping[self.dofs] = was["dof_damping"][self.dofs] * d.damping
        model.dof_armature[self.dofs] = was["dof_armature"][self.dofs] * d.armature
        model.dof_frictionloss[self.joint_dofs] = was["dof_frictionloss"][self.joint_dofs] + d.dry_friction
        model.actuator_gainprm[:] = was["actuator_gainprm"] * d.strength
        model.actuator_biasprm[:] = was["actuator_biasprm"] * d.strength
        model.actuator_forcerange[:] = was["actuator_forcerange"] * d.strength
        model.jnt_actfrcrange[:] = was["jnt_actfrcrange"] * d.strength  # where an arm's limits are
        mujoco.mj_setConst(model, self._scratch)


_FIELDS = ("body_mass", "body_inertia", "geom_friction", "dof_damping", "dof_armature", "dof_frictionloss",
           "actuator_gainprm", "actuator_biasprm", "actuator_forcerange", "jnt_actfrcrange")  # fmt: skip


def _ancestors(model: mujoco.MjModel, body: int) -> set[int]:
    """``body`` and all that it hangs on."""
    found = {body}
    while body:
        body = int(model.body_parentid[body])
        found.add(body)
    return found
