"""How many ways are there among these trajectories, and which belongs to which?

Average-linkage hierarchical clustering of dynamic-time-warping distances (paper, section 4.3). The number
of clusters is not preset: the cut of the dendrogram with the best silhouette is taken, and where none is
good the answer is one; each part is then looked at again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from sklearn.metrics import silhouette_score

from ddiffpg_core.config import ModesConfig
from ddiffpg_core.paths import dtw


@dataclass(frozen=True)
class Clustering:
    """``label [N]``: cluster of each path, -1 for an outlier; ``score`` its silhouette; ``tree`` the linkage."""

    label: np.ndarray
    score: float
    tree: np.ndarray | None


def cluster(distance: np.ndarray, apart: float, config: ModesConfig) -> Clustering:
    """Clusters of N paths from their distances ``[N, N]``; ways nearer than ``apart`` (metres) are one.

    A set of paths is split where its best cut has a silhouette above ``silhouette_min`` and its parts lie
    farther than ``apart``; each part is then looked at in the same way. Looking at parts on their
    own finds two ways to one goal beside two goals that lie far apart, which one cut of the whole tree hides.
    """
    tree = _tree(distance) if len(distance) > 1 else None
    parts, score = _split(np.arange(len(distance)), distance, apart, config)
    parts = sorted(parts, key=len, reverse=True)[: config.max_modes]
    label = np.full(len(distance), -1)
    for i, members in enumerate(parts):
        label[members] = i
    return Clustering(label, score, tree)


def _tree(distance: np.ndarray) -> np.ndarray:
    return linkage(squareform(distance, checks=False), "average")


def _split(members: np.ndarray, distance: np.ndarray, apart: float,
           config: ModesConfig) -> tuple[list[np.ndarray], float]:
    """``members`` as clusters, and the silhouette of the first cut (0 where there was none)."""
    label, score = _best_cut(distance[np.ix_(members, members)], apart, config)
    if label is None:
        return [members], 0.0
    parts = []
    for k in range(label.max() + 1):
        parts += _split(members[label == k], distance, apart, config)[0]
    return parts, score


def _best_cut(distance: np.ndarray, apart: float, config: ModesConfig) -> tuple[np.ndarray | None, float]:
    """The cut with the best silhouette (weighted by the share of paths inside a cluster), None if none is fit."""
    if len(distance) < 2 * config.min_cluster:
        return None, 0.0
    tree = _tree(distance)
    best: tuple[np.ndarray | None, float] = (None, config.silhouette_min)
    for count in range(2, config.cuts + 2):
        label = _without_outliers(fcluster(tree, count, "maxclust"), config.min_cluster)
        inside = label >= 0
        if label.max(initial=-1) < 1 or inside.mean() < 1 - config.outliers_max:
            continue
        score = inside.mean() * silhouette_score(distance[np.ix_(inside, inside)], label[inside], metric="precomputed")
        if score > best[1] and _least_gap(distance, label) > apart:
            best = (label, float(score))
    return best


def _least_gap(distance: np.ndarray, label: np.ndarray) -> float:
    """The least mean distance between two clusters."""
    groups = [label == k for k in range(label.max() + 1)]
    return min(distance[np.ix_(a, b)].mean() for i, a in enumerate(groups) for b in groups[:i])


def _without_outliers(label: np.ndarray, least: int) -> np.ndarray:
    """Labels 0.. by size, -1 where a cluster has fewer than ``least`` members."""
    names, index, counts = np.unique(label, return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    new = np.full(len(names), -1)
    for rank, name in enumerate(order):
        if counts[name] >= least:
            new[name] = rank
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
        new = dtw(paths, np.concatenate([self.path, paths])).astype(np.float32)
        old = len(self.path)
        self.distance = np.block([[self.distance, new[:, :old].T], [new]])
        self.distance = np.minimum(self.distance, self.distance.T)
        np.fill_diagonal(self.distance, 0.0)
        self.path = np.concatenate([self.path, paths])
        self.owner = np.concatenate([self.owner, owner])
        self.born = np.concatenate([self.born, born])
        self._keep(self._survivors())

    def _survivors(self) -> np.ndarray:
        keep = np.ones(len(self.path), bool)
        while keep.sum() > self.config.library:
            owners, counts = np.unique(self.owner[keep], return_counts=True)
            largest = np.flatnonzero(keep & (self.owner == owners[counts.argmax()]))
            keep[largest[self.born[largest].argmin()]] = False
        return keep

    def _keep(self, keep: np.ndarray) -> None:
        self.path, self.owner, self.born = self.path[keep], self.owner[keep], self.born[keep]
        self.distance = self.distance[np.ix_(keep, keep)]

    def medoid(self, members: np.ndarray) -> np.ndarray:
        """The path that is nearest to all others of ``members`` (indices) ``[P, D]``."""
        inner = self.distance[np.ix_(members, members)]
        return self.path[members[inner.sum(1).argmin()]]

    def state_dict(self) -> dict:
        return {k: v for k, v in vars(self).items() if k != "config"}

    def load_state_dict(self, state: dict) -> None:
        vars(self).update(state)
