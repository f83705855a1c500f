"""Another simulator than the one that a task's model asks for: step size, integrator, contacts, motors."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's names come from compiled modules, which a type checker cannot see into.)

from __future__ import annotations

import math
from dataclasses import dataclass

import mujoco
import numpy as np

from .dynamics import check_numbers

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
        numbers = {name: getattr(self, name) for name in ("timestep", "contact_time", "motor_lag")}
        check_numbers(numbers, above_zero="contact_time")
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
        model.geom_solref[:] = self.slower(model.geom_solref)

    def slower(self, solref: np.ndarray) -> np.ndarray:
        """Contacts ``solref [..., 2]`` as they give way here: time constant and damping ratio, or where negative minus
        stiffness and minus damping."""
        first, second = solref[..., 0], solref[..., 1]
        direct = first < 0.0
        return np.stack([np.where(direct, first / self.contact_time**2, first * self.contact_time),
                         np.where(direct, second / self.contact_time, second)], -1)  # fmt: skip

    def keep(self, timestep: float) -> float:
        """Which part of what a motor does stays as it was over one ``timestep`` (s)."""
        return math.exp(-timestep / self.motor_lag) if self.motor_lag > 0.0 else 0.0
