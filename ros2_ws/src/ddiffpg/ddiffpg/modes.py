"""Which ways are free from where the robot is: each mode's corridor on the roadmap, against the obstacles.

The corridor of a mode leads from the robot to the mode's end. On the mode's own prototype that is the
rest of it; from elsewhere it first goes back along known roads to where the prototype can be joined.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ddiffpg.contract import Contract
from ddiffpg.obstacles import Obstacles, Solids, nearest_distance
from ddiffpg.roadmap import LINK, UNREACHED, Roadmap, Routes

PENALTY = 1e3  # metres: any way round is better than one blocked node
ESCAPE = 0.5  # metres around a robot that is itself too close to an obstacle, within which it may leave
CELL = 0.1  # metres, of the grid by which sensed points find the nodes near them


@dataclass(frozen=True)
class Rules:
    """What a way needs, in metres: ``radius`` of the robot, ``margin`` to declared obstacles, ``tolerance``
    by which a sensed point must be nearer than anything in training to count as new; ``spare`` is how
    far beyond the need distances are still told apart."""

    radius: float
    margin: float
    tolerance: float
    spare: float


@dataclass(frozen=True, eq=False)
class Way:
    """One mode's corridor: ``clearance`` (m) is the room to spare at its tightest place, negative where it
    is blocked; ``length`` (m) from the robot to the end; ``nodes`` of the roadmap that it passes. Where no
    known road leads to the mode's prototype, clearance is -inf, length inf and there are no nodes."""

    id: int
    clearance: float
    length: float
    nodes: tuple[int, ...]

    @property
    def blocked(self) -> bool:
        return self.clearance < 0


@dataclass(frozen=True, eq=False)
class _Surroundings:
    """Room to spare at every node ``[M]``, and the nodes reached straight away ``[E]``, with their ``distance
    [E]`` and the room to spare on the way to them ``entry_room [E]``; all in metres."""

    room: np.ndarray
    entries: np.ndarray
    distance: np.ndarray
    entry_room: np.ndarray


