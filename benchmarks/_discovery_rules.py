"""Rules that say how many ways there are, for benchmarks/discovery.py: distances [N, N] and the set -> labels [N]."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from _discovery_paths import CONFIG, PathSet
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist, squareform
from sklearn.cluster import HDBSCAN
from sklearn.metrics import silhouette_score

from ddiffpg_core.clustering import cluster

Rule = Callable[[np.ndarray, PathSet], np.ndarray]
MOST = 16  # clusters that a search over cuts tries
ONE_BELOW = 0.5  # silhouette below which the answer is one
PAPER = {"v1": 50.0, "v2": 70.0, "v3": 70.0, "v4": 50.0}  # metres, summed over a path, in mazes with cells of 4 m


def tree_of(distance: np.ndarray, method: str = "average") -> np.ndarray:
    return linkage(squareform(distance, checks=False), method)


def cut_at(tree: np.ndarray, height: float) -> np.ndarray:
    return settled(fcluster(tree, height, "distance"))


def settled(label: np.ndarray) -> np.ndarray:
    """Clusters too small to be told from chance are outliers, -1."""
    counts = np.bincount(label + 1)
    return np.where(counts[label + 1] >= CONFIG.min_cluster, label, -1)


def ours(distance: np.ndarray, s: PathSet) -> np.ndarray:
    return cluster(distance, 2.0 * s.tolerance, CONFIG).label


def single_at(share: float) -> Rule:
    """Ours with another share."""
    return lambda distance, s: cluster(distance, 2.0 * s.tolerance, replace(CONFIG, joined=share)).label


def average_there(distance: np.ndarray, s: PathSet) -> np.ndarray:
    return cut_at(tree_of(distance), CONFIG.joined * 2.0 * s.tolerance)


def papers_threshold(distance: np.ndarray, s: PathSet) -> np.ndarray:
    """The authors' threshold of each maze, for paths of 20 points and cells of any size; for the arm their share."""
    if s.task[-2:] not in PAPER:
        return share_of_largest(distance, s)
    height = PAPER[s.task[-2:]] / s.ways.shape[1] * s.tolerance / 2.4
    return cut_at(tree_of(distance), height)


def share_of_largest(distance: np.ndarray, s: PathSet) -> np.ndarray:
    tree = tree_of(distance)
    return cut_at(tree, 0.7 * tree[-1, 2])


def largest_gap(distance: np.ndarray, s: PathSet) -> np.ndarray:
    """Cut in the widest gap between two merges; it always finds one, so the answer is never one."""
    tree = tree_of(distance)
    wide = np.diff(tree[-MOST:, 2]).argmax()
    return cut_at(tree, tree[-MOST:, 2][wide : wide + 2].mean())


def largest_ratio(distance: np.ndarray, s: PathSet) -> np.ndarray:
    """Single linkage, cut in the widest gap in proportion between merges of clusters; one where that is below 1.5."""
    tree = tree_of(distance, "single")
    size = np.concatenate([np.ones(len(distance)), tree[:, 3]])
    both = (size[tree[:, :2].astype(int)] >= CONFIG.min_cluster).all(1)
    scale = np.quantile(tree[:, 2], 0.9)
    height = np.concatenate([[scale], tree[both & (tree[:, 2] > scale), 2]])
    ratio = height[1:] / height[:-1]
    if ratio.max(initial=0.0) < 1.5:
        return np.zeros(len(distance), int)
    return cut_at(tree, height[ratio.argmax() : ratio.argmax() + 2].mean())


def flat_silhouette(distance: np.ndarray, s: PathSet) -> np.ndarray:
    label, _ = _best_cut(distance, 0.0)
    return np.zeros(len(distance), int) if label is None else label


def nested_silhouette(distance: np.ndarray, s: PathSet) -> np.ndarray:
    """The best cut by silhouette, then each part looked at in the same way; parts nearer than ``apart`` are one."""
    label, parts = np.full(len(distance), -1), [np.arange(len(distance))]
    done = 0
    while parts:
        members = parts.pop()
        split, _ = _best_cut(distance[np.ix_(members, members)], 2.0 * s.tolerance)
        if split is None:
            label[members], done = done, done + 1
        else:
            parts += [members[split == k] for k in np.unique(split[split >= 0])]
    return label


