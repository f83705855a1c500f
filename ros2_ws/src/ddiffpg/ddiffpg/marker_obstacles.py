"""Obstacles declared by visualization_msgs markers: which of them are there at a given time.

Reads the messages by their field names only, so that it needs no ROS to be imported or tested. A
robot must not drive through what it could not read: an unreadable solid marker becomes a fault that
stays until a marker of the same namespace and id replaces it, or it is deleted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

# visualization_msgs/Marker constants
ADD_OR_MODIFY, DELETE, DELETEALL = 0, 2, 3
CUBE, SPHERE, CYLINDER = 1, 2, 3
ANNOTATIONS = {0: "arrow", 4: "line strip", 5: "line list", 9: "text"}

Key = tuple[str, int]
Pose2 = tuple[float, float, float]
Locate = Callable[[str], Pose2 | None]


@dataclass(frozen=True)
class MarkerObstacle:
    """A solid in the odometry frame, in metres and radians; ``expires`` in seconds of the node's clock.

    ``half_size`` of a cylinder is (radius, radius, half height).
    """

    key: Key
    shape: str
    center: tuple[float, float, float]
    half_size: tuple[float, float, float]
    yaw: float
    expires: float = math.inf


class MarkerError(ValueError):
    """A marker cannot be read as an obstacle."""


class MarkerBook:
    """Which obstacles are declared. ``locate`` gives a frame's pose (x, y, yaw) in the odometry frame."""

    def __init__(self, locate: Locate) -> None:
        self._locate = locate
        self._obstacles: dict[Key, MarkerObstacle] = {}
        self._faults: dict[Key, str] = {}

    def update(self, markers: Iterable[Any], now: float) -> None:
        """Apply one message's markers, in their order, at time ``now`` (seconds)."""
        for marker in markers:
            self._apply(marker, now)

    def at(self, now: float) -> tuple[MarkerObstacle, ...]:
        """What is declared and has not expired at ``now``; forgets what has."""
        self._obstacles = {k: o for k, o in self._obstacles.items() if o.expires > now}
        return tuple(self._obstacles.values())

    @property
    def faults(self) -> tuple[str, ...]:
        """One sentence for each marker that could not be read."""
        return tuple(self._faults.values())

    def _apply(self, marker: Any, now: float) -> None:
        key = (marker.ns, marker.id)
        if marker.action == DELETEALL:
            self._obstacles.clear()
            self._faults.clear()
            return
        self._faults.pop(key, None)
        if marker.action == DELETE:
            self._obstacles.pop(key, None)
            return
        try:
            self._put(key, marker, now)
        except MarkerError as error:
            self._faults[key] = f"obstacle '{marker.ns}'/{marker.id}: {error}"

    def _put(self, key: Key, marker: Any, now: float) -> None:
        if marker.action != ADD_OR_MODIFY:
            raise MarkerError(f"action {marker.action} is none of ADD, MODIFY, DELETE, DELETEALL")
        if marker.type in ANNOTATIONS:
            self._obstacles.pop(key, None)
            return
        frame = self._locate(marker.header.frame_id)
        if frame is None:
            raise MarkerError(f"frame '{marker.header.frame_id}' has no known place")
        self._obstacles[key] = _placed(read_marker(marker, now), frame)


def read_marker(marker: Any, now: float) -> MarkerObstacle:
    """The solid that a marker stands for, in the marker's frame. Raises MarkerError."""
    position, scale = marker.pose.position, marker.scale
    center = (position.x, position.y, position.z)
    half = (scale.x / 2, scale.y / 2, scale.z / 2)
    if not all(map(math.isfinite, (*center, *half))):
        raise MarkerError(f"position {center} and scale must be finite")
    if min(half) <= 0:
        raise MarkerError(f"scale must be more than 0 on every axis, not {tuple(2 * h for h in half)}")
    expires = _expiry(marker.lifetime, now)
    yaw, upright = _heading(marker.pose.orientation)
    key = (marker.ns, marker.id)
    if marker.type == CUBE and upright:
        return MarkerObstacle(key, "box", center, half, yaw, expires)
    if marker.type == CUBE or (marker.type == CYLINDER and not upright):
        reach = math.hypot(*half)  # a tilted solid: the upright cylinder that holds it whichever way it lies
        return MarkerObstacle(key, "cylinder", center, (reach, reach, reach), 0.0, expires)
    if marker.type in (SPHERE, CYLINDER):
        radius = max(half[:2]) if marker.type == CYLINDER else max(half)
        return MarkerObstacle(key, "cylinder", center, (radius, radius, half[2]), 0.0, expires)
    raise MarkerError(f"type {marker.type} is no box, cylinder or sphere")


def _expiry(lifetime: Any, now: float) -> float:
    seconds = lifetime.sec + lifetime.nanosec * 1e-9
    return now + seconds if seconds > 0 else math.inf


def _heading(q: Any) -> tuple[float, bool]:
    """Yaw of a quaternion, and whether its z axis is upright. All zero stands for none, as in RViz."""
    norm = math.hypot(q.w, q.x, q.y, q.z)
    if not math.isfinite(norm):
        raise MarkerError("orientation must be finite")
    if norm == 0:
        return 0.0, True
    w, x, y, z = q.w / norm, q.x / norm, q.y / norm, q.z / norm
    yaw = math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
    return yaw, abs(1 - 2 * (x * x + y * y)) > 0.999


def _placed(obstacle: MarkerObstacle, frame: Pose2) -> MarkerObstacle:
    """From the marker's frame to the odometry frame."""
    x, y, yaw = frame
    if frame == (0.0, 0.0, 0.0):
        return obstacle
    cos, sin = math.cos(yaw), math.sin(yaw)
    px, py, pz = obstacle.center
    center = (x + cos * px - sin * py, y + sin * px + cos * py, pz)
    return MarkerObstacle(
        obstacle.key, obstacle.shape, center, obstacle.half_size, obstacle.yaw + yaw, obstacle.expires
    )
