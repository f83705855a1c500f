"""What a robot may differ in from the model that a policy was trained on, one thing at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import mujoco
import numpy as np

from ddiffpg_sim.second_simulator import AS_TRAINED, SIMULATORS, elsewhere
from ddiffpg_sim.signals import Deviation
from ddiffpg_sim.task import PlanarTask, Task

from .errors import BadInput

PUSH_EVERY = 2.0  # s
NOMINAL = "nominal"

Value = float | str


@dataclass(frozen=True)
class Target:
    """The robot that a policy is tried on: its ``deviation`` from the model, and at which control ``rate``, as a factor
    of the policy's."""

    deviation: Deviation = field(default_factory=Deviation)
    rate: float = 1.0

    @property
    def is_seen_wrongly(self) -> bool:
        """Whether what is observed is not where it is."""
        signals = self.deviation.signals
        return any((signals.noise, signals.bias, signals.dropout, signals.observation_delay))

    def world(self, task: Task) -> Task:
        """``task`` at this rate, as the robot's simulator computes it."""
        simulator = self.deviation.simulator
        return task if (simulator, self.rate) == (AS_TRAINED, 1.0) else elsewhere(task, simulator, self.rate)


@dataclass(frozen=True)
class Axis:
    """One thing that is varied: ``few`` values to try, or ``many``, in ``unit``. ``of`` reads it from a target,
    ``put`` gives the target that has another value of it and is the same in all else."""

    name: str
    title: str
    unit: str
    few: tuple[Value, ...]
    many: tuple[Value, ...]
    of: Callable[[Target], Value]
    put: Callable[[Target, Any], Target]

    def values(self, target: Target, full: bool) -> tuple[Value, ...]:
        """What to try beside the value that ``target`` has."""
        return tuple(value for value in (self.many if full else self.few) if value != self.of(target))


def _with(target: Target, section: str, **changes: Any) -> Target:
    """``target`` with these fields of a section of its deviation."""
    changed = replace(getattr(target.deviation, section), **changes)
    return replace(target, deviation=replace(target.deviation, **{section: changed}))


def _dynamics(name: str, title: str, few: Sequence[float], more: Sequence[float], unit: str = "times") -> Axis:
    def put(target: Target, value: float) -> Target:
        return _with(target, "dynamics", **{name: value})

    return _axis(name, title, unit, few, more, lambda target: getattr(target.deviation.dynamics, name), put)


def _signals(name: str, title: str, unit: str, few: Sequence[float], more: Sequence[float], key: str,
             **beside: float) -> Axis:
    def put(target: Target, value: float) -> Target:
        return _with(target, "signals", **{key: value}, **(beside if value else {}))

    return _axis(name, title, unit, few, more, lambda target: getattr(target.deviation.signals, key), put)


def _axis(name: str, title: str, unit: str, few: Sequence[float], more: Sequence[float],
          of: Callable[[Target], Value], put: Callable[[Target, Any], Target]) -> Axis:
    return Axis(name, title, unit, tuple(few), tuple(sorted({*few, *more})), of, put)


def _simulator(target: Target) -> str:
    simulator = target.deviation.simulator
    known = {"as trained": AS_TRAINED, **SIMULATORS}
    return next((name for name, other in known.items() if other == simulator), "as identified")


AXES = {
    axis.name: axis
    for axis in (
        _signals("delay", "delay from a command to what it does", "s", (0.0, 0.06, 0.1, 0.14, 0.2),
                 (0.02, 0.04, 0.08, 0.12, 0.16, 0.3, 0.5), "action_delay"),
        _dynamics("friction", "friction of contacts", (0.25, 0.5, 0.7, 1.0, 1.3, 2.0), (0.85, 1.15, 1.6)),
        _dynamics("dry_friction", "dry friction in each joint", (0.0, 1.0, 2.0, 4.0), (0.5, 8.0, 12.0, 16.0), "N, N m"),
        _dynamics("mass", "mass", (0.5, 0.7, 1.0, 1.3, 2.0), (0.85, 1.15, 1.5)),
        _dynamics("strength", "strength of the motors", (0.5, 0.7, 1.0, 1.3), (0.3, 0.85, 1.15, 1.5)),
        _signals("noise", "noise of what is observed", "of scale", (0.0, 0.01, 0.02, 0.05),
                 (0.005, 0.03, 0.1, 0.2), "noise"),
        _axis("rate", "control rate", "times", (0.5, 0.8, 1.0, 1.25, 2.0), (0.25, 0.65, 1.6),
              lambda target: target.rate, lambda target, value: replace(target, rate=value)),
        _signals("push", f"pushes, one every {PUSH_EVERY:g} s", "m/s", (0.0, 0.5, 1.0), (2.0, 4.0), "push",
                 push_every=PUSH_EVERY),
        Axis("simulator", "another simulator", "", tuple(SIMULATORS), tuple(SIMULATORS), _simulator,
             lambda target, value: replace(target, deviation=replace(target.deviation, simulator=SIMULATORS[value]))),
    )
}  # fmt: skip


JUDGES = (("delay", 0.06), ("delay", 0.1), ("mass", 0.7), ("mass", 1.3), ("strength", 0.7), ("strength", 1.3),
          ("noise", 0.02))  # fmt: skip
"""The robots, beside the nominal one, that ``train --select transfer`` looks for the best policy on."""


def different_robots(rng: np.random.Generator, count: int) -> list[Deviation]:
    """The nominal robot and JUDGES in turn, as often as it takes to have ``count``."""
    robots = [Target(), *(AXES[axis].put(Target(), value) for axis, value in JUDGES)]
    return [robots[i % len(robots)].deviation for i in range(count)]


def chosen(names: str | None, task: Task) -> list[Axis]:
    """The axes of a list such as ``delay,mass``; None: all that change anything in the model of ``task``."""
    idle = without_effect(task)
    if names is None:
        return [axis for axis in AXES.values() if axis.name not in idle]
    asked = [name.strip() for name in names.split(",")]
    for name in asked:
        if name not in AXES:
            raise BadInput(f"--axes {name!r}: no such axis (known: {', '.join(AXES)})")
        if name in idle:
            raise BadInput(f"--axes {name}: {idle[name]}; leave it out")
    return [AXES[name] for name in dict.fromkeys(asked)]


def without_effect(task: Task) -> dict[str, str]:
    """The axes that change nothing in the model of ``task``, and why."""
    model = mujoco.MjModel.from_xml_string(task.model_xml())  # pyright: ignore[reportAttributeAccessIssue]
    idle = {}
    if model.geom_condim.max() == 1:
        idle["friction"] = f"in the model of {task.spec.name} contacts have no friction (dry_friction has an effect)"
    if not isinstance(task, PlanarTask):
        idle["push"] = f"{task.spec.robot} has no base that could be pushed"
    return idle
