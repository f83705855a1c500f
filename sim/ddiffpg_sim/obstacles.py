"""Obstacles that come, move and go while the simulation runs.

The model holds a fixed pool of free-floating (mocap) bodies. An obstacle takes one of them; those
that nobody uses wait far below the floor.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

SLOTS = 16
SHAPES = ("box", "cylinder")
_PARKED_Z = -100.0
_GEOM = {"box": int(mujoco.mjtGeom.mjGEOM_BOX), "cylinder": int(mujoco.mjtGeom.mjGEOM_CYLINDER)}


@dataclass(frozen=True)
class Obstacle:
    """Something in the way. Metres and radians.

    ``shape`` is "box" or "cylinder", ``center`` (x, y, z), ``half_size`` (x, y, z) of a box or
    (radius, radius, half height) of a cylinder, ``yaw`` about z. The robots here move in the plane:
    an obstacle blocks by what it covers of the floor, at whatever height it is.
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


def slots_xml(wall_height: float) -> str:
    """The pool as MJCF, for a task's model."""
    half = wall_height / 2
    return "\n".join(
        f'<body name="obstacle{i}" mocap="true" pos="0 0 {_PARKED_Z}">'
        f'<geom name="obstacle{i}" class="obstacle" type="box" size="0.1 0.1 {half}"/></body>'
        for i in range(SLOTS)
    )


class ObstaclePool:
    """The obstacles that are in ``model`` now, by id. Each change writes to the model's own arrays.

    Poses are written as the bodies' poses in the model, because ``mujoco.rollout`` starts every
    rollout with mocap bodies where the model has them. ``write_poses`` brings them into one MjData.
    """

    def __init__(self, model: mujoco.MjModel, wall_height: float) -> None:
        self._model = model
        self._half_height = wall_height / 2
        self._bodies = [model.body(f"obstacle{i}").id for i in range(SLOTS)]
        self._geoms = [model.geom(f"obstacle{i}").id for i in range(SLOTS)]
        self._slot_of: dict[int, int] = {}
        self._obstacles: dict[int, Obstacle] = {}

    @property
    def obstacles(self) -> tuple[Obstacle, ...]:
        """What is there now, in the order in which it came."""
        return tuple(self._obstacles.values())

    @property
    def geoms(self) -> frozenset[int]:
        """Geometry ids of the whole pool."""
        return frozenset(self._geoms)

    def put(self, obstacle: Obstacle) -> None:
        """Add it, or move the one with this id. RuntimeError where the pool is full."""
        if obstacle.id not in self._slot_of:
            self._slot_of[obstacle.id] = self._free_slot()
        self._obstacles[obstacle.id] = obstacle
        self._shape(self._geoms[self._slot_of[obstacle.id]], obstacle)
        self._place(self._slot_of[obstacle.id], (*obstacle.center[:2], self._half_height), obstacle.yaw)

    def remove(self, obstacle_id: int) -> None:
        """Take it away; KeyError where there is none with this id."""
        if obstacle_id not in self._slot_of:
            raise KeyError(f"no obstacle {obstacle_id}; there are {sorted(self._slot_of)}")
        del self._obstacles[obstacle_id]
        self._place(self._slot_of.pop(obstacle_id), (0.0, 0.0, _PARKED_Z), 0.0)

    def replace(self, obstacles: Iterable[Obstacle]) -> None:
        """Exactly these, nothing else. ValueError where an id is there twice."""
        wanted = list(obstacles)
        ids = [o.id for o in wanted]
        if len(set(ids)) != len(ids):
            raise ValueError(f"obstacle ids are {ids}: each may be there once")
        if len(wanted) > SLOTS:
            raise RuntimeError(f"{len(wanted)} obstacles: at most {SLOTS} fit at a time")
        for gone in set(self._slot_of) - set(ids):
            self.remove(gone)
        for obstacle in wanted:
            self.put(obstacle)

    def write_poses(self, data: mujoco.MjData) -> None:
        """Put the pool's bodies in ``data`` where the model has them."""
        for body in self._bodies:
            mocap = self._model.body_mocapid[body]
            data.mocap_pos[mocap] = self._model.body_pos[body]
            data.mocap_quat[mocap] = self._model.body_quat[body]

    def _free_slot(self) -> int:
        used = set(self._slot_of.values())
        for slot in range(SLOTS):
            if slot not in used:
                return slot
        raise RuntimeError(f"no room for another obstacle: {SLOTS} are there already")

    def _place(self, slot: int, center: tuple[float, float, float], yaw: float) -> None:
        body = self._bodies[slot]
        self._model.body_pos[body] = center
        self._model.body_quat[body] = (math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2))

    def _shape(self, geom: int, obstacle: Obstacle) -> None:
        """Type, size and the two bounds that collision detection and rays look at first."""
        x, y, _ = obstacle.half_size
        half = (x, y, self._half_height)
        self._model.geom_type[geom] = _GEOM[obstacle.shape]
        self._model.geom_size[geom] = half if obstacle.shape == "box" else (x, self._half_height, 0.0)
        self._model.geom_rbound[geom] = float(np.linalg.norm(half if obstacle.shape == "box" else half[1:]))
        self._model.geom_aabb[geom] = (0.0, 0.0, 0.0, *half)
