"""Ways as curves: taking loops out, resampling, and how far two of them are apart. numpy only."""

from __future__ import annotations

import math

import numpy as np

_PAIRS = 4096  # compared at a time: so many tables' rows fit into a core's cache
_STRIP = 64
_POINTS = 1_000_000  # pairs of points at a time


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


def beside(way: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    """``way [P, D]`` with its ``outcome [K]`` (:meth:`TaskSpec.outcome_of`) beside each point ``[P, D + K]``."""
    return np.concatenate([way, np.broadcast_to(outcome, (len(way), len(outcome)))], axis=1)


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
    out = np.empty((len(a), len(b)), np.result_type(a, b, np.float32))
    columns = np.ascontiguousarray(b.transpose(1, 2, 0))
    wide = max(1, min(len(b), _PAIRS))
    tall = _PAIRS // wide
    for i in range(0, len(a), tall):
        for j in range(0, len(b), wide):
            out[i : i + tall, j : j + wide] = _warped(a[i : i + tall], columns[:, :, j : j + wide], order)
    return out ** (1.0 / order) if math.isfinite(order) else np.sqrt(out)


def pairwise(ways: np.ndarray, order: float = math.inf) -> np.ndarray:
    """:func:`dtw` between every two of ``ways [N, P, D]`` -> ``[N, N]``, at half the cost."""
    out = np.zeros((len(ways), len(ways)), np.result_type(ways, np.float32))
    for i in range(0, len(ways), _STRIP):
        strip = dtw(ways[i : i + _STRIP], ways[i:], order)
        out[i : i + _STRIP, i:] = strip
        out[i:, i : i + _STRIP] = strip.T
    return out


def _warped(a: np.ndarray, columns: np.ndarray, order: float) -> np.ndarray:
    """The least cost (squared where ``order`` is infinite) of ``a [R, P, D]`` and ``columns [P, D, C]`` -> ``[R, C]``.

    The table of each pair is filled row by row, those of all pairs together.
    """
    p = a.shape[1]
    join: np.ufunc = np.add if math.isfinite(order) else np.maximum
    best = np.full((p, len(a), columns.shape[2]), np.inf, np.result_type(a, columns, np.float32))
    best[0] = 0.0
    total = best
    for i in range(p):
        total = _costs(a[:, i], columns, order)
        join(total[0], best[0], out=total[0])
        for j in range(1, p):
            np.minimum(best[j], total[j - 1], out=best[j])
            join(total[j], best[j], out=total[j])
        best[0] = total[0]
        np.minimum(total[1:], total[:-1], out=best[1:])
    return total[-1]


def _costs(points: np.ndarray, columns: np.ndarray, order: float) -> np.ndarray:
    """What pairing ``points [R, D]`` with each of ``columns [P, D, C]`` costs -> ``[P, R, C]``."""
    out = (columns[:, 0, None] - points[:, 0, None]) ** 2
    for d in range(1, points.shape[1]):
        gap = columns[:, d, None] - points[:, d, None]
        gap *= gap
        out += gap
    return out ** (order / 2) / len(columns) if math.isfinite(order) else out


def mean_gap(ways: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Mean distance of the points of each of ``ways [N, P, D]`` to the nearest point of each of ``others [M, Q, D]``.

    Returns ``[N, M]``, metres. It says how near a way keeps to another one that it need not follow to the end.
    """
    m, q, dim = others.shape
    out = np.empty((len(ways), m), np.result_type(ways, others))
    points = others.reshape(-1, dim)
    some = max(1, _POINTS // (ways.shape[1] * m * q))
    for i in range(0, len(ways), some):
        part = ways[i : i + some, :, None]
        squared = sum((part[..., d] - points[:, d]) ** 2 for d in range(dim))
        out[i : i + some] = np.sqrt(np.reshape(squared, (*part.shape[:2], m, q)).min(-1)).mean(1)
    return out


def rarity(ways: np.ndarray, edge: float) -> np.ndarray:
    """How rare the rarest place is that each of ``ways [N, P, D]`` passes: 1 over the number that pass it -> ``[N]``.

    Places are cells of ``edge`` metres.
    """
    cells = np.round(ways / edge).astype(np.int64)
    cells -= cells.min((0, 1))
    key = np.ravel_multi_index(tuple(np.moveaxis(cells, -1, 0)), tuple(cells.max((0, 1)) + 1))
    place = np.sort(np.unique(key, return_inverse=True)[1].reshape(key.shape), axis=1)
    first = np.diff(place, axis=1, prepend=-1) > 0  # a way that stays in a place passes it once
    return 1.0 / np.bincount(place[first])[place].min(1)


def distance_to_way(points: np.ndarray, way_points: np.ndarray) -> np.ndarray:
    """Distance of each of ``points [N, D]`` to the polyline ``way_points [P, D]`` -> ``[N]``."""
    start, step = way_points[:-1], np.diff(way_points, axis=0)
    along = ((points[:, None] - start) * step).sum(-1) / np.maximum((step**2).sum(-1), 1e-12)
    foot = start + np.clip(along, 0.0, 1.0)[..., None] * step
    return np.linalg.norm(points[:, None] - foot, axis=-1).min(1)
