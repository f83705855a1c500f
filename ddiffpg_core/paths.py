"""Ways as curves: taking loops out, resampling, and how far two of them are apart. numpy only."""

from __future__ import annotations

import math

import numpy as np


def erase_loops(path: np.ndarray, radius: float) -> np.ndarray:
    """``path [L, D]`` without its detours.

    Where it comes back within ``radius`` after more than 3 radii of travel, that loop is cut. Of an explorer's
    wandering this leaves the way that it found.
    """
    travelled = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    back = np.linalg.norm(path[:, None] - path[None], axis=-1) < radius
    back &= travelled[None] - travelled[:, None] > 3.0 * radius
    last = np.where(back.any(1), len(path) - 1 - back[:, ::-1].argmax(1), np.arange(len(path)) + 1)
    keep = [0]
    while keep[-1] < len(path) - 1:
        keep.append(int(last[keep[-1]]))
    return path[keep]


def resample(path: np.ndarray, points: int) -> np.ndarray:
    """``path [L, D]`` -> ``[points, D]``, evenly spaced along its length."""
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    length = np.concatenate([[0.0], np.cumsum(steps)])
    at = np.linspace(0.0, length[-1], points)
    return np.stack([np.interp(at, length, column) for column in path.T], 1)


def way(path: np.ndarray, points: int, radius: float) -> np.ndarray:
    """The way that a trajectory took: loops out, then ``points`` points evenly spaced."""
    return resample(erase_loops(path, radius), points)


def direct(ways: np.ndarray, known: np.ndarray, tolerance: float, factor: float) -> np.ndarray:
    """Which of ``ways [N, P, D]`` are no longer than ``factor`` times the shortest to the same place -> ``[N]``.

    Compared with each other and with ``known [M, P, D]``; places within two tolerances (metres) are the same.
    """
    every = np.concatenate([ways, known])
    length = np.linalg.norm(np.diff(every, axis=1), axis=2).sum(1)
    same = np.linalg.norm(ways[:, None, -1] - every[None, :, -1], axis=-1) <= 2.0 * tolerance
    shortest = np.where(same, length[None], np.inf).min(1, initial=np.inf)
    return length[: len(ways)] <= factor * shortest


def dtw(a: np.ndarray, b: np.ndarray, order: float = math.inf) -> np.ndarray:
    """Dynamic time warping between each of ``a [N, P, D]`` and each of ``b [M, P, D]`` -> ``[N, M]``, metres.

    The cost of a warping is the power mean, of power ``order``, of the distances that it pairs. Order 1 is the
    paper's length-normalised DTW (section 4.3). The default is the largest of them: how far apart two ways are
    where they are farthest apart (the discrete Fréchet distance). It tells ways apart that share most of
    their length, and does not add up what every trajectory of one way has of jitter.
    """
    n, m, p = len(a), len(b), a.shape[1]
    cost = np.linalg.norm(a[:, None, :, None] - b[None, :, None], axis=-1).reshape(n * m, p, p)
    cost = np.ascontiguousarray(np.moveaxis(cost, 0, 2))
    join: np.ufunc = np.maximum
    if math.isfinite(order):
        cost, join = cost**order / p, np.add
    total = np.full((p + 1, p + 1, n * m), np.inf, cost.dtype)
    total[0, 0] = 0.0
    for d in range(2, 2 * p + 1):
        i = np.arange(max(1, d - p), min(p, d - 1) + 1)
        j = d - i
        best = np.minimum(np.minimum(total[i - 1, j], total[i, j - 1]), total[i - 1, j - 1])
        total[i, j] = join(cost[i - 1, j - 1], best)
    out = total[p, p].reshape(n, m)
    return out ** (1.0 / order) if math.isfinite(order) else out


def distance_to_way(points: np.ndarray, way_points: np.ndarray) -> np.ndarray:
    """Distance of each of ``points [N, D]`` to the polyline ``way_points [P, D]`` -> ``[N]``."""
    start, step = way_points[:-1], np.diff(way_points, axis=0)
    along = ((points[:, None] - start) * step).sum(-1) / np.maximum((step**2).sum(-1), 1e-12)
    foot = start + np.clip(along, 0.0, 1.0)[..., None] * step
    return np.linalg.norm(points[:, None] - foot, axis=-1).min(1)
