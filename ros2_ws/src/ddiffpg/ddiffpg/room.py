"""How much room a robot has, at the nodes of a roadmap and anywhere: against declared shapes and sensed points.

Room to spare is the distance beyond what is needed, in metres; negative is too little.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace

import numpy as np

from ddiffpg.obstacles import Obstacles, Solids, nearest_distance
from ddiffpg.roadmap import Roadmap

CELL = 0.1  # metres, of the grid by which sensed points find the nodes near them


@dataclass(frozen=True)
class Rules:
    """What a way needs, in metres: ``radius`` of the robot, ``margin`` to declared obstacles, ``least_margin``
    where no way has that, ``tolerance`` by which a sensed point must be nearer than anything in training to
    count as new; ``spare`` is how far beyond the need distances are still told apart."""

    radius: float
    margin: float
    least_margin: float
    tolerance: float
    spare: float


class Room:
    """Room to spare on ``roadmap`` by ``rules``."""

    def __init__(self, roadmap: Roadmap, rules: Rules) -> None:
        self._roadmap, self._rules = roadmap, rules
        self._low = _least_need(roadmap.clearance, rules.radius)
        self._need = self._sensed_need()
        planar = roadmap.points.shape[1] == 2
        self._index = (NodeIndex if planar else NodesInSpace)(roadmap.points, rules.radius + rules.margin + rules.spare)
        self._declared: tuple[Solids | None, np.ndarray] = (None, np.empty(0))
        self._known = np.flatnonzero(np.isfinite(roadmap.clearance))
        self._known_points = roadmap.points[self._known]
        self._free = np.maximum(roadmap.clearance[self._known] - rules.tolerance, 0.0)

    def with_least_margin(self) -> Room:
        """The same with the least margin for the margin."""
        other = copy.copy(self)
        other._rules = replace(self._rules, margin=self._rules.least_margin)
        other._need = other._sensed_need()
        return other

    def at_nodes(self, obstacles: Obstacles) -> np.ndarray:
        """``[M]``; infinite where nothing is declared and nothing sensed within the rules' reach."""
        if obstacles.solids is not self._declared[0]:  # shapes rarely change from one tick to the next
            self._declared = obstacles.solids, obstacles.solids.distance(self._roadmap.points)
        declared = self._declared[1] - (self._rules.radius + self._rules.margin)
        return np.minimum(declared, self._index.nearest(obstacles.points) - self._need)

    def at(self, points: np.ndarray, obstacles: Obstacles) -> np.ndarray:
        """At ``points [P, D]`` close to each other: ``[P]``."""
        spread = norm(points - points[0]).max()
        need = self._need_at(points, spread)
        reach = spread + need.max()
        close = obstacles.points[norm(obstacles.points - points[0]) < reach]
        declared = obstacles.solids.distance(points) - (self._rules.radius + self._rules.margin)
        return np.minimum(declared, nearest_distance(points, close) - need)

    def _need_at(self, points: np.ndarray, spread: float) -> np.ndarray:
        """How far a sensed point must be from each of ``points [P, D]``, in metres: ``[P]``.

        No point is farther than ``spread`` (m) from the first. Beside a road the walls of training may be
        nearer than they are to any of its nodes.
        """
        if not len(self._known):
            return np.full(len(points), self._rules.radius)
        low = self._low
        near = norm(self._known_points - points[0]) < self._free + (spread - low)  # others leave no more than `low`
        if not near.any():
            return np.full(len(points), low)
        apart = norm(points[:, None] - self._known_points[near])
        return self._bounded((self._free[near] - apart).max(axis=1))

    def _sensed_need(self) -> np.ndarray:
        """How far a sensed point must be, in metres, from each node: ``[M]``."""
        clearance, rules = self._roadmap.clearance, self._rules
        return np.where(np.isfinite(clearance), self._bounded(clearance - rules.tolerance), rules.radius)

    def _bounded(self, free: np.ndarray) -> np.ndarray:
        """What is needed of the room ``free [P]`` (m) that training surely had."""
        return np.minimum(np.maximum(free, self._low), self._rules.radius + self._rules.margin)

    def unexplained(self, points: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Which of the sensed ``points [N, D]`` near ``position [D]`` stand where training had nothing: ``[N]`` bool.

        A point is explained where it is no nearer to any known node than the training world was, less
        the tolerance. Where no clearance is known nothing is explained.
        """
        if not len(self._known) or not len(points):
            return np.ones(len(points), bool)
        reach = norm(self._known_points - position)
        near = reach < self._free + norm(points - position).max()
        apart = points[:, None] - self._known_points[near]
        return (np.einsum("pni,pni->pn", apart, apart) < self._free[near] ** 2).any(axis=1)


class NodeIndex:
    """Finds for every node in the plane the nearest sensed point, as far as ``reach`` (m), by a grid laid over them."""

    def __init__(self, nodes: np.ndarray, reach: float) -> None:
        self._reach = reach
        self._nodes = np.concatenate([nodes, [[math.inf, math.inf]]])  # the last stands for none
        self._origin = nodes.min(axis=0) - reach - 2 * CELL
        self._shape = np.ceil((nodes.max(axis=0) + reach + 2 * CELL - self._origin) / CELL).astype(int)
        self._row, self._table = self._build(nodes)

    def nearest(self, points: np.ndarray) -> np.ndarray:
        """``points [N, 2]`` -> metres from every node to the nearest of them ``[M]``, infinite beyond the reach."""
        squared = np.full(len(self._nodes), math.inf)
        points, rows = self._lookup(points)
        nodes = self._table[rows]
        apart = self._nodes[nodes] - points[:, None]
        np.minimum.at(squared, nodes.ravel(), np.einsum("pni,pni->pn", apart, apart).ravel())
        found = np.sqrt(squared[:-1])
        return np.where(found <= self._reach, found, math.inf)

    def _lookup(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Those of ``points`` that have nodes near, and their rows in the table."""
        at = (points - self._origin) / CELL
        inside = ((at >= 0) & (at < self._shape)).all(axis=1)
        points, cell = points[inside], at[inside].astype(int)
        rows = self._row[cell[:, 0], cell[:, 1]]
        return points[rows >= 0], rows[rows >= 0]

    def _build(self, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each cell its row in the table or -1; the table ``[R, C]`` of nodes within reach of a row's cell."""
        near: dict[tuple[int, int], list[int]] = {}
        steps = math.ceil(self._reach / CELL) + 1
        square = np.stack(np.meshgrid(*[np.arange(-steps, steps + 1)] * 2, indexing="ij"), -1).reshape(-1, 2)
        for i, cell in enumerate(((nodes - self._origin) / CELL).astype(int)):
            around = cell + square
            middle = self._origin + (around + 0.5) * CELL
            for key in around[norm(middle - nodes[i]) <= self._reach + CELL * math.sqrt(0.5)].tolist():
                near.setdefault((key[0], key[1]), []).append(i)
        row = np.full(self._shape, -1)
        table = np.full((len(near), max(map(len, near.values()))), len(nodes))
        for r, ((x, y), members) in enumerate(near.items()):
            row[x, y] = r
            table[r, : len(members)] = members
        return row, table


class NodesInSpace:
    """As ``NodeIndex``, for nodes in space, where a grid would be large: by measuring all distances."""

    def __init__(self, nodes: np.ndarray, reach: float) -> None:
        self._nodes, self._reach = nodes, reach
        self._low, self._high = nodes.min(axis=0) - reach, nodes.max(axis=0) + reach

    def nearest(self, points: np.ndarray) -> np.ndarray:
        """``points [N, 3]`` -> metres from every node to the nearest of them ``[M]``, infinite beyond the reach."""
        found = nearest_distance(self._nodes, points[((points >= self._low) & (points <= self._high)).all(axis=1)])
        return np.where(found <= self._reach, found, math.inf)


def _least_need(clearance: np.ndarray, radius: float) -> float:
    """How far a sensed point must be everywhere, in metres, whatever the ways had: half of the robot's ``radius``.

    Nothing of training can have stood so near to a place that the robot passed, even where a prototype leans on a wall.
    A robot with legs is not as wide everywhere: where a way had less than its radius (``clearance [M]``), half of that.
    """
    known = clearance[np.isfinite(clearance)]
    return 0.5 * min(radius, float(known.min(initial=radius)))


def norm(vectors: np.ndarray) -> np.ndarray:
    """Lengths: ``[..., D]`` -> ``[...]``."""
    return np.sqrt(np.einsum("...i,...i->...", vectors, vectors))