class WayMap:
    """The ways of a policy. Raises ContractError where its paths are not in the plane."""

    def __init__(self, contract: Contract, rules: Rules) -> None:
        self._ids = contract.mode_ids
        self._rules = rules
        self.roadmap = Roadmap(contract)
        self._ends = {mode: self.roadmap.end(k) for k, mode in enumerate(self._ids)}
        self._need = _sensed_need(self.roadmap.clearance, rules)
        self._index = _NodeIndex(self.roadmap.points, rules.radius + rules.margin + rules.spare)
        self._declared: tuple[Solids | None, np.ndarray] = (None, np.empty(0))

    def look(self, position: np.ndarray, obstacles: Obstacles | None) -> tuple[Way, ...]:
        """Every mode's way from ``position [2]`` (m, finite), in the contract's order."""
        seen = self._surroundings(position, obstacles)
        entry_cost = seen.distance + np.where(seen.entry_room < 0, PENALTY, 0.0)
        routes = self.roadmap.routes(seen.entries, entry_cost, np.where(seen.room < 0, PENALTY, 0.0))
        room, entry_room = seen.room.tolist(), dict(zip(seen.entries.tolist(), seen.entry_room.tolist()))
        ends = zip(self._ids, self.roadmap.last, routes.cost[self.roadmap.last].tolist())
        return tuple(_way(mode, cost, routes, last, room, entry_room) for mode, last, cost in ends)

    def corridor(self, way: Way, position: np.ndarray) -> np.ndarray:
        """``[P, 2]`` in metres, from ``position [2]`` to the way's end."""
        return np.concatenate([position[None], self.roadmap.points[list(way.nodes)]])

    def beyond_end(self, mode: int, position: np.ndarray) -> tuple[float, float]:
        """From the end of a mode's prototype to ``position [2]``: the distance, and how far past the end
        it is in the prototype's last direction (negative before it), in metres."""
        (end_x, end_y), (along_x, along_y) = self._ends[mode]
        x, y = float(position[0]) - end_x, float(position[1]) - end_y
        return math.hypot(x, y), x * along_x + y * along_y

    def unexplained(self, points: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Which of the sensed ``points [N, 2]`` near ``position [2]`` stand where training had nothing: ``[N]`` bool.

        A point is explained where it is no nearer to any known node than the training world was, less
        the tolerance. Where no clearance is known nothing is explained.
        """
        known = np.flatnonzero(np.isfinite(self.roadmap.clearance))
        if not len(known):
            return np.ones(len(points), bool)
        free = self.roadmap.clearance[known] - self._rules.tolerance
        reach = _norm(self.roadmap.points[known] - position)
        near = reach < free + (_norm(points - position).max() if len(points) else 0.0)
        nodes, free = self.roadmap.points[known[near]], free[near]
        apart = points[:, None] - nodes
        return (np.einsum("pni,pni->pn", apart, apart) < np.maximum(free, 0.0) ** 2).any(axis=1)

    def _surroundings(self, position: np.ndarray, obstacles: Obstacles | None) -> _Surroundings:
        distance = _norm(self.roadmap.points - position)
        entries = self._entries(distance)
        if obstacles is None:
            free = np.full(len(self.roadmap), math.inf)
            return _Surroundings(free, entries, distance[entries], free[entries])
        room = self._room(obstacles)
        toward = self.roadmap.points[entries] - position
        probes = np.concatenate([position[None], position + toward / 3, position + toward * (2 / 3)])
        probed = self._room_at(probes, float(self._need[distance.argmin()]), obstacles)
        here, entry_room = float(probed[0]), probed[1:].reshape(2, -1).min(axis=0)
        if here < 0:  # too close already: it may go wherever that gets no worse
            room = np.where((room < 0) & (room >= here) & (distance < ESCAPE), 0.0, room)
            entry_room = np.where(entry_room >= here, np.maximum(entry_room, 0.0), entry_room)
        return _Surroundings(room, entries, distance[entries], entry_room)

    def _entries(self, distance: np.ndarray) -> np.ndarray:
        """Nodes that can be reached straight from the robot, at ``distance [M]`` from it."""
        nearest = distance.min()
        near = distance <= nearest + LINK
        clear = near & ~(distance >= self.roadmap.clearance)  # no wall of training is in between
        return np.flatnonzero(clear if clear.any() else distance <= nearest)

    def _room(self, obstacles: Obstacles) -> np.ndarray:
        """Room to spare at every node ``[M]`` in metres."""
        if obstacles.solids is not self._declared[0]:  # shapes rarely change from one tick to the next
            self._declared = obstacles.solids, obstacles.solids.distance(self.roadmap.points)
        declared = self._declared[1] - (self._rules.radius + self._rules.margin)
        return np.minimum(declared, self._index.nearest(obstacles.points) - self._need)

    def _room_at(self, points: np.ndarray, need: float, obstacles: Obstacles) -> np.ndarray:
        """Room to spare at ``points [P, 2]``, where a sensed point must be ``need`` m away: ``[P]``."""
        origin = points[0]
        reach = _norm(points - origin).max() + need
        close = obstacles.points[_norm(obstacles.points - origin) < reach]
        declared = obstacles.solids.distance(points) - (self._rules.radius + self._rules.margin)
        return np.minimum(declared, nearest_distance(points, close) - need)


class _NodeIndex:
    """Finds for every node the nearest sensed point, as far as ``reach`` (m), by a grid laid over the nodes."""

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
            for key in around[_norm(middle - nodes[i]) <= self._reach + CELL * math.sqrt(0.5)].tolist():
                near.setdefault((key[0], key[1]), []).append(i)
        row = np.full(self._shape, -1)
        table = np.full((len(near), max(map(len, near.values()))), len(nodes))
        for r, ((x, y), members) in enumerate(near.items()):
            row[x, y] = r
            table[r, : len(members)] = members
        return row, table


def _sensed_need(clearance: np.ndarray, rules: Rules) -> np.ndarray:
    """How far a sensed point must be from each node ``[M]``, in metres.

    Nothing of training can have stood within half the robot's radius of a place that the robot passed,
    so that much is needed even where a prototype leans on a wall.
    """
    known = np.clip(clearance - rules.tolerance, 0.5 * rules.radius, rules.radius + rules.margin)
    return np.where(np.isfinite(clearance), known, rules.radius)


def _way(mode: int, cost: float, routes: Routes, last: int, room: list[float], entry_room: dict[int, float]) -> Way:
    """The way of ``cost`` (m, penalties and all) to the node ``last``; ``room`` is by node, ``entry_room`` by entry."""
    if cost >= UNREACHED:
        return Way(mode, -math.inf, math.inf, ())
    nodes = routes.nodes(last)
    rooms = [entry_room[nodes[0]], *map(room.__getitem__, nodes)]
    clearance = min(rooms)
    if clearance < 0:  # take the penalties out again, of which the last node's is halved
        cost -= PENALTY * (sum(r < 0 for r in rooms) - 0.5 * (rooms[-1] < 0))
    return Way(mode, clearance, cost, tuple(nodes))


def _norm(vectors: np.ndarray) -> np.ndarray:
    """``[..., 2]`` -> ``[...]``."""
    return np.sqrt(np.einsum("...i,...i->...", vectors, vectors))
