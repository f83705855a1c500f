"""Has the robot come to the end of its mode's way?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ddiffpg.actuation import AT_REST
from ddiffpg.modes import Way, WayMap


class Arrival:
    """Near the end and past it, or near and at rest; or, come along the mode's own way, well past it beside the path,
    for of large ways a goal may be far beside the end.

    Not as soon as it is near: a goal may be only just reached at the end of the path. And not wherever it is past
    the end: who comes from another way crosses there with all of its own still to go. ``radius`` (m) is what is near
    in ways of the tolerance 0.6 m, ``tolerance`` (m) that of these ways.
    """

    def __init__(self, ways: WayMap, radius: float, tolerance: float) -> None:
        self._ways, self._tolerance = ways, tolerance
        scale = ways.roadmap.scale
        self._near, self._past = radius * min(1.0, scale), radius * scale  # small ways end in a small place
        self._ending: int | None = None  # the mode that is driven to its end on its own way

    def follow(self, mode: int | None, ways: Sequence[Way]) -> None:
        """The present ``mode``, and all ways from where the robot is. From off its own way nothing new is known."""
        way = next((way for way in ways if way.id == mode and way.on_own), None)
        if way is not None:  # no farther beside the end than the tolerance, and no farther before it
            self._ending = way.id if way.length <= 2 * self._tolerance else None

    def at_end(self, mode: int, position: np.ndarray, velocity: np.ndarray) -> bool:
        """Is it so for ``mode`` at ``position [D]`` (m) and ``velocity [D]`` (m/s)?"""
        distance, past = self._ways.beyond_end(mode, position)
        if distance <= self._near:
            return past >= 0.0 or math.hypot(*velocity) <= AT_REST
        return mode == self._ending and past >= self._past and distance <= self._tolerance
