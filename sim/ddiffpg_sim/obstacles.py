"""Obstacles that come, move and go while the simulation runs.

Each is a free-floating (mocap) body of the model. One that moves has its pose written; when one comes,
goes or changes its shape the model is compiled anew, which takes less than a millisecond. So none of
them costs anything while it is not there, and there may be any number.
"""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's names come from compiled modules, which a type checker cannot see into.)

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import mujoco

from .task import Task

SHAPES = ("box", "cylinder")


@dataclass(frozen=True)
class Obstacle:
    """Something in the way. Metres and radians.

    ``shape`` is "box" or "cylinder", ``center`` (x, y, z), ``half_size`` (x, y, z) of a box or
    (radius, radius, half height) of a cylinder, ``yaw`` about z. For a robot on a floor it blocks by
    what it covers of that, at whatever height it is; for an arm it is where it is (``Task.standing``).
    Raises ValueError where a value makes no sense.
    """

    id: int
    shape: str
    center: tuple[float, float, float]
    half_size: tuple[float, float, float]
    yaw: float = 0.0

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ValueError(f"obstacle {self.id}: shape is {self.shape!r}, expected one of {SHAPES}")
        numbers = (*self.center, *self.half_size, self.yaw)
        if len(numbers) != 7 or not all(math.isfinite(n) for n in numbers):
            raise ValueError(f"obstacle {self.id}: center and half_size are three finite numbers each, yaw one")
        if min(self.half_size) <= 0:
            raise ValueError(f"obstacle {self.id}: half_size is {self.half_size}, expected more than 0")
        if self.shape == "cylinder" and self.half_size[0] != self.half_size[1]:
            raise ValueError(f"obstacle {self.id}: a cylinder's half_size is (radius, radius, half height)")

    def plain(self) -> dict[str, Any]:
        """As plain values, for a saved state; ``Obstacle.from_plain`` takes them back."""
        return {
            "id": self.id,
            "shape": self.shape,
            "center": [float(c) for c in self.center],
            "half_size": [float(h) for h in self.half_size],
            "yaw": float(self.yaw),
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Obstacle:
        return cls(plain["id"], plain["shape"], tuple(plain["center"]), tuple(plain["half_size"]), plain["yaw"])


def obstacles_xml(obstacles: Sequence[Obstacle]) -> str:
    """The obstacles as MJCF, for a task's model: bodies and geometries ``obstacle0``, ``obstacle1``, ..."""
    return "\n    ".join(
        f'<body name="obstacle{i}" mocap="true">'
        f'<geom name="obstacle{i}" class="obstacle" type="{o.shape}" size="{_size(o)}"/></body>'
        for i, o in enumerate(obstacles)
    )


def _size(obstacle: Obstacle) -> str:
    x, y, z = obstacle.half_size
    return f"{x} {y} {z}" if obstacle.shape == "box" else f"{x} {z}"


class World:
    """The compiled ``model`` of a task with the obstacles that stand in it now."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._obstacles: tuple[Obstacle, ...] = ()
        self.model = self._compile()

    @property
    def obstacles(self) -> tuple[Obstacle, ...]:
        return self._obstacles

    def replace(self, obstacles: Iterable[Obstacle]) -> bool:
        """From now on exactly these. True where that took a new model, whose MjData must be new too.

        Raises ValueError where an id is there twice.
        """
        wanted = tuple(obstacles)
        ids = [o.id for o in wanted]
        if len(set(ids)) != len(ids):
            raise ValueError(f"obstacle ids are {ids}: each may be there once")
        reshaped = [(o.shape, o.half_size) for o in wanted] != [(o.shape, o.half_size) for o in self._obstacles]
        self._obstacles = wanted
        if reshaped:
            self.model = self._compile()
        self._place()
        return reshaped

    def write_poses(self, data: mujoco.MjData) -> None:
        """Put the obstacles in ``data`` where the model has them (``mujoco.rollout`` does so by itself)."""
        for i in range(len(self._obstacles)):
            body = self.model.body(f"obstacle{i}").id
            mocap = self.model.body_mocapid[body]
            data.mocap_pos[mocap] = self.model.body_pos[body]
            data.mocap_quat[mocap] = self.model.body_quat[body]

    def _compile(self) -> mujoco.MjModel:
        return mujoco.MjModel.from_xml_string(self._task.model_xml(self._obstacles))

    def _place(self) -> None:
        for i, obstacle in enumerate(self._obstacles):
            body = self.model.body(f"obstacle{i}").id
            self.model.body_pos[body] = self._task.standing(obstacle).center
            self.model.body_quat[body] = (math.cos(obstacle.yaw / 2), 0.0, 0.0, math.sin(obstacle.yaw / 2))
