"""What the simulator asks of a task: its description, its model, and its named measurements.

A task is one file a family (``pointmaze.py``). Everything else here works with any :class:`Task`; what draws or
senses the world as a floor with walls wants a :class:`PlanarTask` and asks ``planar`` for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from ddiffpg_core.spec import TaskSpec

if TYPE_CHECKING:
    from ddiffpg.observation import RobotState

    from .obstacles import Obstacle


@dataclass(frozen=True)
class Wall:
    """An upright box of the world, seen from above: ``center`` (x, y) and ``half_size`` (x, y) in metres."""

    center: tuple[float, float]
    half_size: tuple[float, float]


@dataclass(frozen=True)
class Way:
    """One way that the task was made to allow: ``points`` in metres, from the start to where the task is done.

    A point has as many numbers as the task's path: (x, y) for a mobile robot, (x, y, z) for an arm. ``goal``
    tells which of several goals it leads to.
    """

    name: str
    goal: int
    points: tuple[tuple[float, ...], ...]


class Task(Protocol):
    """A task: N rows of joint positions ``qpos [N, nq]`` and velocities ``qvel [N, nv]`` at a time.

    ``substeps`` physics steps make one control step. ``robot_radius`` (metres) is how far around a point of its
    path the robot reaches.
    """

    @property
    def spec(self) -> TaskSpec: ...

    @property
    def substeps(self) -> int: ...

    @property
    def robot_radius(self) -> float: ...

    @property
    def walls(self) -> tuple[Wall, ...]:
        """What of the world never moves, seen from above."""
        ...

    @property
    def ways(self) -> tuple[Way, ...]: ...

    def model_xml(self, obstacles: Sequence[Obstacle] = ()) -> str:
        """The MuJoCo model (MJCF) with these obstacles: body ``robot``, joints in the order of ``qpos``."""
        ...

    def standing(self, obstacle: Obstacle) -> Obstacle:
        """``obstacle`` as this world has it: on a floor it stands on the ground, as high as the walls."""
        ...

    def start(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """``count`` first states: ``qpos [count, nq]``, ``qvel [count, nv]``."""
        ...

    def observe(self, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        """``obs [N, O]`` float32 in physical units, fields as in ``spec.observation``."""
        ...

    def control(self, action: np.ndarray, qpos: np.ndarray) -> np.ndarray:
        """Actuator inputs ``[N, nu]`` for ``action [N, A]`` (physical units, inside the limits), taken at ``qpos``."""
        ...

    def robot_state(self, stamp: float, qpos: np.ndarray, qvel: np.ndarray) -> RobotState:
        """One robot's ``qpos [nq]``, ``qvel [nv]`` as its own sensors report it."""
        ...

    def qpos_of(self, state: RobotState) -> np.ndarray:
        """``qpos [nq]`` back from what one robot's sensors report; NaN where they do not say."""
        ...

    def qvel_of(self, state: RobotState) -> np.ndarray:
        """``qvel [nv]`` as ``qpos_of`` gives the positions."""
        ...

    def success(self, qpos: np.ndarray) -> np.ndarray:
        """``[N]`` bool: is the goal reached? Ends the episode."""
        ...

    def reward(self, qpos: np.ndarray) -> np.ndarray:
        """``[N]`` float32."""
        ...

    def clearance(self, points: np.ndarray) -> np.ndarray:
        """Metres from ``points [P, D]`` of the path's dimension to what never moves: ``[P]``, negative inside it."""
        ...


@runtime_checkable
class PlanarTask(Task, Protocol):
    """A task of a robot that drives on a floor: its path is x and y, which come first in ``qpos``.

    ``goals [G, 2]`` are in metres, ``goal_radius`` is how near counts as there. ``wall_height`` (metres) is the
    height of walls and obstacles.
    """

    @property
    def goal_radius(self) -> float: ...

    @property
    def wall_height(self) -> float: ...

    @property
    def goals(self) -> np.ndarray: ...


def planar(task: Task, what: str) -> PlanarTask:
    """``task`` as one on a floor; ValueError where it is none, which ``what`` needs."""
    if not isinstance(task, PlanarTask):
        raise ValueError(f"{what} needs a robot on a floor; task '{task.spec.name}' moves {task.spec.robot} in space")
    return task
