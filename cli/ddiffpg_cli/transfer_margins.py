"""The range in which a policy was seen to hold, for its contract; and whether a policy fits a task at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from ddiffpg.contract import Contract, Margins
from ddiffpg_core.spec import TaskSpec
from ddiffpg_sim.task import Task

from .errors import BadInput, Failed
from .transfer_charts import name_of
from .transfer_curves import Curve, Point

NEEDED = ("delay", "rate", "noise")


def margins_of(found: Sequence[Curve], spec: TaskSpec, least: float) -> Margins:
    """From the curves of delay, rate and noise. BadInput where one is missing, Failed where the policy does not even
    hold on the nominal robot."""
    curves = {curve.axis.name: curve for curve in found}
    for name in NEEDED:
        if name not in curves:
            raise BadInput(f"--margins needs the axes {', '.join(NEEDED)}: {name} was not varied (--axes)")
    nominal = found[0].nominal
    if nominal.least < least:
        raise Failed(f"no margins: {name_of(nominal.worst)} has success {nominal.least:.2f} on the nominal robot, "
                     f"less than --least {least:g}")  # fmt: skip
    delay, rate, noise = (_numbers(curves[name].holding(least)) for name in NEEDED)
    return Margins(
        success=least,
        delay=max(delay),
        rate_low=min(rate) * spec.rate_hz,
        rate_high=max(rate) * spec.rate_hz,
        noise=tuple(max(noise) * field.scale for field in spec.observation),
    )


def _numbers(points: Sequence[Point]) -> list[float]:
    return [point.value for point in points if not isinstance(point.value, str)]


def check_fits(contract: Contract, task: Task) -> None:
    """BadInput, naming the first field, where the policy cannot drive in ``task``."""
    spec, name = task.spec, task.spec.name
    theirs = [(f.name, f.source, f.unit, f.joint) for f in spec.observation]
    ours = [(f.name, f.source, f.unit, f.joint) for f in contract.observation]
    if ours != theirs:
        raise BadInput(f"--task {name}: it observes {_first_difference(theirs, ours)}")
    theirs = [(spec.action.kind, asdict(f)) for f in spec.action.fields]
    ours = [(contract.action_kind, asdict(f)) for f in contract.action]
    if [_rounded(a) for a in ours] != [_rounded(a) for a in theirs]:
        raise BadInput(f"--task {name}: it commands {_first_difference(theirs, ours)}")
    for mode in contract.modes:
        if task.clearance(np.array(mode.path)).min() < 0.0:
            raise BadInput(f"--task {name}: the policy's way of mode {mode.id} goes through what stands there")


def _rounded(action: tuple[str, dict[str, object]]) -> tuple[object, ...]:
    """The same for limits that are as near as single precision."""
    kind, plain = action
    return kind, *(round(v, 5) if isinstance(v, float) else v for v in plain.values())


def _first_difference(theirs: Sequence[object], ours: Sequence[object]) -> str:
    """In words: what is there, and what the policy has."""
    for i in range(max(len(theirs), len(ours))):
        there = theirs[i] if i < len(theirs) else "nothing more"
        here = ours[i] if i < len(ours) else "nothing more"
        if there != here:
            return f"{there} at place {i}, the policy {here}"
    return "the same in another precision"
