"""Which way around the walls did a path take? Its homotopy class: paths of one class can be bent into each other.

What counts are the islands of wall that a path can go around; the outer wall and all that touches it cannot
be. From a point inside each island a ray goes up (towards +y). The rays that a path crosses, in order and
with their sign, make a word; a letter beside its inverse is a crossing taken back and falls away. What is left is
the same for two paths between the same ends exactly if one can be bent into the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .task import Wall

Word = tuple[int, ...]
"""Island k (counted from 1) crossed above it towards +x is k, towards -x is -k."""


def signature(path: np.ndarray, islands: np.ndarray) -> Word:
    """The reduced word of ``path [L, 2]`` (metres) around the points ``islands [K, 2]`` of :func:`islands`."""
    path = np.asarray(path, float)
    right = path[:, :1] >= islands[:, 0]
    leg, island = np.nonzero(right[1:] != right[:-1])
    start, step = path[leg], path[leg + 1] - path[leg]
    share = (islands[island, 0] - start[:, 0]) / step[:, 0]
    sign = np.where(step[:, 0] > 0, 1, -1)
    above = start[:, 1] + share * step[:, 1] > islands[island, 1]
    # islands one above the other share a ray: crossed back, its letters come in the other order
    order = np.lexsort((sign * island, share, leg))
    return _reduced((sign * (island + 1))[order][above[order]])


def _reduced(letters: np.ndarray) -> Word:
    word: list[int] = []
    for letter in letters.tolist():
        if word and word[-1] == -letter:
            word.pop()
        else:
            word.append(letter)
    return tuple(word)


def islands(walls: Sequence[Wall]) -> np.ndarray:
    """A point ``[K, 2]`` inside each group of touching ``walls`` that does not reach the outermost ones."""
    center = np.array([w.center for w in walls])
    half = np.array([w.half_size for w in walls])
    touching = (np.abs(center[:, None] - center) <= half[:, None] + half + 1e-9).all(-1)
    group = np.arange(len(walls))
    for _ in walls:  # each round hands the least number on to the neighbours
        group = np.where(touching, group, len(walls)).min(1)
    low, high = (center - half).min(0), (center + half).max(0)
    outside = ((center - half <= low + 1e-9) | (center + half >= high - 1e-9)).any(1)
    inner = [i for i in np.unique(group) if not outside[group == i].any()]
    return center[inner]


def classes(paths: Sequence[np.ndarray], walls: Sequence[Wall], goals: np.ndarray) -> list[tuple[int, Word]]:
    """Of each path: the goal (an index into ``goals [G, 2]``) that its end is nearest to, and its word."""
    around = islands(walls)
    nearest = [int(np.linalg.norm(goals - np.asarray(path)[-1], axis=1).argmin()) for path in paths]
    return [(goal, signature(path, around)) for goal, path in zip(nearest, paths)]
