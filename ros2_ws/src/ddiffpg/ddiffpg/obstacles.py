"""What is in the way: declared shapes and sensed points, and how far off they are.

In the plane (D = 2) a shape is what it covers of the floor, in space (D = 3) it has a height too.
Declared shapes (boxes, cylinders) are known to be obstacles. Sensed points (scan hits, occupied grid
cells) are whatever the robot sees, walls of the training world too; so the two are kept apart.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

STILL = 0.05  # m/s: what is slower stands still
STATIONS = 12  # at most so many places of a moving shape are looked at
ANY_HEIGHT = (-math.inf, math.inf)


@dataclass(frozen=True)
class Box:
    """An upright box: ``center`` and ``half_size`` (x, y) in m, turned by ``yaw`` (rad), and the ``height`` (m)
    from which to which it reaches, which counts in space only. ValueError if senseless."""

    center: tuple[float, float]
    half_size: tuple[float, float]
    yaw: float = 0.0
    height: tuple[float, float] = ANY_HEIGHT

    def __post_init__(self) -> None:
        _check("Box", (*self.center, *self.half_size, self.yaw), 5, min(self.half_size))
        _check_height("Box", self.height)


@dataclass(frozen=True)
class Cylinder:
    """An upright cylinder: ``center`` (x, y) and ``radius`` in m, ``height`` as of a box. ValueError if senseless."""

    center: tuple[float, float]
    radius: float
    height: tuple[float, float] = ANY_HEIGHT

    def __post_init__(self) -> None:
        _check("Cylinder", (*self.center, self.radius), 3, self.radius)
        _check_height("Cylinder", self.height)


Shape = Box | Cylinder


def _check_height(name: str, height: tuple[float, float]) -> None:
    if len(height) != 2 or not height[0] <= height[1]:
        raise ValueError(f"{name} has the height {height}: expected where it begins and, no lower, where it ends")


def _check(name: str, numbers: tuple[float, ...], count: int, smallest: float) -> None:
    if len(numbers) != count or not all(math.isfinite(n) for n in numbers):
        raise ValueError(f"{name} has the numbers {numbers}: expected {count} finite ones")
    if smallest <= 0:
        raise ValueError(f"{name} has the size {smallest} m: expected more than 0")


class Distance(NamedTuple):
    """Metres from each of P points: ``declared [P]`` to the nearest shape (negative inside one),
    ``sensed [P]`` to the nearest sensed point. Infinite where there is none."""

    declared: np.ndarray
    sensed: np.ndarray


class Approach(NamedTuple):
    """N things as seen from one point: ``distance [N]`` in m (negative inside a shape), ``direction [N, D]``, the unit
    vector along which that distance shrinks, and ``coming [N]``, the speed (m/s) at which they come nearer by
    themselves, negative where they go away."""

    distance: np.ndarray
    direction: np.ndarray
    coming: np.ndarray | float = 0.0


@dataclass(frozen=True, eq=False)
class Obstacles:
    """All that is known to be in the way, in the odometry frame.

    ``stamp`` (s): until when this is known to be so. It is the time of the last reading of whatever is
    read periodically (a scan); shapes that are declared once stay true without being said again.
    ``points [N, D]`` in m. ``velocities`` are those of the shapes (x, y, in m/s), none where all stand still.
    Raises ValueError where points are not N times two or three finite numbers, or velocities are not one a shape.
    """

    stamp: float
    shapes: tuple[Shape, ...] = ()
    points: np.ndarray = field(default_factory=lambda: np.empty((0, 2)))
    velocities: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        points = np.asarray(self.points, float)
        if points.ndim != 2 or points.shape[1] not in (2, 3) or not np.isfinite(points).all():
            raise ValueError(f"Obstacles.points has shape {points.shape}: expected [N, 2] or [N, 3], all finite")
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "shapes", tuple(self.shapes))
        flat = [v for velocity in self.velocities for v in velocity]
        if self.velocities and (len(flat) != 2 * len(self.shapes) or not all(map(math.isfinite, flat))):
            raise ValueError(f"Obstacles.velocities is {self.velocities}: expected two finite numbers for each shape")

    def of(self, dimensions: int) -> Obstacles:
        """The same for ways of so many dimensions. ValueError where sensed points do not have as many."""
        if self.points.shape[1] == dimensions:
            return self
        if len(self.points):
            raise ValueError(f"sensed points have {self.points.shape[1]} coordinates, the ways have {dimensions}")
        return Obstacles(self.stamp, self.shapes, np.empty((0, dimensions)), self.velocities)

    @property
    def moves(self) -> bool:
        """Does any of the shapes?"""
        return any(math.hypot(*velocity) > STILL for velocity in self.velocities)

    def still(self) -> Obstacles:
        """Without what moves."""
        pairs = zip(self.shapes, self.velocities)
        shapes = tuple(s for s, v in pairs if math.hypot(*v) <= STILL) if self.velocities else self.shapes
        return Obstacles(self.stamp, shapes, self.points)

    def moving(self) -> Obstacles:
        """Only what moves, where it is."""
        shapes = tuple(s for s, v in zip(self.shapes, self.velocities) if math.hypot(*v) > STILL)
        return Obstacles(self.stamp, shapes, self.points[:0])

    def swept(self, seconds: float) -> Obstacles:
        """With every moving shape wherever it will be within ``seconds``, if it goes on as it does."""
        more = [_moved(s, v, t) for s, v in zip(self.shapes, self.velocities) for t in _times(s, v, seconds)]
        return Obstacles(self.stamp, (*self.shapes, *more), self.points)

    @functools.cached_property
    def solids(self) -> Solids:
        """The declared shapes, ready to be measured; the same object for equal shapes, so that one can see that
        they have not changed."""
        return _solids(self.shapes)

    def distance(self, points: np.ndarray) -> Distance:
        """How far ``points [P, D]`` (m) are from what is in the way."""
        return Distance(self.solids.distance(points), nearest_distance(points, self.points))

    def approach_shapes(self, point: np.ndarray) -> Approach:
        """The declared shapes as seen from ``point [D]``."""
        seen = self.solids.approach(point)
        if not self.moves:
            return seen
        return seen._replace(coming=-np.einsum("ni,ni->n", seen.direction[:, :2], np.array(self.velocities)))

    def approach_points(self, point: np.ndarray, within: float) -> tuple[np.ndarray, Approach]:
        """Indices of the sensed points less than ``within`` m from ``point [D]``, and how they are seen from there."""
        offset = self.points - point
        distance = np.sqrt(np.einsum("ni,ni->n", offset, offset))
        near = np.flatnonzero(distance < within)
        distance = distance[near]
        return near, Approach(distance, offset[near] / np.maximum(distance, 1e-9)[:, None])


def _times(shape: Shape, velocity: tuple[float, float], seconds: float) -> list[float]:
    """Moments so close together that a moving shape leaves no gap between two of them; at most STATIONS."""
    speed = math.hypot(*velocity)
    if speed <= STILL:
        return []
    size = shape.radius if isinstance(shape, Cylinder) else min(shape.half_size)
    count = min(math.ceil(speed * seconds / size), STATIONS)
    return [seconds * (i + 1) / count for i in range(count)]


def _moved(shape: Shape, velocity: tuple[float, float], seconds: float) -> Shape:
    x, y = (c + v * seconds for c, v in zip(shape.center, velocity))
    return replace(shape, center=(x, y))


def nearest_distance(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Metres ``[P]`` from ``points [P, D]`` to the nearest of ``others [N, D]``; infinite where there is none."""
    if not len(others):
        return np.full(len(points), math.inf)
    offset = np.asarray(points, float)[:, None] - others
    return np.sqrt(np.einsum("pni,pni->pn", offset, offset).min(axis=1))


