"""Something to drop onto the way that a controller has chosen, so that another one stays open."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ddiffpg.obstacles import Box, Obstacles
from ddiffpg.roadmap import TOLERANCE

# In metres, for ways of the tolerance TOLERANCE; for other ways in proportion.
ROOM = 0.5  # from the robot's centre to the obstacle: what it takes to stop from 1 m/s, and a little
OFF = 0.22  # that it is away from another way
SIZE = (0.1, 0.9, 0.5)  # along the way, across it, up


@dataclass(frozen=True)
class Barrier:
    """A box across a way: its ``center`` (m) and ``yaw`` (rad); ``size`` (m) is along the way, across it, and up."""

    center: tuple[float, float]
    yaw: float
    size: tuple[float, float, float] = SIZE


def place_barrier(way: np.ndarray, robot: np.ndarray, others: Sequence[np.ndarray], tolerance: float) -> Barrier:
    """Where on ``way [P, 2]`` (m) a barrier drops ahead of the ``robot [2]``, so that another way stays open.

    That is at the first point that leaves the robot room to stop, and one of the ``others``, each
    ``[Q, 2]``, room to pass. ``tolerance`` (m) is how far one may be from a way and still be on it. Raises
    ValueError where there is no such point.
    """
    scale = tolerance / TOLERANCE
    left = way[np.linalg.norm(way - robot, axis=1).argmin() :]  # the robot has come on since the way was told
    for before, point in zip(left[:-1], left[1:]):
        barrier = barrier_at(point, point - before, tolerance)
        along, across, _ = barrier.size
        solid = Box(barrier.center, (along / 2, across / 2), barrier.yaw)
        distance = Obstacles(0.0, (solid,)).distance
        off = max((distance(other[:, :2]).declared.min() for other in others), default=0.0)
        if off > OFF * scale and distance(robot[None]).declared[0] > ROOM * scale:
            return barrier
    raise ValueError("no place on the chosen way leaves another way open")


def barrier_at(point: np.ndarray, along: np.ndarray, tolerance: float) -> Barrier:
    """A barrier at ``point [2]`` (m) across the direction ``along [2]``, as large as ways of ``tolerance`` (m) need."""
    scale = tolerance / TOLERANCE
    size = (scale * SIZE[0], scale * SIZE[1], scale * SIZE[2])
    return Barrier((float(point[0]), float(point[1])), math.atan2(along[1], along[0]), size)
