"""Another simulator than the one that a task's model asks for: step size, integrator, contacts, motors."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's names come from compiled modules, which a type checker cannot see into.)

from __future__ import annotations

import math
from dataclasses import dataclass

import mujoco
import numpy as np

INTEGRATORS = {
    "Euler": mujoco.mjtIntegrator.mjINT_EULER,
    "implicit": mujoco.mjtIntegrator.mjINT_IMPLICIT,
    "implicitfast": mujoco.mjtIntegrator.mjINT_IMPLICITFAST,
    "RK4": mujoco.mjtIntegrator.mjINT_RK4,
}
CONES = {"pyramidal": mujoco.mjtCone.mjCONE_PYRAMIDAL, "elliptic": mujoco.mjtCone.mjCONE_ELLIPTIC}


@dataclass(frozen=True)
class Simulator:
    """``timestep`` (s), ``integrator`` and friction ``cone`` are the model's own where they are 0 and empty. Contacts
    give way ``contact_time`` times as slowly. Motors come to what they are told with the time constant
    ``motor_lag`` (s). ValueError where one makes no sense."""

    timestep: float = 0.0
    integrator: str = ""
    cone: str = ""
    contact_time: float = 1.0
    motor_lag: float = 0.0

    def __post_init__(self) -> None:
        for name in ("timestep", "contact_time", "motor_lag"):
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0.0 or (name == "contact_time" and value == 0.0):
                raise ValueError(f"{name} is {value}: expected a finite number that is not negative, of contact_time "
                                 "above 0")  # fmt: skip
        for name, known in (("integrator", INTEGRATORS), ("cone", CONES)):
            if getattr(self, name) not in ("", *known):
                raise ValueError(f"{name} is {getattr(self, name)!r}: expected one of {', '.join(known)}")

    def write(self, model: mujoco.MjModel) -> None:
        """Make ``model``, as a task has it, one of this simulator (the motors' lag is no part of a model)."""
        model.opt.timestep = self.timestep or model.opt.timestep
        if self.integrator:
            model.opt.integrator = INTEGRATORS[self.integrator]
        if self.cone:
            model.opt.cone = CONES[self.cone]
        time, damping = model.geom_solref.T
        direct = time < 0.0  # then they are minus stiffness and minus damping
        model.geom_solref[:, 0] = np.where(direct, time / self.contact_time**2, time * self.contact_time)
        model.geom_solref[:, 1] = np.where(direct, damping / self.contact_time, damping)

    def keep(self, timestep: float) -> float:
        """Which part of what a motor does stays as it was over one ``timestep`` (s)."""
        return math.exp(-timestep / self.motor_lag) if self.motor_lag > 0.0 else 0.0
