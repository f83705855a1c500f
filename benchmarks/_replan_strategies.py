"""What replanning is compared with in ``benchmarks/replan.py``: other strategies for the same controller."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ddiffpg.contract import Contract
from ddiffpg.controller import ControllerConfig
from ddiffpg.modes import Way
from ddiffpg.replan import CHOOSE, Choice, Last, Replanner, Strategy

PERIOD = 1.0  # s between two choices of ``Periodic``


class Never(Replanner):
    """Chooses once, the best way by its length and chances, and keeps that whatever comes."""

    def update(self, now: float, ways: Sequence[Way], last: Last) -> frozenset[int]:
        return frozenset(way.id for way in ways)


class Sequential(Never):
    """Tries the modes one after another, as the paper does: looks at no corridor, and where it is held off or comes no
    nearer goes on to the next one in the contract's order, whether that is free or not."""

    def update(self, now: float, ways: Sequence[Way], last: Last) -> frozenset[int]:
        ids = [way.id for way in ways]
        present = next((way for way in ways if way.id == self.present), None)
        self._give_up_if_stuck(now, present, last)
        if present is not None and present.id in self._given_up:
            self.present = ids[(ids.index(present.id) + 1) % len(ids)]
            self._given_up.clear()
        return frozenset(ids)


class Periodic(Replanner):
    """Chooses the best free way anew every ``PERIOD``, with no hysteresis, no dwell, and nothing given up."""

    _due = -float("inf")

    def update(self, now: float, ways: Sequence[Way], last: Last) -> frozenset[int]:
        if now < self._due:
            return frozenset(way.id for way in ways)  # what it has chosen is kept till then
        self._due, self.present = now + PERIOD, None
        return frozenset(way.id for way in ways if not way.blocked)

    def choose(self, ways: Sequence[Way], free: frozenset[int], forced: int = CHOOSE) -> Choice:
        choice = super().choose(ways, free, forced)
        if choice.mode is None:
            self._due = -float("inf")  # looks again in the next tick
        return choice

    def _may_change_to(self, mode: int) -> bool:
        return True


STRATEGIES: dict[str, Callable[[Contract, ControllerConfig], Strategy]] = {
    "replan": Replanner.of,
    "never": Never.of,
    "sequential": Sequential.of,
    "periodic": Periodic.of,
}
