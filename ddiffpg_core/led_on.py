"""Rows that led on: of what was done from a place, that which came nearest to where one is to go.

What led on from where it was done is a better teacher than a critic that has seen few successes: its climbing throws
a legged robot over (docs/experiments.md). Rows compete with those of the same place, and of robots that were moving or
standing alike: else a robot that has run against a wall is never among them, and never learns to get away. Who did not
get on teaches the critic alone, whatever the others did.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ddiffpg_core.guide import Guide
from ddiffpg_core.replay import Replay

POOL = 4096  # rows that compete with each other in one batch
LEAST = 0.5  # places by which a row must have got on: where nobody did, standing is the best that was done
SHARED = 8  # updates that may share a pool: to draw one, and to see how far its rows led, takes a third of an update
_SOON = 4  # of the time after which it counts how far a row has led, the part after which it must not have gone away
_LATELY = 10  # steps: who moved less than a quarter of a place in so many is standing


@dataclass(frozen=True)
class Pool:
    """P rows, in the order of their circumstances ``kind [P]``: ``slots``, ``time [P]``, where they were, soon
    after and at last ``here, soon, there [P, D]`` (metres); each has its like from ``first [P]`` on, ``count [P]`` of
    them. How far they got on is kept for the next who asks."""

    slots: np.ndarray
    time: np.ndarray
    here: np.ndarray
    soon: np.ndarray
    there: np.ndarray
    kind: np.ndarray
    first: np.ndarray
    count: np.ndarray
    _progress: dict[int, np.ndarray] = field(default_factory=dict)

    def progress(self, guide: Guide, who: int) -> np.ndarray:
        """Metres ``[P]`` that each row got on for ``who``, of whom the ``guide`` knows (:meth:`Guide.progress`).

        Minus infinity where it had farther to go soon after: who runs far enough along a way that is dear comes near to
        its end, and yet should not have set out on it.
        """
        if who not in self._progress:
            metres, first = (guide.progress(who, self.here, at) for at in (self.there, self.soon))
            assert metres is not None and first is not None
            metres = np.where(first < 0.0, -np.inf, metres)
            self._progress[who] = metres
            guide.note(who, self.kind, metres)
        return self._progress[who]


class Pools:
    """The pool of the moment: a few updates draw from it, until something is new."""

    def __init__(self) -> None:
        self._pool: Pool | None = None
        self._left = 0

    def forget(self) -> None:
        """What the pool was drawn from has changed."""
        self._pool = None

    def now(self, replay: Replay, guide: Guide, slots: np.ndarray, rng: np.random.Generator) -> Pool:
        """As :func:`draw`, or the one drawn last."""
        if self._pool is None or not self._left:
            self._pool, self._left = draw(replay, guide, slots, rng), SHARED
        self._left -= 1
        return self._pool


def draw(replay: Replay, guide: Guide, slots: np.ndarray, rng: np.random.Generator) -> Pool:
    """Random rows of the finished trajectories ``slots [N]``, at least one."""
    assert guide.map is not None
    slots = rng.choice(slots, POOL)
    length = replay.length[slots]
    time = (rng.random(POOL) * length).astype(np.int64)
    ahead = guide.config.ahead
    later = (np.minimum(time + steps, length) for steps in (-(-ahead // _SOON), ahead))
    at = np.stack([np.maximum(time - _LATELY, 0), time, *later])
    before, here, soon, there = replay.obs[slots, at][..., replay.columns].cpu().numpy()
    stands = np.linalg.norm(here - before, axis=-1) < 0.25 * guide.map.edge
    kind = 2 * guide.map.places(here) + stands
    order = np.argsort(kind, kind="stable")
    _, first, which, count = np.unique(kind[order], return_index=True, return_inverse=True, return_counts=True)
    return Pool(slots[order], time[order], here[order], soon[order], there[order], kind[order], first[which],
                count[which])


def choose(pool: Pool, guide: Guide, who: int, number: int,
           rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """``number`` of the rows, each the best for ``who`` of a random one and so many rivals drawn from its like.

    Their indices, and whether they led on: by half as much as the best of their like that was seen on this map.
    """
    progress = pool.progress(guide, who)
    assert guide.map is not None
    anyone = rng.integers(len(pool.slots), size=number)
    nth = rng.random((guide.config.rivals, number)) * pool.count[anyone]
    rivals = np.concatenate([anyone[None], pool.first[anyone] + nth.astype(np.int64)])
    best = np.take_along_axis(rivals, progress[rivals].argmax(0)[None], 0)[0]
    most = guide.farthest[who][pool.kind[best]]
    return best, progress[best] > np.maximum(LEAST * guide.map.edge, 0.5 * most)
