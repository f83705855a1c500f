"""The prototype paths of all modes as one map of known roads, and the cheapest way on it to each mode's end.

Roads run along every prototype, in both directions, and cross over to another prototype where the two
are close. Prototypes that meet at the end (at a common goal) do not cross over there: who comes to the
goal by one way has not taken the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ddiffpg.contract import Contract, ContractError, Mode

SPACING = 0.1  # metres between the nodes of a prototype
LINK = 0.35  # metres at which one prototype can be left for another
LINK_COST = 1e-3  # metres added to each crossing, so that of two equal ways the one with fewer is taken
GAP = 1e8  # metres between two prototypes laid end to end: more than any way can cost
UNREACHED = 1e7


def resample(path: np.ndarray, values: np.ndarray, spacing: float = SPACING) -> tuple[np.ndarray, np.ndarray]:
    """``path [P, 2]`` and ``values [P]`` at equal steps of at most ``spacing`` along it, both ends included."""
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    if length[-1] == 0.0:
        return path[:1], values[:1]
    at = np.linspace(0.0, length[-1], math.ceil(length[-1] / spacing - 1e-9) + 1)
    points = np.stack([np.interp(at, length, path[:, i]) for i in range(path.shape[1])], axis=1)
    return points, np.interp(at, length, values)


@dataclass(frozen=True, eq=False)
class Routes:
    """Cheapest ways from one place: ``cost [M]`` (m, penalties included) and ``parent [M]``, the node
    before on the way, -1 where the way begins."""

    cost: np.ndarray
    parent: list[int]

    def nodes(self, last: int) -> list[int]:
        """The nodes of the way to ``last``, in the order in which they are passed."""
        found, node = [], last
        while node >= 0:
            found.append(node)
            node = self.parent[node]
        found.reverse()
        return found


class Roadmap:
    """M nodes: ``points [M, 2]`` in m, ``clearance [M]`` (m, NaN where not known). ``last[k]`` is the end
    of the k-th mode of the contract.

    Raises ContractError where the contract's paths are not in the plane.
    """

    def __init__(self, contract: Contract) -> None:
        if len(contract.path) != 2:
            raise ContractError("path", contract.path, "two fields: obstacles are known in the plane only")
        sampled = [_nodes(mode) for mode in contract.modes]
        self.points = np.concatenate([points for points, _ in sampled])
        self.clearance = np.concatenate([clearance for _, clearance in sampled])
        counts = [len(points) for points, _ in sampled]
        self.last = [int(i) - 1 for i in np.cumsum(counts)]
        self.first = [end - count + 1 for end, count in zip(self.last, counts)]
        self._links, self._link_cost = self._find_links()
        self._steps = self._find_steps()
        self._neighbours = self._find_neighbours()

    def __len__(self) -> int:
        return len(self.points)

    def routes(self, entries: np.ndarray, entry_cost: np.ndarray, penalty: np.ndarray) -> Routes:
        """Cheapest ways from a place off the map to every node.

        ``entries [E]`` are the nodes that can be reached at once, for ``entry_cost [E]`` (m). Passing a
        node costs ``penalty [M]`` (m) more, the last one half of it.
        """
        half = 0.5 * penalty
        begin = np.full(len(self), UNREACHED)
        begin[entries] = entry_cost + half[entries]
        steps = self._steps + half[:-1] + half[1:]
        link_cost = self._link_cost + half[:, None] + half[self._links]
        along = np.concatenate([[0.0], np.cumsum(steps)])
        cost = begin
        while True:  # each round follows one more crossing; ends, since costs only fall
            swept = _sweep(cost, along)
            crossed = np.minimum(swept, (swept[self._links] + link_cost).min(axis=1, initial=np.inf))
            if not (crossed < cost - 1e-6).any():
                return Routes(crossed, self._parents(crossed, begin, steps, link_cost).tolist())
            cost = crossed

    def end(self, k: int) -> tuple[tuple[float, float], tuple[float, float]]:
        """Where the k-th mode ends (m), and the unit vector in which it comes there (zero where it stands still)."""
        last = self.points[self.last[k]]
        along = last - self.points[max(self.last[k] - 1, self.first[k])]
        along = along / max(float(np.linalg.norm(along)), 1e-9)
        return (float(last[0]), float(last[1])), (float(along[0]), float(along[1]))

    def _parents(self, cost: np.ndarray, begin: np.ndarray, steps: np.ndarray, link_cost: np.ndarray) -> np.ndarray:
        """For each node the neighbour by which its ``cost [M]`` comes about, -1 where the way begins."""
        options = np.empty((len(self), 2 + link_cost.shape[1]))
        options[0, 0], options[-1, 1] = np.inf, np.inf
        options[1:, 0] = cost[:-1] + steps
        options[:-1, 1] = cost[1:] + steps
        options[:, 2:] = cost[self._links] + link_cost
        best = options.argmin(axis=1)
        rows = np.arange(len(self))
        return np.where(begin <= options[rows, best] + 1e-6, -1, self._neighbours[rows, best])

    def _find_steps(self) -> np.ndarray:
        """Metres from each node to the next ``[M - 1]``, with a gap between two prototypes."""
        steps = np.linalg.norm(np.diff(self.points, axis=0), axis=1)
        steps[self.last[:-1]] = GAP
        return steps

    def _find_neighbours(self) -> np.ndarray:
        """``[M, 2 + L]``: the node before, the node after, the nodes linked to."""
        rows = np.arange(len(self))
        return np.concatenate([np.stack([rows - 1, rows + 1], axis=1), self._links], axis=1)

    def _find_links(self) -> tuple[np.ndarray, np.ndarray]:
        """For each node the nearest one of every other prototype, ``[M, K - 1]``, and what crossing over costs."""
        modes = range(len(self.last))
        links = np.zeros((len(self), len(modes) - 1), int)
        cost = np.full(links.shape, UNREACHED)
        for a in modes:
            for column, b in enumerate(m for m in modes if m != a):
                rows = slice(self.first[a], self.last[a] + 1)
                links[rows, column], cost[rows, column] = self._links_between(a, b)
        return links, cost

    def _links_between(self, a: int, b: int) -> tuple[np.ndarray, np.ndarray]:
        ours, theirs = (slice(self.first[m], self.last[m] + 1) for m in (a, b))
        apart = np.linalg.norm(self.points[ours, None] - self.points[None, theirs], axis=2)
        # Where the free discs around two nodes do not meet, there may be a wall between them.
        free = self.clearance[ours, None] + self.clearance[None, theirs]
        linked = (apart <= LINK) & ~(apart >= free)
        our_end, their_end = _common_end(linked.any(axis=1)), _common_end(linked.any(axis=0))
        linked[our_end:, :] = False
        linked[:, their_end:] = False
        apart = np.where(linked, apart + LINK_COST, UNREACHED)
        nearest = apart.argmin(axis=1)
        return nearest + self.first[b], apart[np.arange(len(apart)), nearest]


def _common_end(close: np.ndarray) -> int:
    """Where the part begins in which ``close [P]`` holds up to the end; P where it does not hold at the end.

    Two ways that are close from beginning to end count as one: nothing of them is a common end only.
    """
    far = np.flatnonzero(~close)
    return len(close) if not len(far) else int(far[-1]) + 1


def _nodes(mode: Mode) -> tuple[np.ndarray, np.ndarray]:
    path = np.array(mode.path, float)
    known: Sequence[float] = mode.clearance or [math.nan] * len(path)
    return resample(path, np.array(known, float))


def _sweep(cost: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Spread ``cost [M]`` both ways along the prototypes, laid end to end at ``along [M]`` (m)."""
    ahead = np.minimum.accumulate(cost - along) + along
    back = np.minimum.accumulate((cost + along)[::-1])[::-1] - along
    return np.minimum(np.minimum(ahead, back), cost)
