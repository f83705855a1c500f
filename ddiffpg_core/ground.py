"""The ground that was visited: places of the path, and the steps between them that somebody made. numpy and scipy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, identity
from scipy.sparse.csgraph import connected_components, dijkstra

from ddiffpg_core.credit import project

_AT_ONCE = 1e-6  # metres: a sparse graph takes 0 for no edge


class Ground:
    """Cells (of ``edge`` metres) of the path that were visited, and the steps between them that were made."""

    def __init__(self, edge: float, dim: int) -> None:
        self.edge, self.dim = edge, dim
        self.place: dict[tuple[int, ...], int] = {}
        self.visits: list[int] = []
        self.steps: set[tuple[int, int]] = set()

    def add(self, before: np.ndarray, after: np.ndarray) -> None:
        """Steps from ``before [N, D]`` to ``after [N, D]``, metres."""
        here, there = self._cells(before), self._cells(after)
        for a, b in zip(map(tuple, here.tolist()), map(tuple, there.tolist())):
            i, j = self._number(a), self._number(b)
            self.visits[j] += 1
            if i != j:
                self.steps.add((min(i, j), max(i, j)))

    def _number(self, cell: tuple[int, ...]) -> int:
        number = self.place.setdefault(cell, len(self.place))
        if number == len(self.visits):
            self.visits.append(0)
        return number

    def _cells(self, points: np.ndarray) -> np.ndarray:
        return np.floor(points / self.edge).astype(np.int64)

    def map(self) -> Map:
        """The ground as it is known now; at least one step must have been added."""
        steps = np.array(sorted(self.steps), int).reshape(-1, 2)
        return Map.of(np.array(list(self.place)), np.array(self.visits), steps, self.edge)

    def state_dict(self) -> dict[str, Any]:
        place = np.array(list(self.place), int).reshape(-1, self.dim)
        return {"place": place, "visits": np.array(self.visits, int), "steps": np.array(sorted(self.steps))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.place = {tuple(cell): i for i, cell in enumerate(state["place"].tolist())}
        self.visits = state["visits"].tolist()
        self.steps = set(map(tuple, state["steps"].tolist()))


@dataclass(frozen=True)
class Map:
    """M places: their ``center [M, D]`` (metres), how many steps ended there ``visits [M]``, and ``step [E, 2]``
    between them, both ways.

    ``lowest [D]`` and ``number`` find the place of a cell; ``near [M, K]`` has each place and those a step away, by the
    step ``via [M, K]`` (E for none). What a step costs is its length times a ``factor [E]``, infinite for never.
    """

    edge: float
    center: np.ndarray
    visits: np.ndarray
    step: np.ndarray
    lowest: np.ndarray
    number: np.ndarray
    near: np.ndarray
    via: np.ndarray

    @classmethod
    def of(cls, cells: np.ndarray, visits: np.ndarray, steps: np.ndarray, edge: float) -> Map:
        """From ``cells [M, D]`` (whole numbers), ``visits [M]`` and the ``steps [E / 2, 2]`` between them."""
        lowest = cells.min(0)
        number = np.full(cells.max(0) - lowest + 1, -1)
        number[tuple((cells - lowest).T)] = np.arange(len(cells))
        both = np.concatenate([steps, steps[:, ::-1]])
        both = both[np.argsort(both[:, 0], kind="stable")]
        count = np.bincount(both[:, 0], minlength=len(cells))
        near = np.repeat(np.arange(len(cells))[:, None], count.max(initial=0) + 1, 1)
        nth = np.arange(len(both)) - np.repeat(count.cumsum() - count, count)
        near[both[:, 0], nth + 1] = both[:, 1]
        via = np.full(near.shape, len(both))
        via[both[:, 0], nth + 1] = np.arange(len(both))
        return cls(edge, (cells + 0.5) * edge, visits, both, lowest, number, near, via)

    def places(self, points: np.ndarray) -> np.ndarray:
        """The place of each of ``points [..., D]``; -1 where nobody was."""
        at = np.floor(points / self.edge).astype(np.int64) - self.lowest
        inside = np.all((at >= 0) & (at < self.number.shape), axis=-1, keepdims=True)
        cell = np.where(inside, at, 0)
        return np.where(inside[..., 0], self.number[tuple(np.moveaxis(cell, -1, 0))], -1)

    def to_go(self, factor: np.ndarray, ends: np.ndarray, head_start: np.ndarray) -> np.ndarray:
        """What the cheapest path from each place to one of ``ends [N, D]`` costs ``[M]``; infinite where none leads.

        ``head_start [N]`` is what each end costs beyond.
        """
        at, m = self.places(ends), len(self.center)
        known, passable = at >= 0, np.isfinite(factor)
        a, b = self.step[passable].T
        last = head_start[known] + np.linalg.norm(self.center[at[known]] - ends[known], axis=1) + _AT_ONCE
        order = np.argsort(-last)  # of several ends in a place the nearest comes last, and stays
        finish = dict(zip(at[known][order].tolist(), last[order].tolist()))
        source = np.concatenate([b, np.full(len(finish), m)])
        target = np.concatenate([a, np.fromiter(finish, int, len(finish))])
        metres = np.linalg.norm(self.center[a] - self.center[b], axis=1)
        weight = np.concatenate([metres * factor[passable], np.fromiter(finish.values(), float, len(finish))])
        graph = csr_matrix((weight, (source, target)), shape=(m + 1, m + 1))
        return dijkstra(graph, indices=m)[:m]

    def left(self, points: np.ndarray, to_go: np.ndarray, factor: np.ndarray) -> np.ndarray:
        """What is left from ``points [..., D]`` to where ``to_go [M]`` leads, by the best place near.

        Infinite off the map; ``factor`` as for :meth:`to_go`.
        """
        place = self.places(points)
        near, via = self.near[np.maximum(place, 0)], self.via[np.maximum(place, 0)]
        metres = np.linalg.norm(points[..., None, :] - self.center[near], axis=-1)
        cost = np.where(metres > 0, metres * np.append(factor, 1.0)[via], 0.0) + to_go[near]
        return np.where(place >= 0, cost.min(-1), np.inf)

    def along(self, way: np.ndarray, tolerance: float) -> np.ndarray:
        """The factor of each step ``[E]`` to who takes ``way [P, D]``: infinite where it is a shortcut, else 1.

        Off the way the map falls into parts. Each may be left for the way no farther along it than two tolerances
        from the first place where they touch: there it was left at the latest.
        """
        gap, along = project(self.center, way)
        on = gap <= tolerance
        a, b = self.step.T
        off, m = ~on[a] & ~on[b], len(self.center)
        part = connected_components(csr_matrix((np.ones(off.sum()), (a[off], b[off])), shape=(m, m)), directed=False)[1]
        enters = ~on[a] & on[b]
        first = np.full(m, np.inf)
        np.minimum.at(first, part[a[enters]], along[b[enters]])
        allowed = np.where(on[a], along[a], first[part[a]]) + 2.0 * tolerance
        return np.where(on[b] & (along[b] > allowed), np.inf, 1.0)

    def passed(self, ways: np.ndarray, reach: float) -> np.ndarray:
        """How many of ``ways [N, P, D]`` pass each place ``[M]``, or one within ``reach`` (metres) of it on the map."""
        m, at = len(self.center), self.places(ways)
        row = np.broadcast_to(np.arange(len(ways))[:, None], at.shape)[at >= 0]
        by = csr_matrix((np.ones(len(row), bool), (row, at[at >= 0])), shape=(len(ways), m))
        joined = csr_matrix((np.ones(len(self.step), bool), tuple(self.step.T)), shape=(m, m)) + identity(m, "bool")
        for _ in range(round(reach / self.edge)):
            by = csr_matrix(by @ joined)
        return np.asarray(by.sum(0)).ravel()
