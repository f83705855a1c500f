"""How many ways are there among these trajectories, and which belongs to which?

Hierarchical clustering of dynamic-time-warping distances (paper, section 4.3), the number of clusters not preset.
By the bottleneck distance, paths that pass a wall on one side can be bent into each other in small steps, and those
that pass it on the other side are all as far from them as the wall is thick. So the linkage is the single one,
which joins what small steps join however wide it spreads, and the dendrogram is cut where ways begin to count as
two. docs/experiments.md compares this with other rules.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from sklearn.metrics import silhouette_score

from ddiffpg_core.config import ModesConfig
from ddiffpg_core.paths import dtw, pairwise


@dataclass(frozen=True)
class Clustering:
    """``label [N]``: cluster of each path, -1 for an outlier; ``tree`` the linkage, cut at ``height`` (metres)."""

    label: np.ndarray
    tree: np.ndarray | None
    height: float


def cluster(distance: np.ndarray, apart: float, config: ModesConfig) -> Clustering:
    """Clusters of N paths from their distances ``[N, N]``; ways nearer than ``apart`` (metres) are one.

    Too few paths to be two clusters are one. Clusters are numbered by size, the ``config.max_modes`` largest kept.
    """
    if len(distance) < 2:
        return Clustering(np.zeros(len(distance), int), None, apart)
    tree, height = _RULE[config.rule](squareform(distance, checks=False), apart, config)
    height = max(height, _least_height(tree, config))
    if len(distance) < 2 * config.min_cluster:
        return Clustering(np.zeros(len(distance), int), tree, float(tree[-1, 2]))
    label = _by_size(fcluster(tree, height, "distance"), config.min_cluster)
    return Clustering(np.where(label < config.max_modes, label, -1), tree, float(height))


def _apart(flat: np.ndarray, apart: float, config: ModesConfig) -> tuple[np.ndarray, float]:
    """Single linkage, cut where ways begin to count as two."""
    return linkage(flat, "single"), config.joined * apart


def _share(flat: np.ndarray, apart: float, config: ModesConfig) -> tuple[np.ndarray, float]:
    """Average linkage, cut at a share of its largest merge (the authors' rule for the arm): one way is cut too."""
    tree = linkage(flat, "average")
    return tree, config.cut_share * tree[-1, 2]


_RULE = {"apart": _apart, "share": _share}


def _least_height(tree: np.ndarray, config: ModesConfig) -> float:
    """The height from which on no more than ``config.outliers_max`` of the paths lie outside of every cluster.

    Few and scattered paths are farther from each other than ways may be: they do not make as many ways as paths.
    """
    count = len(tree) + 1
    size = np.concatenate([np.ones(count), tree[:, 3]])
    inside = np.where(size >= config.min_cluster, size, 0.0)
    left, right = tree[:, 0].astype(int), tree[:, 1].astype(int)
    covered = np.cumsum(inside[count:] - inside[left] - inside[right])
    return tree[np.argmax(covered >= (1.0 - config.outliers_max) * count), 2]


def _by_size(label: np.ndarray, least: int) -> np.ndarray:
    """Labels 0.. by size, -1 where a cluster has fewer than ``least`` members."""
    names, index, counts = np.unique(label, return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    new = np.full(len(names), -1)
    large = order[counts[order] >= least]
    new[large] = np.arange(len(large))
    return new[index]


class PathLibrary:
    """The paths that take part in clustering, with all their distances; bounded, filled little by little."""

    def __init__(self, config: ModesConfig, dim: int) -> None:
        self.config = config
        self.path = np.zeros((0, config.path_points, dim), np.float32)
        self.owner = np.zeros(0, int)
        self.born = np.zeros(0, int)
        self.distance = np.zeros((0, 0), np.float32)

    def add(self, paths: np.ndarray, owner: np.ndarray, born: np.ndarray) -> None:
        """Add ``paths [N, P, D]`` of modes ``owner [N]``; then the oldest of the largest mode go until it fits."""
        across = dtw(paths, self.path)
        self.distance = np.block([[self.distance, across.T], [across, pairwise(paths)]])
        self.path = np.concatenate([self.path, paths])
        self.owner = np.concatenate([self.owner, owner])
        self.born = np.concatenate([self.born, born])
        self.keep(self._survivors())

    def _survivors(self) -> np.ndarray:
        rank = np.empty(len(self.path), int)
        for owner in np.unique(self.owner):
            own = np.flatnonzero(self.owner == owner)
            rank[own[np.argsort(-self.born[own])]] = np.arange(len(own))
        keep = np.zeros(len(self.path), bool)
        keep[np.lexsort((-self.owner, rank))[: self.config.library]] = True
        return keep

    def keep(self, keep: np.ndarray) -> None:
        """Those marked in ``keep [N]`` stay."""
        self.path, self.owner, self.born = self.path[keep], self.owner[keep], self.born[keep]
        self.distance = self.distance[np.ix_(keep, keep)]

    def medoid(self, members: np.ndarray) -> np.ndarray:
        """The path that is nearest to all others of ``members`` (indices) ``[P, D]``."""
        inner = self.distance[np.ix_(members, members)]
        return self.path[members[inner.sum(1).argmin()]]

    def silhouette(self) -> float | None:
        """How clearly the modes' paths are apart, -1 to 1 (Rousseeuw 1987); None where they are all of one mode."""
        inside = self.owner >= 0
        if not 1 < len(np.unique(self.owner[inside])) < inside.sum():
            return None
        return float(silhouette_score(self.distance[np.ix_(inside, inside)], self.owner[inside], metric="precomputed"))

    def state_dict(self) -> dict:
        return {k: v for k, v in vars(self).items() if k != "config"}

    def load_state_dict(self, state: dict) -> None:
        vars(self).update(state)
