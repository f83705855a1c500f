"""Where an episode begins, apart from where its task has it."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's names come from compiled modules, which a type checker cannot see into.)

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from .dynamics import Robot, check_numbers
from .task import PlanarTask, Task


@dataclass(frozen=True)
class Start:
    """How far from the task's start, at most, either way and each number by itself: a base's ``position`` (m) and
    ``velocity`` (m/s) in x and y, the robot's ``joints`` (rad or m, within their limits). ValueError where one makes no
    sense."""

    position: float = 0.0
    velocity: float = 0.0
    joints: float = 0.0

    def __post_init__(self) -> None:
        check_numbers(vars(self))


AS_TASK = Start()


class Scatter:
    """Starts of the ``robot`` of ``task``, which is part of ``model``, moved away from where they are."""

    def __init__(self, task: Task, model: mujoco.MjModel, robot: Robot) -> None:
        self._task, self._base = task, isinstance(task, PlanarTask)
        joints = np.unique(model.dof_jntid[robot.joint_dofs])
        columns = model.jnt_qposadr[joints]
        own = (columns > 1) | (not self._base)  # x and y of a base are no joints of its own
        self._joints, limited = columns[own], model.jnt_limited[joints[own]] > 0
        ends = np.where(limited[:, None], model.jnt_range[joints[own]], [-np.inf, np.inf])
        self._low, self._high = ends.T

    def move(self, qpos: np.ndarray, qvel: np.ndarray, rows: np.ndarray, starts: Sequence[Start],
             rng: np.random.Generator) -> None:
        """In place the ``rows [n]`` (indices) of ``qpos [N, nq]`` and ``qvel [N, nv]``, one for each of ``starts``.

        Nothing is drawn where none is moved. ValueError where the robot has not what is to be moved.
        """
        if all(start == AS_TASK for start in starts):
            return
        position, velocity, joints = (np.array([getattr(s, name) for s in starts])[:, None] for name in vars(AS_TASK))
        for name, most in (("position", position), ("velocity", velocity), ("joints", joints)):
            if most.any():
                self.check(name)
        draw = rng.uniform(-1.0, 1.0, (len(starts), 4 + len(self._joints)))
        if self._base:
            qpos[rows, :2] += position * draw[:, :2]
            qvel[rows, :2] += velocity * draw[:, 2:4]
        at = np.ix_(rows, self._joints)
        moved = np.clip(qpos[at] + joints * draw[:, 4:], self._low, self._high)
        qpos[at] = np.where(joints > 0.0, moved, qpos[at])

    def check(self, name: str) -> None:
        """ValueError where the robot has no such thing as the field ``name`` of :class:`Start` moves."""
        if name == "joints" and not len(self._joints):
            raise ValueError(f"joints: task '{self._task.spec.name}' has a robot without joints")
        if name != "joints" and not self._base:
            raise ValueError(f"{name}: task '{self._task.spec.name}' has no base to move")
