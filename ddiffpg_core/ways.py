"""How many ways do episodes take? The rule by which modes are discovered, put to any policy's paths."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ddiffpg_core.clustering import cluster
from ddiffpg_core.config import ModesConfig
from ddiffpg_core.evaluate import ShareWays
from ddiffpg_core.paths import beside, direct, dtw, way
from ddiffpg_core.spec import TaskSpec

LEAST_SHARE = 0.05
"""Of all episodes: what fewer of them did is chance, not a way that the policy has."""


def label_ways(paths: Sequence[np.ndarray], outcomes: np.ndarray, spec: TaskSpec, config: ModesConfig) -> np.ndarray:
    """Which way each of ``paths`` (``[L + 1, D]``, metres) took, 0 the most frequent; -1 for detours and outliers.

    ``outcomes [N, K]`` is what each did to the scene.
    """
    label = np.full(len(paths), -1)
    if len(paths):
        ways = np.stack([beside(way(path, config.path_points, spec.path_tolerance), outcome)
                         for path, outcome in zip(paths, outcomes)])
        straight = direct(ways, ways[:0], spec.path_tolerance, config.longest_detour)
        kept = ways[straight]
        label[straight] = cluster(dtw(kept, kept), 2.0 * spec.path_tolerance, config).label
    return label


def share_ways(spec: TaskSpec, config: ModesConfig) -> ShareWays:
    """The function that :func:`ddiffpg_core.evaluate.evaluate` asks for the ways of successful episodes."""

    def shares(paths: Sequence[np.ndarray], outcomes: np.ndarray, episodes: int) -> tuple[float, ...]:
        label = label_ways(paths, outcomes, spec, config)
        share = np.bincount(label[label >= 0]) / episodes
        return tuple(sorted((float(s) for s in share if s >= LEAST_SHARE), reverse=True))

    return shares
