"""Mode-consistent credit: what another way's trajectory is worth to a mode.

A mode must be able to come back from another mode's way, so its critic learns from trajectories off its own
way too. There the goal is worth nothing unless it is reached on the mode's own way, and its way cannot be
joined ahead of where it was left: a trajectory that leaves it and comes in again farther on has taken a
shortcut, and ends there with nothing. What remains is to go back and take the way as a whole, which is what a
robot needs whose present way is blocked.
"""

from __future__ import annotations

import numpy as np


def project(points: np.ndarray, way: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance of ``points [..., D]`` to the polyline ``way [P, D]`` and how far along it they are, metres."""
    length = np.linalg.norm(np.diff(way, axis=0), axis=1)
    begin = np.concatenate([[0.0], np.cumsum(length)])
    best = np.full(points.shape[:-1], np.inf, np.float32)
    along = np.zeros(points.shape[:-1], np.float32)
    for a, b, size, at in zip(way[:-1], way[1:], length, begin):
        direction = (b - a) / max(size, 1e-9)
        offset = points - a
        part = np.clip(offset @ direction, 0.0, size)
        gap = np.sqrt(((offset - part[..., None] * direction) ** 2).sum(-1))
        nearer = gap < best
        best[nearer] = gap[nearer]
        along[nearer] = at + part[nearer]
    return best, along


def shortcuts(paths: np.ndarray, way: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Steps of ``paths [N, T + 1, D]`` that join ``way [P, D]`` ahead of where they left it.

    Returns ``joins [N, T]``, true for such a step, and ``on [N, T + 1]``, true where a point is within
    ``tolerance`` (metres) of the way. Points after a path's end may hold anything finite.
    """
    gap, along = project(paths, way)
    on = gap <= tolerance
    last = np.maximum.accumulate(np.where(on, np.arange(paths.shape[1]), -1), axis=1)
    left_at = np.where(last >= 0, np.take_along_axis(along, np.maximum(last, 0), 1), 0.0)
    joins = on[:, 1:] & ~on[:, :-1] & (along[:, 1:] > left_at[:, :-1] + 2.0 * tolerance)
    return joins, on
