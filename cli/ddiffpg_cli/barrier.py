"""Something to drop onto the way that a controller has chosen, so that another one stays open."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ddiffpg.obstacles import Box, Obstacles

ROOM = 0.5  # m from the robot's centre to the obstacle: what it takes to stop from 1 m/s, and a little
OFF = 0.22  # m that it is away from another way
SIZE = (0.1, 0.9, 0.5)  # m: along the way, across it, up


@dataclass(frozen=True)
class Barrier:
    """A box across a way: its ``center`` (m) and ``yaw`` (rad); ``SIZE`` is along the way, across it, and up."""

    center: tuple[float, float]
    yaw: float


def place_barrier(way: np.ndarray, robot: np.ndarray, others: Sequence[np.ndarray]) -> Barrier:
    """Where on ``way [P, 2]`` (m) a barrier drops ahead of the ``robot [2]``, so that another way stays open.

    That is at the first point that leaves the robot room to stop, and one of the ``others``, each
    ``[Q, 2]``, room to pass. Raises ValueError where there is none.
    """
    left = way[np.linalg.norm(way - robot, axis=1).argmin() :]  # the robot has come on since the way was told
    for before, point in zip(left[:-1], left[1:]):
        dx, dy = point - before
        barrier = Barrier((float(point[0]), float(point[1])), math.atan2(dy, dx))
        solid = Box(barrier.center, (SIZE[0] / 2, SIZE[1] / 2), barrier.yaw)
        distance = Obstacles(0.0, (solid,)).distance
        off = max((distance(other[:, :2]).declared.min() for other in others), default=0.0)
        if off > OFF and distance(robot[None]).declared[0] > ROOM:
            return barrier
    raise ValueError("no place on the chosen way leaves another way open")