def _best_cut(distance: np.ndarray, apart: float) -> tuple[np.ndarray | None, float]:
    if len(distance) < 2 * CONFIG.min_cluster:
        return None, 0.0
    tree, best, found = tree_of(distance), ONE_BELOW, None
    for count in range(2, MOST):
        label = settled(fcluster(tree, count, "maxclust"))
        inside = label >= 0
        names = np.unique(label[inside])
        if len(names) < 2 or inside.mean() < 1.0 - CONFIG.outliers_max:
            continue
        score = inside.mean() * silhouette_score(distance[np.ix_(inside, inside)], label[inside], metric="precomputed")
        if score > best and _least_gap(distance, [label == k for k in names]) > apart:
            best, found = score, label
    return found, best


def _least_gap(distance: np.ndarray, groups: list[np.ndarray]) -> float:
    return min(distance[np.ix_(a, b)].mean() for i, a in enumerate(groups) for b in groups[:i])


def gap_statistic(distance: np.ndarray, s: PathSet) -> np.ndarray:
    """Tibshirani, Walther and Hastie (2001): clusters as long as they are tighter than in paths drawn evenly from a
    box around these."""
    rng = np.random.default_rng(0)
    flat = s.ways.reshape(len(s.ways), -1)
    low, high = flat.min(0), flat.max(0)
    tree = tree_of(distance)
    here = _spread(tree, distance)
    there = []
    for _ in range(3):
        even = squareform(pdist(rng.uniform(low, high, flat.shape)))
        there.append(_spread(tree_of(even), even))
    gap, error = np.mean(there, 0) - here, np.std(there, 0) * np.sqrt(4 / 3)
    enough = np.flatnonzero(gap[:-1] >= gap[1:] - error[1:])
    return settled(fcluster(tree, (enough[0] if len(enough) else len(gap) - 1) + 1, "maxclust"))


def _spread(tree: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Log of the pooled distance inside of clusters, for 1, 2, ... clusters."""
    out = []
    for count in range(1, MOST):
        label = fcluster(tree, count, "maxclust")
        member = (label[:, None] == np.unique(label)).astype(distance.dtype)
        inside = (distance @ member * member).sum(0) / member.sum(0)
        out.append(np.log(inside.sum() + 1e-9))
    return np.array(out)


def hdbscan(distance: np.ndarray, s: PathSet) -> np.ndarray:
    return HDBSCAN(min_cluster_size=CONFIG.min_cluster, metric="precomputed").fit(distance.astype(float)).labels_


def hdbscan_or_one(distance: np.ndarray, s: PathSet) -> np.ndarray:
    found = HDBSCAN(min_cluster_size=CONFIG.min_cluster, metric="precomputed", allow_single_cluster=True)
    return found.fit(distance.astype(float)).labels_


RULES: dict[str, Rule] = {
    "single linkage, cut at 0.9 of what makes two ways (ours)": ours,
    "single linkage, cut at 0.75 of it": single_at(0.75),
    "single linkage, cut at 0.8 of it": single_at(0.8),
    "single linkage, cut at 0.95 of it": single_at(0.95),
    "single linkage, cut at 1.0 of it": single_at(1.0),
    "average linkage, cut at 0.9 of it": average_there,
    "average linkage, best silhouette, again in each part": nested_silhouette,
    "average linkage, best silhouette": flat_silhouette,
    "average linkage, the paper's threshold by maze": papers_threshold,
    "average linkage, 0.7 x largest merge": share_of_largest,
    "average linkage, widest gap": largest_gap,
    "single linkage, widest gap in proportion": largest_ratio,
    "average linkage, gap statistic": gap_statistic,
    "HDBSCAN": hdbscan,
    "HDBSCAN that can say one": hdbscan_or_one,
}
