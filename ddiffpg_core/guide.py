"""What a goal is worth from anywhere on the ground that was visited: a guide for critics until they know themselves.

A sparse goal some hundred steps away reaches a critic through as many rounds of bootstrapping. But where a robot has
been, and from where to where it went, is known from the first episodes on. On that map the way that is left to a goal
is a shortest path, and what the goal is worth from there a guess that needs no learning. A share of what a critic
bootstraps from is this guess (heuristic-guided reinforcement learning, Cheng et al. 2021, equation 2), so what is left
to learn is how to get on by a few metres. The reward stays the task's; maps and goals are the agent's own experience.

A mode's guide leads along its way, and to it as mode-consistent credit wants it: not ahead of where it was left. The
finder's makes places dear by which goals have often been reached, and so leads to them by others. The explorer's leads
to where few have been.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ddiffpg_core.config import GuideConfig
from ddiffpg_core.ground import Map
from ddiffpg_core.modes import Mode
from ddiffpg_core.replay import Replay

FINDER = -1
"""Whose guide leads to any goal, by ways that are not known."""
EXPLORER = -2
"""Whose guide leads to where few have been."""


@dataclass(frozen=True)
class Worth:
    """``pays``, discounted over ``to_go [M]`` metres at ``speed`` metres a step.

    ``factor [E]`` is how many times its length each step of the map costs.
    """

    to_go: np.ndarray
    factor: np.ndarray
    speed: float
    pays: float


class Guide:
    """The worth of goals to each mode (by its id) and to :data:`FINDER`, on one map; to nobody at first.

    ``gamma`` is the critics' discount, ``exploring`` that of novelty, ``tolerance`` (metres) how far from a way one is
    still on it. Of S slots of memory ``new [S]`` marks the successes whose ways pass a place by which few others came;
    all at first.
    """

    def __init__(self, config: GuideConfig, gamma: float, tolerance: float, slots: int,
                 exploring: float = 0.99) -> None:
        self.config, self.gamma, self.tolerance, self.exploring = config, gamma, tolerance, exploring
        self.map: Map | None = None
        self.worth: dict[int, Worth] = {}
        self.farthest: dict[int, np.ndarray] = {}  # how far rows led on this map, by their kind (led_on.py)
        self.common = np.zeros(0, bool)  # places by which many came to goals
        self.new = np.ones(slots, bool)

    def learn(self, ground: Map, replay: Replay, modes: Sequence[Mode], known_at: int) -> None:
        """Work all of it out anew on ``ground``, from the successes in ``replay``."""
        success = np.flatnonzero(replay.live & replay.success)
        if not len(success) and not self.config.explorers:
            return
        self.map, self.farthest = ground, {}
        self.worth = {EXPLORER: self._to_rare_places(replay)} if self.config.explorers else {}
        if not len(success):
            return
        ways = replay.way[success][:, :, : len(replay.columns)]
        self.common = ground.passed(ways, self.tolerance) >= (known_at or np.inf)
        self.judge(success, replay)
        dear = np.where(self.common[ground.step].all(1), self.config.known_cost, 1.0)
        self.worth[FINDER] = self._worth(replay, success, dear)
        for mode in modes:
            own = success[replay.mode[success] == mode.id]
            if len(own):
                self.worth[mode.id] = self._worth(replay, own, ground.along(mode.prototype, self.tolerance))

    def judge(self, slots: np.ndarray, replay: Replay) -> None:
        """Say of the trajectories in ``slots [N]`` whether they went by places that are not common."""
        if self.map is not None:
            self.new[slots] = ~self.is_common(replay.way[slots][:, :, : len(replay.columns)]).all(1)

    def is_common(self, points: np.ndarray) -> np.ndarray:
        """Whether ``points [..., D]`` are places by which many came to goals ``[...]``."""
        if self.map is None or not len(self.common):
            return np.zeros(points.shape[:-1], bool)
        at = self.map.places(points)
        return np.where(at >= 0, self.common[at], False)

    def _worth(self, replay: Replay, slots: np.ndarray, factor: np.ndarray) -> Worth:
        """Of the goals that the successes ``slots [N]`` reached, with what the map's steps cost, ``factor [E]``.

        As fast as the quicker quarter of them was, wandering or not.
        """
        assert self.map is not None
        last, speed = replay.length[slots], _speed(replay, slots)
        ends = replay.obs[slots, last][:, replay.columns].cpu().numpy()
        paid = replay.reward[slots, last - 1].cpu().numpy()
        less = speed * np.log(paid / paid.max()) / np.log(self.gamma)  # a goal that pays less is as good as farther off
        return Worth(self.map.to_go(factor, ends, less), factor, speed, float(paid.max()))

    def _to_rare_places(self, replay: Replay) -> Worth:
        """Places are worth less the more often somebody was there, by the root of how often (Bellemare et al. 2016)."""
        assert self.map is not None
        ended = np.flatnonzero(replay.live)
        speed = _speed(replay, ended[np.argsort(replay.born[ended])][-100:]) if len(ended) else 0.0
        free = np.ones(len(self.map.step))
        less = -0.5 * speed * np.log(np.maximum(self.map.visits, 1)) / np.log(self.exploring)
        return Worth(self.map.to_go(free, self.map.center, less), free, speed, 0.0)

    def value(self, who: int, points: np.ndarray) -> np.ndarray | None:
        """What the goal is worth to ``who`` from ``points [N, D]``; None where nothing is known of it."""
        known = self.worth.get(who)
        if known is None or self.map is None:
            return None
        return known.pays * self.gamma ** (self.map.left(points, known.to_go, known.factor) / known.speed)

    def progress(self, who: int, now: np.ndarray, then: np.ndarray) -> np.ndarray | None:
        """Metres that ``who`` has got on from ``now [..., D]`` to ``then [..., D]``, some steps later, as they cost.

        Minus infinity off the map, and where nobody can have gone so far, dear or not: that was a shortcut.
        """
        known = self.worth.get(who)
        if known is None or self.map is None:
            return None
        before, after = (self.map.left(points, known.to_go, known.factor) for points in (now, then))
        there = np.isfinite(before) & np.isfinite(after)
        metres = np.subtract(before, after, out=np.full(before.shape, -np.inf), where=there)
        dearest = known.factor[np.isfinite(known.factor)].max(initial=1.0)
        return np.where(metres > 2.0 * self.config.ahead * known.speed * dearest, -np.inf, metres)

    def note(self, who: int, kind: np.ndarray, metres: np.ndarray) -> None:
        """That rows of ``kind [P]`` (of two for each place) led ``who`` on by so many ``metres [P]``."""
        assert self.map is not None
        known = self.farthest.setdefault(who, np.full(2 * len(self.map.center), -np.inf))
        np.maximum.at(known, kind, metres)

    def state_dict(self) -> dict[str, Any]:
        ground = None if self.map is None else vars(self.map)
        worth = {who: vars(worth) for who, worth in self.worth.items()}
        return {"map": ground, "worth": worth, "farthest": self.farthest, "common": self.common, "new": self.new}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.map = None if state["map"] is None else Map(**state["map"])
        self.worth = {k: Worth(**w) for k, w in state["worth"].items()}
        self.farthest = dict(state.get("farthest", {}))  # older checkpoints have none
        self.common, self.new = state["common"], state["new"].copy()


def _speed(replay: Replay, slots: np.ndarray) -> float:
    """Metres a step of the quicker quarter of the trajectories in ``slots [N]``."""
    steps = [np.linalg.norm(np.diff(replay.path(slot), axis=0), axis=1).mean() for slot in slots]
    return float(np.quantile(steps, 0.75))