class Solids:
    """Shapes as arrays. Each is a rectangle grown by a rounding radius: a box has none, a cylinder has no sides.
    In space it stands upright between two heights."""

    def __init__(self, shapes: tuple[Shape, ...]) -> None:
        table = np.array([_row(shape) for shape in shapes], float).reshape(len(shapes), 8)
        self._x, self._y, self._half_x, self._half_y, self._rounding = table[:, :5].T[:, :, None]
        self._cos, self._sin = np.cos(table[:, 5:6]), np.sin(table[:, 5:6])
        self._bottom, self._top = table[:, 6:7], table[:, 7:8]

    def __len__(self) -> int:
        return len(self._x)

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Metres ``[P]`` from ``points [P, D]`` to the nearest shape, negative inside; infinite where there is none."""
        if not len(self):
            return np.full(len(points), math.inf)
        x, y = self._local(points)
        beside = self._signed(np.abs(x) - self._half_x, np.abs(y) - self._half_y)
        if points.shape[1] == 2:
            return beside.min(axis=0)
        return _outside(beside, np.maximum(*self._over(points))).min(axis=0)

    def approach(self, point: np.ndarray) -> Approach:
        """``point [D]`` -> distance ``[S]``, direction ``[S, D]``."""
        x, y = self._local(point[None])
        gap_x, gap_y = np.abs(x) - self._half_x, np.abs(y) - self._half_y
        # The way out: from the nearest side or corner; from inside, through the nearest side.
        inside = (gap_x <= 0) & (gap_y <= 0)
        out_x = np.where(inside, gap_x >= gap_y, np.maximum(gap_x, 0.0)) * np.where(x < 0, -1.0, 1.0)
        out_y = np.where(inside, gap_x < gap_y, np.maximum(gap_y, 0.0)) * np.where(y < 0, -1.0, 1.0)
        length = np.hypot(out_x, out_y)
        toward = (self._sin * out_y - self._cos * out_x, -self._sin * out_x - self._cos * out_y)
        beside, sideways = self._signed(gap_x, gap_y), np.concatenate(toward, axis=1) / length
        if len(point) == 2:
            return Approach(beside[:, 0], sideways)
        return _approach_in_space(beside, sideways, *self._over(point[None]))

    def _local(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``points [P, D]`` along the sides of each shape, from its centre: ``[S, P]`` twice."""
        x, y = points[:, 0] - self._x, points[:, 1] - self._y
        return self._cos * x + self._sin * y, self._cos * y - self._sin * x

    def _signed(self, gap_x: np.ndarray, gap_y: np.ndarray) -> np.ndarray:
        """Distance ``[S, P]`` of what lies so far outside of each shape's sides (negative: inside)."""
        return _outside(gap_x, gap_y) - self._rounding

    def _over(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How far ``points [P, 3]`` are below each shape's bottom and above its top (negative: not): ``[S, P]``."""
        return self._bottom - points[:, 2], points[:, 2] - self._top


def _outside(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Distance from what is bounded across two directions at right angles, by how far outside of each one is."""
    return np.sqrt(np.maximum(one, 0.0) ** 2 + np.maximum(other, 0.0) ** 2) + np.minimum(np.maximum(one, other), 0.0)


def _approach_in_space(beside: np.ndarray, sideways: np.ndarray, below: np.ndarray, above: np.ndarray) -> Approach:
    """How S shapes are seen that are ``beside [S, 1]`` m off in the plane, by ``sideways [S, 2]``, and of which
    one is so far ``below`` and ``above`` (``[S, 1]``, m)."""
    over = np.maximum(below, above)
    inside = (beside <= 0) & (over <= 0)
    across = np.where(inside, beside >= over, np.maximum(beside, 0.0))
    along = np.where(inside, beside < over, np.maximum(over, 0.0)) * np.where(below >= above, 1.0, -1.0)
    toward = np.concatenate([across * sideways, along], axis=1)
    # hypot: the square of what is next to nothing would be nothing
    return Approach(_outside(beside, over)[:, 0], toward / np.hypot(across, along))


def _row(shape: Shape) -> tuple[float, ...]:
    if isinstance(shape, Cylinder):
        return (*shape.center, 0.0, 0.0, shape.radius, 0.0, *shape.height)
    return (*shape.center, *shape.half_size, 0.0, shape.yaw, *shape.height)


@functools.lru_cache(maxsize=8)
def _solids(shapes: tuple[Shape, ...]) -> Solids:
    return Solids(shapes)
