"""The prototype paths of all modes as one map of known roads, and the way on it to each mode's end.

Roads run along every prototype, in both directions, and cross over to another prototype where the two
are close. Prototypes that meet at the end (at a common goal) do not cross over there: who comes to the
goal by one way has not taken the other. On a mode's own prototype its way leads onward along that and
nowhere else, for so the policy was trained; from elsewhere along the roads to where it can best be joined.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ddiffpg.contract import Contract, Mode
from ddiffpg.observation import path_body

TOLERANCE = 0.6  # metres: the path tolerance of a policy to which the next two belong; they go in proportion
SPACING = 0.1  # metres between the nodes of a prototype
LINK = 0.35  # metres at which one prototype can be left for another
LINK_COST = 1e-3  # metres added to each crossing, so that of two equal ways the one with fewer is taken
GAP = 1e8  # metres between two prototypes laid end to end: more than any way can cost
UNREACHED = 1e7  # metres: no road leads there


def resample(path: np.ndarray, values: np.ndarray, spacing: float = SPACING) -> tuple[np.ndarray, np.ndarray]:
    """``path [P, D]`` and ``values [P]`` at equal steps of at most ``spacing`` along it, both ends included."""
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    if length[-1] == 0.0:
        return path[:1], values[:1]
    at = np.linspace(0.0, length[-1], math.ceil(length[-1] / spacing - 1e-9) + 1)
    points = np.stack([np.interp(at, length, path[:, i]) for i in range(path.shape[1])], axis=1)
    return points, np.interp(at, length, values)


class Routes:
    """The ways to one mode's end: ``cost [M]`` (m, penalties included) from every node, UNREACHED where no
    road leads there, half a penalty at the beginning) and ``following [M]``, the next node on the way (the
    end's is -1)."""

    def __init__(self, cost: np.ndarray, following: np.ndarray, penalty: np.ndarray) -> None:
        self.cost = cost
        self._penalty = penalty
        self._following: list[int] = following.tolist()
        self._ways: dict[int, tuple[np.ndarray, float]] = {}  # those asked for so far

    def way(self, first: int) -> tuple[np.ndarray, float]:
        """The nodes of the way from ``first`` on, in the order in which they are passed, and its length without
        penalties (m)."""
        if first not in self._ways:
            found, node = [], first
            while node >= 0:
                found.append(node)
                node = self._following[node]
            nodes = np.array(found, np.int32)
            penalty = self._penalty[nodes].sum() - 0.5 * self._penalty[first]
            self._ways[first] = nodes, float(self.cost[first] - penalty)
        return self._ways[first]


class _Links:
    """Where one can cross from one prototype to another: E times from node ``start [E]`` (ascending) to node
    ``end [E]``, at ``cost [E]`` (m)."""

    def __init__(self, start: np.ndarray, end: np.ndarray, cost: np.ndarray) -> None:
        self.start, self.end, self.cost = start, end, cost
        _, self._first, count = np.unique(start, return_index=True, return_counts=True)
        self._group = np.repeat(np.arange(len(count)), count)

    def crossed(self, cost: np.ndarray, crossing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What a way costs by each link, ``[K, E]``, where it costs ``cost [K, M]`` from the nodes and ``crossing
        [E]`` to cross; and by the best link from the same node, ``[K, E]``."""
        over = cost[:, self.end] + crossing
        if not len(self.end):
            return over, over
        return over, np.minimum.reduceat(over, self._first, axis=1)[:, self._group]


class Roadmap:
    """M nodes: ``points [M, D]`` in m, ``clearance [M]`` (m, NaN where not known). The nodes of the k-th mode
    of the contract are ``own[k]``. ``scale`` is the policy's path tolerance in terms of ``TOLERANCE``, ``link``
    the distance (m) at which one prototype can be left for another.

    Raises ContractError where the contract's path is not that of a body in the plane or in space.
    """

    def __init__(self, contract: Contract) -> None:
        path_body(contract)
        self.scale = contract.path_tolerance / TOLERANCE
        self.link = LINK * self.scale
        sampled = [_nodes(mode, SPACING * self.scale) for mode in contract.modes]
        self.points = np.concatenate([points for points, _ in sampled])
        self.clearance = np.concatenate([clearance for _, clearance in sampled])
        ends = np.cumsum([0, *(len(points) for points, _ in sampled)]).tolist()
        self.own = [range(begin, end) for begin, end in zip(ends, ends[1:])]
        self._steps = np.linalg.norm(np.diff(self.points, axis=0), axis=1)  # from each node to the next
        self._steps[[own[-1] for own in self.own[:-1]]] = GAP
        self._links = self._find_links()
        self.routes = self.routes_to(range(len(self.own)), np.zeros(len(self)))

    def __len__(self) -> int:
        return len(self.points)

    def end(self, k: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Where the k-th mode ends (m), and the unit vector in which it comes there (zero where it stands still)."""
        last = self.points[self.own[k][-1]]
        along = last - self.points[max(self.own[k][-1] - 1, self.own[k][0])]
        along = along / max(float(np.linalg.norm(along)), 1e-9)
        return tuple(last.tolist()), tuple(along.tolist())

    def routes_to(self, modes: Sequence[int], penalty: np.ndarray) -> list[Routes]:
        """The cheapest ways to the ends of the k-th ``modes``. Passing a node costs ``penalty [M]`` (m) more,
        the first one of a way half of it."""
        half = 0.5 * penalty
        along = np.concatenate([[0.0], np.cumsum(self._steps + half[:-1] + half[1:])])
        crossing = self._links.cost + half[self._links.start] + half[self._links.end]
        begin = np.full((len(modes), len(self)), UNREACHED)
        for row, own in zip(begin, (self.own[k] for k in modes)):
            row[own.start : own.stop] = along[own[-1]] - along[own.start : own.stop] + half[own[-1]]
        fixed, cost = begin < UNREACHED, begin
        while True:  # each round follows one more crossing; ends, since costs only fall
            swept = np.where(fixed, begin, _sweep(cost, along))
            swept[:, self._links.start] = np.minimum(
                swept[:, self._links.start], self._links.crossed(swept, crossing)[1]
            )
            found = np.where(fixed, begin, swept)
            if not (found < cost - 1e-6).any():
                break
            cost = found
        following = self._followers(cost, along, crossing)
        for row, own in zip(following, (self.own[k] for k in modes)):
            row[own.start : own.stop] = [*own[1:], -1]
        return [Routes(c, f, penalty) for c, f in zip(cost, following)]

    def _followers(self, cost: np.ndarray, along: np.ndarray, crossing: np.ndarray) -> np.ndarray:
        """The neighbours ``[K, M]`` by which ``cost [K, M]`` comes about."""
        onward, back = np.full((2, *cost.shape), np.inf)
        onward[:, :-1] = cost[:, 1:] + np.diff(along)
        back[:, 1:] = cost[:, :-1] + np.diff(along)
        rows = np.arange(len(self))
        following = np.where(onward <= back, rows + 1, rows - 1)
        over, best = self._links.crossed(cost, crossing)
        chosen = (over <= best) & (best < np.minimum(onward, back)[:, self._links.start] - 1e-6)
        mode, link = np.nonzero(chosen)
        following[mode, self._links.start[link]] = self._links.end[link]
        return following

    def _find_links(self) -> _Links:
        """From each node to the nearest one of every other prototype, where one can cross over."""
        pairs = [self._links_between(own, other) for own in self.own for other in self.own if other is not own]
        start, end, cost = (np.concatenate(part) for part in zip(*pairs)) if pairs else np.empty((3, 0))
        order = np.argsort(start, kind="stable")
        return _Links(start[order].astype(int), end[order].astype(int), cost[order])

    def _links_between(self, ours: range, theirs: range) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        apart = np.linalg.norm(self.points[ours][:, None] - self.points[theirs], axis=2)
        # Where the free discs around two nodes do not meet, there may be a wall between them.
        linked = (apart <= self.link) & ~(apart >= self.clearance[ours][:, None] + self.clearance[theirs])
        our_end, their_end = _common_end(linked.any(axis=1)), _common_end(linked.any(axis=0))
        apart = np.where(linked, apart + LINK_COST, np.inf)[:our_end, :their_end]
        start = np.flatnonzero(np.isfinite(apart).any(axis=1)) if apart.size else np.empty(0, int)
        end = apart[start].argmin(axis=1) if len(start) else start
        return start + ours.start, end + theirs.start, apart[start, end]


def _common_end(close: np.ndarray) -> int:
    """Where the part begins in which ``close [P]`` holds up to the end; P where it does not hold at the end.

    Two ways that are close from beginning to end count as one: nothing of them is a common end only.
    """
    far = np.flatnonzero(~close)
    return len(close) if not len(far) else int(far[-1]) + 1


def _nodes(mode: Mode, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    path = np.array(mode.path, float)
    known: Sequence[float] = mode.clearance or [math.nan] * len(path)
    return resample(path, np.array(known, float), spacing)


def _sweep(cost: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Spread ``cost [K, M]`` both ways along the prototypes, laid end to end at ``along [M]`` (m)."""
    ahead = np.minimum.accumulate(cost - along, axis=1) + along
    back = np.minimum.accumulate((cost + along)[:, ::-1], axis=1)[:, ::-1] - along
    return np.minimum(np.minimum(ahead, back), cost)
