"""Mode-consistent credit: what another way's trajectory is worth to a mode.

A mode must be able to come back from another mode's way, so its critic learns from trajectories off its own
way too. There the goal is worth nothing unless it is reached on the mode's own way, and its way cannot be
joined ahead of where it was left: a trajectory that leaves it and comes in again farther on has taken a
shortcut, and ends there with nothing. In another mode's successful trajectory all that follows its last
departure from the way is worth nothing at once: waiting for that to be learned backwards from the end fails
where two ways lead to the same goal, because the networks blur the border between them. What remains is to go
back and take the way as a whole, which is what a robot needs whose present way is blocked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ddiffpg_core.replay import Replay


def project(points: np.ndarray, way: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance of ``points [..., D]`` to the polyline ``way [P, D]`` and how far along it they are, metres."""
    size = np.linalg.norm(np.diff(way, axis=0), axis=1)
    begin = np.concatenate([[0.0], np.cumsum(size)[:-1]])
    direction = np.diff(way, axis=0) / np.maximum(size, 1e-9)[:, None]
    offset = points[..., None, :] - way[:-1]
    part = np.clip((offset * direction).sum(-1), 0.0, size)
    gap = np.linalg.norm(offset - part[..., None] * direction, axis=-1)
    nearest = gap.argmin(-1)[..., None]
    return np.take_along_axis(gap, nearest, -1)[..., 0], np.take_along_axis(begin + part, nearest, -1)[..., 0]


@dataclass(frozen=True)
class Judgement:
    """What N trajectories are worth to one mode.

    ``joins [N, T]``: steps that join its way ahead of where they left it. ``arrives [N]``: the end is on its
    way. ``leaves [N]``: the step of the last departure before a shortcut, or before an end off the way; the
    length of the trajectory where there is none.
    """

    joins: np.ndarray
    arrives: np.ndarray
    leaves: np.ndarray


def judge(paths: np.ndarray, length: np.ndarray, way: np.ndarray, tolerance: float) -> Judgement:
    """Hold ``paths [N, T + 1, D]`` of ``length [N]`` steps against ``way [P, D]``; ``tolerance`` in metres.

    Points after a path's end may hold anything finite.
    """
    gap, along = project(paths, way)
    on = gap <= tolerance
    last = np.maximum.accumulate(np.where(on, np.arange(paths.shape[1]), -1), axis=1)
    left_at = np.where(last >= 0, np.take_along_axis(along, np.maximum(last, 0), 1), 0.0)
    joins = on[:, 1:] & ~on[:, :-1] & (along[:, 1:] > left_at[:, :-1] + 2.0 * tolerance)
    rows = np.arange(len(paths))
    joins &= np.arange(joins.shape[1]) < length[:, None]
    arrives = on[rows, length]
    first = np.where(joins.any(1), joins.argmax(1), length)
    departure = np.maximum(last[rows, first], 0)
    return Judgement(joins, arrives, np.where(joins.any(1) | ~arrives, departure, length))


class Credit:
    """What each trajectory in memory is worth to each mode, worked out once for each pair."""

    def __init__(self, slots: int, horizon: int, tolerance: float) -> None:
        self.shape = (slots, horizon)
        self.tolerance = tolerance
        self.way: dict[int, np.ndarray] = {}
        self.joins: dict[int, np.ndarray] = {}
        self.arrives: dict[int, np.ndarray] = {}
        self.leaves: dict[int, np.ndarray] = {}

    def follow(self, ways: dict[int, np.ndarray], replay: Replay) -> None:
        """Know the ways (mode id -> prototype and outcome ``[P, D + K]``) of now; judge all trajectories by new ones.

        A goal is worth nothing to a mode where the outcome is not its own.
        """
        live = np.flatnonzero(replay.live)
        for mode_id in set(self.way) - set(ways):
            for kept in (self.way, self.joins, self.arrives, self.leaves):
                del kept[mode_id]
        for mode_id, way in ways.items():
            known = self.way.get(mode_id)
            if known is None or not np.array_equal(known, way):
                self.way[mode_id] = way
                self.joins[mode_id] = np.zeros(self.shape, bool)
                self.arrives[mode_id] = np.zeros(self.shape[0], bool)
                self.leaves[mode_id] = np.zeros(self.shape[0], np.int64)
                for part in np.array_split(live, len(live) // 500 + 1):
                    self._judge(part, mode_id, replay)

    def add(self, slot: int, replay: Replay) -> None:
        """Judge a trajectory that has just ended."""
        for mode_id in self.way:
            self._judge(np.array([slot]), mode_id, replay)

    def _judge(self, slots: np.ndarray, mode_id: int, replay: Replay) -> None:
        longest = int(replay.length[slots].max(initial=1))
        paths = replay.obs[slots][:, : longest + 1, replay.columns].cpu().numpy()
        way, outcome = np.split(self.way[mode_id], [paths.shape[-1]], axis=1)
        verdict = judge(paths, replay.length[slots], way, self.tolerance)
        same = (np.abs(replay.way[slots, -1, paths.shape[-1]:] - outcome[-1]) <= self.tolerance).all(-1)
        self.joins[mode_id][slots, :longest] = verdict.joins
        self.arrives[mode_id][slots] = verdict.arrives & same
        self.leaves[mode_id][slots] = verdict.leaves

    def of(self, mode_id: int, slots: np.ndarray, time: np.ndarray, other: np.ndarray,
           steps: int) -> tuple[np.ndarray, np.ndarray]:
        """For rows at ``slots, time [B]`` of trajectories not the mode's own: whether their goal counts, and
        the step that ends them with nothing.

        ``other [B]`` marks rows of other modes' successes. The step is 1 for the row's own transition and
        ``steps + 1`` where none of the next ``steps`` ends it.
        """
        cut = np.full(len(slots), steps + 1)
        for k in reversed(range(steps)):
            at = np.minimum(time + k, self.shape[1] - 1)
            gone = other & (time + k >= self.leaves[mode_id][slots])
            cut = np.where(self.joins[mode_id][slots, at] | gone, k + 1, cut)
        return self.arrives[mode_id][slots], cut

    def state_dict(self) -> dict[str, Any]:
        return {"way": self.way}

    def load_state_dict(self, state: dict[str, Any], replay: Replay) -> None:
        """Judgements follow from the ways and the trajectories, so they are worked out again."""
        self.follow(state["way"], replay)
