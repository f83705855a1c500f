"""N robots of one task that each differ from its model in a way of their own."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's names come from compiled modules, which a type checker cannot see into.)

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import mujoco
import numpy as np

from .channel import Channel
from .dynamics import NOMINAL, PARAMETERS, Dynamics, Robot
from .motors import Motors
from .signals import Deviation
from .start import Scatter
from .task import PlanarTask, Task

Deviate = Callable[[np.random.Generator, int], Sequence[Deviation]]
"""Draws the deviations of so many episodes that begin."""


class Build(NamedTuple):
    """What of a robot is in its model."""

    dynamics: Dynamics
    rate_jitter: float


@dataclass(eq=False)
class Model:
    """A model of robots that are alike, and how many of them there are."""

    model: mujoco.MjModel
    build: Build
    users: int = 0


class Fleet:
    """The robots in the states ``qpos [N, nq]``, ``qvel [N, nv]``, which others step in place: their ``models``, of
    which each is written when an episode begins and stays as it is until the next, and their ``channel``.

    Robots that are alike share a model: many models do not fit into the processor's nearest cache, which costs a
    light task a third of its speed. ``use`` gives them their models and must come first; each robot has ``inputs``
    actuators.
    """

    def __init__(self, task: Task, qpos: np.ndarray, qvel: np.ndarray, inputs: int) -> None:
        self._task, self._qpos, self._qvel = task, qpos, qvel
        self._build = [Build(NOMINAL, 0.0)] * len(qpos)
        self._pushable = isinstance(task, PlanarTask)
        self.channel, self._motors = Channel(task, qpos, qvel, inputs), Motors(task, qpos, inputs)

    def use(self, model: mujoco.MjModel) -> None:
        """From now on the robots differ from this ``model``."""
        self._robot, self._nominal, self._timestep = Robot(model), model, model.opt.timestep
        self._scatter = Scatter(self._task, model, self._robot)
        self._spare: list[mujoco.MjModel] = []
        self._known: dict[Build, Model] = {}
        self._of = [self._take(build) for build in self._build]
        self.models, self._options = [m.model for m in self._of], [m.model.opt for m in self._of]

    def begin(self, rows: np.ndarray, deviations: Sequence[Deviation], rng: np.random.Generator) -> None:
        """New episodes in ``rows [n]`` (indices), which start as the task has it, one for each of ``deviations``.

        ValueError where one cannot be.
        """
        pushed = max(d.signals.push for d in deviations)
        if pushed and not self._pushable:
            raise ValueError(f"push is {pushed}: task '{self._task.spec.name}' has no base to push")
        self._scatter.move(self._qpos, self._qvel, rows, [d.start for d in deviations], rng)
        for row, deviation in zip(rows.tolist(), deviations, strict=True):
            self._give(row, Build(deviation.dynamics, deviation.signals.rate_jitter))
        self.channel.begin(rows, [d.signals for d in deviations], rng)
        self._motors.begin(rows, [d.simulator for d in deviations])
        self._prepare()

    def send(self, action: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Command ``action [N, A]`` for a control period: see how long it will be, who is pushed, and what the
        motors do, ``[N, substeps or 1, nu]``."""
        chance = rng.random((3, len(action)))
        if self.channel.most["rate_jitter"]:
            # Of robots that are alike the last one's clock is everyone's.
            for option, timestep in zip(self._options, (self._shortest + self._longer * chance[0]).tolist()):
                option.timestep = timestep
        if self.channel.most["push"]:
            pushed = chance[1] < self._push_chance
            if pushed.any():
                self._push(np.flatnonzero(pushed), rng)
        return self._motors.follow(self.channel.send(action, chance[2]))

    def _push(self, rows: np.ndarray, rng: np.random.Generator) -> None:
        angle = rng.uniform(-math.pi, math.pi, len(rows))
        speed = self.channel.of["push"][rows, None]
        self._qvel[rows, :2] += speed * np.stack([np.cos(angle), np.sin(angle)], axis=1)

    def move_obstacles(self, model: mujoco.MjModel) -> None:
        """Put what stands in the way where ``model``, which is otherwise as it was, has it."""
        for own in [*self._spare, *(known.model for known in self._known.values())]:
            own.body_pos[:], own.body_quat[:] = model.body_pos, model.body_quat

    def state_dict(self) -> dict[str, Any]:
        dynamics = {name: np.array([getattr(b.dynamics, name) for b in self._build]) for name in PARAMETERS}
        return {"dynamics": dynamics, "channel": self.channel.state_dict(), "motors": self._motors.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.channel.load_state_dict(state["channel"])
        self._motors.load_state_dict(state["motors"])
        columns = zip(*(np.asarray(state["dynamics"][name]).tolist() for name in PARAMETERS), strict=True)
        dynamics = [Dynamics(*values) for values in columns]
        for row, pair in enumerate(zip(dynamics, self.channel.of["rate_jitter"].tolist(), strict=True)):
            self._give(row, Build(*pair))
        self._prepare()

    def _prepare(self) -> None:
        """What holds for all episodes that run now."""
        of, most = self.channel.of, self.channel.most
        if most["rate_jitter"]:  # the time of a physics step is from the shortest to so much longer
            jitter = self._timestep * of["rate_jitter"]
            self._shortest, self._longer = self._timestep - jitter, 2.0 * jitter
        if most["push"]:
            every = of["push_every"] * self._task.spec.rate_hz  # control periods
            self._push_chance = np.divide(1.0, every, out=np.zeros(len(every)), where=every > 0.0)

    def _give(self, row: int, build: Build) -> None:
        """Let ``row`` be of this ``build``."""
        before = self._of[row]
        before.users -= 1
        if not before.users:
            self._spare.append(self._known.pop(before.build).model)
        self._build[row], self._of[row] = build, self._take(build)
        self.models[row] = model = self._of[row].model
        self._options[row] = model.opt

    def _take(self, build: Build) -> Model:
        known = self._known.get(build)
        if known is None:
            model = self._spare.pop() if self._spare else copy.copy(self._nominal)
            self._robot.write(build.dynamics, model)
            model.opt.timestep = self._timestep
            known = self._known[build] = Model(model, build)
        known.users += 1
        return known
