"""A task in another simulator than the one that policies are trained in, for many robots at once."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's names come from compiled modules, which a type checker cannot see into.)

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import mujoco

from .obstacles import Obstacle
from .simulator import CONES, INTEGRATORS, Simulator
from .task import Task

AS_TRAINED = Simulator()
SIMULATORS = {
    "fine steps": Simulator(timestep=0.005),
    "Euler": Simulator(timestep=0.005, integrator="Euler"),
    "RK4": Simulator(timestep=0.01, integrator="RK4"),
    "elliptic cone": Simulator(cone="elliptic"),
    "soft contacts": Simulator(contact_time=3.0),
    "motor lag": Simulator(motor_lag=0.05),
    "all of it": Simulator(timestep=0.005, integrator="Euler", cone="elliptic", contact_time=3.0, motor_lag=0.05),
}
"""Those that ``ddiffpg transfer`` tries a policy in."""


def elsewhere(task: Task, simulator: Simulator, rate: float = 1.0) -> Task:
    """``task`` as ``simulator`` computes it, at ``rate`` times its control rate; it lasts as long in seconds.

    A motor's lag is no part of a task: the robot's deviation has it.
    """
    hz = rate * task.spec.rate_hz
    spec = replace(task.spec, rate_hz=hz, max_steps=math.ceil(rate * task.spec.max_steps))
    wanted = simulator.timestep or 1.0 / (task.spec.rate_hz * task.substeps)
    substeps = max(1, round(1.0 / (hz * wanted)))

    def model_xml(self: Any, obstacles: Sequence[Obstacle] = ()) -> str:
        return _computed_by(task.model_xml(obstacles), replace(simulator, timestep=1.0 / (hz * substeps)))

    # A subclass, so that what asks whether the robot drives on a floor gets the same answer.
    changes = {"spec": property(lambda self: spec), "substeps": property(lambda self: substeps), "model_xml": model_xml}
    other = copy.copy(task)
    object.__setattr__(other, "__class__", type(type(task).__name__, (type(task),), changes))
    return other


def _computed_by(xml: str, simulator: Simulator) -> str:
    """As ``Simulator.write`` makes a model, but in the words of MJCF, from which others compile theirs."""
    model = mujoco.MjSpec.from_string(xml)
    model.option.timestep = simulator.timestep
    if simulator.integrator:
        model.option.integrator = INTEGRATORS[simulator.integrator]
    if simulator.cone:
        model.option.cone = CONES[simulator.cone]
    for geom in model.geoms:
        geom.solref = simulator.slower(geom.solref)
    model.compile()
    return model.to_xml()
