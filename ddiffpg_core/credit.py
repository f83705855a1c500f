"""Mode-consistent credit: what another way's trajectory is worth to a mode.

A mode must be able to come back from another mode's way, so its critic learns from trajectories off its own
way too. There the goal is worth nothing unless it is reached on the mode's own way, and its way cannot be
joined ahead of where it was left: a trajectory that leaves it and comes in again farther on has taken a
shortcut, and ends there with nothing. What remains is to go back and take the way as a whole, which is what a
robot needs whose present way is blocked.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ddiffpg_core.replay import Replay


def project(points: np.ndarray, way: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance of ``points [..., D]`` to the polyline ``way [P, D]`` and how far along it they are, metres."""
    length = np.linalg.norm(np.diff(way, axis=0), axis=1)
    begin = np.concatenate([[0.0], np.cumsum(length)])
    best = np.full(points.shape[:-1], np.inf, np.float32)
    along = np.zeros(points.shape[:-1], np.float32)
    for a, b, size, at in zip(way[:-1], way[1:], length, begin):
        direction = (b - a) / max(size, 1e-9)
        offset = points - a
        part = np.clip(offset @ direction, 0.0, size)
        gap = np.sqrt(((offset - part[..., None] * direction) ** 2).sum(-1))
        nearer = gap < best
        best[nearer] = gap[nearer]
        along[nearer] = at + part[nearer]
    return best, along


def shortcuts(paths: np.ndarray, way: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Steps of ``paths [N, T + 1, D]`` that join ``way [P, D]`` ahead of where they left it.

    Returns ``joins [N, T]``, true for such a step, and ``on [N, T + 1]``, true where a point is within
    ``tolerance`` (metres) of the way. Points after a path's end may hold anything finite.
    """
    gap, along = project(paths, way)
    on = gap <= tolerance
    last = np.maximum.accumulate(np.where(on, np.arange(paths.shape[1]), -1), axis=1)
    left_at = np.where(last >= 0, np.take_along_axis(along, np.maximum(last, 0), 1), 0.0)
    joins = on[:, 1:] & ~on[:, :-1] & (along[:, 1:] > left_at[:, :-1] + 2.0 * tolerance)
    return joins, on


class Credit:
    """What each trajectory in memory is worth to each mode, worked out once for each pair."""

    def __init__(self, slots: int, horizon: int, tolerance: float) -> None:
        self.shape = (slots, horizon)
        self.tolerance = tolerance
        self.way: dict[int, np.ndarray] = {}
        self.joins: dict[int, np.ndarray] = {}
        self.arrives: dict[int, np.ndarray] = {}

    def follow(self, ways: dict[int, np.ndarray], replay: Replay) -> None:
        """Know the ways (mode id -> prototype ``[P, D]``) of now; judge all trajectories where a way is new."""
        live = np.flatnonzero(replay.live)
        for mode_id in set(self.way) - set(ways):
            del self.way[mode_id], self.joins[mode_id], self.arrives[mode_id]
        for mode_id, way in ways.items():
            if not np.array_equal(self.way.get(mode_id), way):
                self.way[mode_id] = way
                self.joins[mode_id] = np.zeros(self.shape, bool)
                self.arrives[mode_id] = np.zeros(self.shape[0], bool)
                for part in np.array_split(live, len(live) // 500 + 1):
                    self._judge(part, mode_id, replay)

    def add(self, slot: int, replay: Replay) -> None:
        """Judge a trajectory that has just ended."""
        for mode_id in self.way:
            self._judge(np.array([slot]), mode_id, replay)

    def _judge(self, slots: np.ndarray, mode_id: int, replay: Replay) -> None:
        longest = int(replay.length[slots].max(initial=1))
        paths = replay.obs[slots][:, : longest + 1, replay.columns].cpu().numpy()
        joins, on = shortcuts(paths, self.way[mode_id], self.tolerance)
        self.joins[mode_id][slots, :longest] = joins
        self.arrives[mode_id][slots] = on[np.arange(len(slots)), replay.length[slots]]

    def of(self, mode_id: int, slots: np.ndarray, time: np.ndarray, own: np.ndarray,
           steps: int) -> tuple[np.ndarray, np.ndarray]:
        """For rows at ``slots, time [B]``: whether their goal counts, and the step that ends them as a shortcut.

        A mode's ``own [B]`` trajectories always count whole. The step is 1 for the row's own transition and
        ``steps + 1`` where none of the next ``steps`` is a shortcut.
        """
        cut = np.full(len(slots), steps + 1)
        for k in reversed(range(steps)):
            at = np.minimum(time + k, self.shape[1] - 1)
            cut = np.where(~own & self.joins[mode_id][slots, at], k + 1, cut)
        return own | self.arrives[mode_id][slots], cut

    def state_dict(self) -> dict[str, Any]:
        return {"way": self.way}

    def load_state_dict(self, state: dict[str, Any], replay: Replay) -> None:
        """Judgements follow from the ways and the trajectories, so they are worked out again."""
        self.follow(state["way"], replay)
