"""A task in another simulator than the one that policies are trained in: the same robot, computed otherwise."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's names come from compiled modules, which a type checker cannot see into.)

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import mujoco

from .obstacles import Obstacle
from .task import Task


@dataclass(frozen=True)
class Simulator:
    """What is computed otherwise. ``finer``: so many physics steps where the task has one. ``integrator``, ``solver``
    and ``cone`` (of friction) are MuJoCo's, by its names; empty: the task's. ``softness``: contacts give so many times
    as long. ``motor_lag`` (s): a motor follows its input with this time constant. ValueError where one makes no sense.
    """

    finer: int = 1
    integrator: str = ""
    solver: str = ""
    cone: str = ""
    softness: float = 1.0
    motor_lag: float = 0.0

    def __post_init__(self) -> None:
        for name, kinds in (("integrator", INTEGRATORS), ("solver", SOLVERS), ("cone", CONES)):
            value = getattr(self, name)
            if value and value not in kinds:
                raise ValueError(f"{name} is {value!r}: expected one of {', '.join(kinds)}")
        if self.finer < 1:
            raise ValueError(f"finer is {self.finer}: expected 1 or more")
        if not (math.isfinite(self.softness) and self.softness > 0):
            raise ValueError(f"softness is {self.softness}: expected a finite number of more than 0")
        if not (math.isfinite(self.motor_lag) and self.motor_lag >= 0):
            raise ValueError(f"motor_lag is {self.motor_lag}: expected a finite number that is not negative")


INTEGRATORS = {"Euler": mujoco.mjtIntegrator.mjINT_EULER, "RK4": mujoco.mjtIntegrator.mjINT_RK4,
               "implicitfast": mujoco.mjtIntegrator.mjINT_IMPLICITFAST}  # fmt: skip
SOLVERS = {"Newton": mujoco.mjtSolver.mjSOL_NEWTON, "CG": mujoco.mjtSolver.mjSOL_CG,
           "PGS": mujoco.mjtSolver.mjSOL_PGS}  # fmt: skip
CONES = {"pyramidal": mujoco.mjtCone.mjCONE_PYRAMIDAL, "elliptic": mujoco.mjtCone.mjCONE_ELLIPTIC}
AS_TRAINED = Simulator()
SIMULATORS = {
    "finer steps": Simulator(finer=4),
    "RK4": Simulator(finer=2, integrator="RK4"),
    "other solver": Simulator(solver="CG", cone="elliptic"),
    "soft contacts": Simulator(softness=3.0),
    "motor lag": Simulator(motor_lag=0.05),
    "all of it": Simulator(finer=4, integrator="Euler", solver="CG", cone="elliptic", softness=3.0, motor_lag=0.05),
}
"""Those that ``ddiffpg transfer`` tries a policy in."""


def elsewhere(task: Task, simulator: Simulator, rate: float = 1.0) -> Task:
    """``task`` as ``simulator`` computes it, at ``rate`` times its control rate; it lasts as long in seconds."""
    hz = rate * task.spec.rate_hz
    spec = replace(task.spec, rate_hz=hz, max_steps=math.ceil(rate * task.spec.max_steps))
    substeps = max(1, round(task.substeps * simulator.finer / rate))

    def model_xml(self: Any, obstacles: Sequence[Obstacle] = ()) -> str:
        return _computed_by(task.model_xml(obstacles), simulator, 1.0 / (hz * substeps))

    # A subclass, so that what asks whether the robot drives on a floor gets the same answer.
    changes = {"spec": property(lambda self: spec), "substeps": property(lambda self: substeps), "model_xml": model_xml}
    other = copy.copy(task)
    object.__setattr__(other, "__class__", type(type(task).__name__, (type(task),), changes))
    return other


def _computed_by(xml: str, simulator: Simulator, timestep: float) -> str:
    model = mujoco.MjSpec.from_string(xml)
    model.option.timestep = timestep
    for name, kinds in (("integrator", INTEGRATORS), ("solver", SOLVERS), ("cone", CONES)):
        if getattr(simulator, name):
            setattr(model.option, name, kinds[getattr(simulator, name)])
    for geom in model.geoms:
        geom.solref = _softer(*geom.solref, simulator.softness)
    for actuator in model.actuators if simulator.motor_lag else ():
        actuator.dyntype = mujoco.mjtDyn.mjDYN_FILTEREXACT
        actuator.dynprm[0] = simulator.motor_lag
    model.compile()
    return model.to_xml()


def _softer(first: float, second: float, factor: float) -> tuple[float, float]:
    """A contact's time constant and damping ratio, or where negative its stiffness and damping, ``factor`` slower."""
    return (first * factor, second) if first > 0 else (first / factor**2, second / factor)
