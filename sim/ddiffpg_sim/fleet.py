"""N robots of one task that each differ from its model in a way of their own."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's names come from compiled modules, which a type checker cannot see into.)

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import mujoco
import numpy as np

from .channel import Channel
from .dynamics import NOMINAL, PARAMETERS, Dynamics, Robot
from .signals import Deviation
from .task import PlanarTask, Task

Deviate = Callable[[np.random.Generator, int], Sequence[Deviation]]
"""Draws the deviations of so many episodes that begin."""


class Fleet:
    """The robots in the states ``qpos [N, nq]``, ``qvel [N, nv]``, which others step in place: their ``models``, of
    which each is written when an episode begins and stays as it is until the next, and their ``channel``.

    ``use`` gives them their models and must come first; each of them has ``inputs`` actuators.
    """

    def __init__(self, task: Task, qpos: np.ndarray, qvel: np.ndarray, inputs: int) -> None:
        self._task, self._qvel = task, qvel
        self._dynamics = [NOMINAL] * len(qpos)
        self.channel = Channel(task, qpos, qvel, inputs)

    def use(self, model: mujoco.MjModel) -> None:
        """From now on the robots differ from this ``model``."""
        self._robot = Robot(model)
        self.models = [copy.copy(model) for _ in self._dynamics]
        self._options = [m.opt for m in self.models]
        self._timestep = model.opt.timestep
        for dynamics, own in zip(self._dynamics, self.models):
            self._robot.write(dynamics, own)

    def begin(self, rows: np.ndarray, deviations: Sequence[Deviation], rng: np.random.Generator) -> None:
        """New episodes in the ``rows [N]`` (bool), one for each of ``deviations``. ValueError where one cannot be."""
        for row, deviation in zip(np.flatnonzero(rows).tolist(), deviations, strict=True):
            if deviation.signals.push > 0.0 and not isinstance(self._task, PlanarTask):
                raise ValueError(f"push is {deviation.signals.push}: task '{self._task.spec.name}' has no base to push")
            self._write(row, deviation.dynamics)
        self.channel.begin(rows, deviations, rng)

    def disturb(self, rng: np.random.Generator) -> None:
        """Before a control period: how long it will be, and who is pushed."""
        of = self.channel.of
        if of["rate_jitter"].any():
            seconds = self._timestep * (1.0 + of["rate_jitter"] * rng.uniform(-1.0, 1.0, len(self.models)))
            for option, timestep in zip(self._options, seconds.tolist()):
                option.timestep = timestep
        if of["push"].any():
            self._push(of["push"], of["push_every"], rng)

    def _push(self, speed: np.ndarray, every: np.ndarray, rng: np.random.Generator) -> None:
        pushed = rng.random(len(every)) * every * self._task.spec.rate_hz < 1.0
        angle = rng.uniform(-math.pi, math.pi, len(every))
        directions = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        self._qvel[:, :2] += (speed * (pushed & (every > 0.0)))[:, None] * directions

    def move_obstacles(self, model: mujoco.MjModel) -> None:
        """Put what stands in the way where ``model``, which is otherwise as it was, has it."""
        for own in self.models:
            own.body_pos[:], own.body_quat[:] = model.body_pos, model.body_quat

    def state_dict(self) -> dict[str, Any]:
        dynamics = {name: np.array([getattr(d, name) for d in self._dynamics]) for name in PARAMETERS}
        return {"dynamics": dynamics, "channel": self.channel.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        columns = {name: np.asarray(state["dynamics"][name]).tolist() for name in PARAMETERS}
        for row, values in enumerate(zip(*columns.values(), strict=True)):
            self._write(row, Dynamics(**dict(zip(columns, values))))
        self.channel.load_state_dict(state["channel"])

    def _write(self, row: int, dynamics: Dynamics) -> None:
        self._dynamics[row] = dynamics
        self._robot.write(dynamics, self.models[row])
        self._options[row].timestep = self._timestep
