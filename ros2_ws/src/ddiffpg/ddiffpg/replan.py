"""Which way to take. The chosen one is kept until it is blocked or another is asked for.

A blocked way is left at once. One that was blocked is taken again only after it has been free, with
room to spare, for a while: so the robot does not waver between two ways. Where a human has driven, the
mode that was begun takes the place of the chosen one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ddiffpg.intent import Intent
from ddiffpg.modes import Way

CHOOSE = -1  # as a forced mode: choose by itself


@dataclass(frozen=True)
class Patience:
    """``hysteresis`` (m) of room and ``dwell`` (s) that reopen a blocked way. Held off by an obstacle for
    ``stuck_after`` (s), a way is given up and may be tried again ``retry_after`` (s) later."""

    hysteresis: float
    dwell: float
    stuck_after: float
    retry_after: float


@dataclass(frozen=True)
class Chances:
    """Of a mode, shares from 0 to 1: ``success`` on its own way, ``returns`` when asked for off it."""

    success: float
    returns: float


@dataclass(frozen=True)
class Choice:
    """The mode to follow, None where there is no way, and why."""

    mode: int | None
    reason: str


class Replanner:
    """Remembers the present mode and what was blocked. ``chances`` are those of each mode."""

    def __init__(self, chances: Mapping[int, Chances], patience: Patience) -> None:
        self._chances = chances
        self._patience = patience
        self._open_since: dict[int, float | None] = {}  # of the blocked ones: since when free again, None if not
        self._given_up: dict[int, float] = {}  # until when
        self._held_since: float | None = None
        self._by_hand = ""  # what a drive by hand says of the present mode
        self.present: int | None = None

    def forget_times(self) -> None:
        """The clock has jumped: what was blocked must be seen free anew."""
        self._open_since = dict.fromkeys((*self._open_since, *self._given_up))
        self._given_up.clear()
        self._held_since = None

    def update(self, now: float, ways: Iterable[Way], held: bool) -> frozenset[int]:
        """Which modes may be taken at ``now`` (s). ``held``: the robot was held off by an obstacle meanwhile."""
        self._give_up_if_stuck(now, held)
        return frozenset(way.id for way in ways if self._is_open(way, now))

    def take_up(self, intent: Intent, free: frozenset[int]) -> None:
        """A human has driven: go on in the mode that was begun if it is ``free``, else in the best that is.

        Where it is not clear which was begun, the mode that drove before stays if it may be the one.
        """
        if intent.mode is not None:
            self.present = intent.mode if intent.mode in free else None
        elif self.present not in intent.possible:
            self.present = None
        lost = intent.mode is not None and self.present is None
        self._by_hand = f"; {intent.reason}" + (" and is not free" if lost else "")

    def choose(self, ways: Iterable[Way], free: frozenset[int], forced: int = CHOOSE) -> Choice:
        """The mode to follow now. ``forced`` is the id of the only one allowed, or -1."""
        before = self.present
        if forced != CHOOSE:
            self.present, self._by_hand = forced if forced in free else None, ""
            return Choice(self.present, f"mode {forced} is asked for" + ("" if forced in free else " and not free"))
        if before in free:
            return Choice(before, f"mode {before} is still free{self._by_hand}")
        if before is not None:
            self._by_hand = ""
        best = min((way for way in ways if way.id in free), key=self._cost, default=None)
        self.present = None if best is None else best.id
        if best is None:
            return Choice(None, f"no way is free{self._by_hand}")
        shortest = f"mode {best.id} is the best free way ({best.length:.1f} m){self._by_hand}"
        return Choice(best.id, shortest if before is None else f"mode {before} is blocked, {shortest}")

    def _cost(self, way: Way) -> float:
        """Metres to go for one success."""
        chances = self._chances[way.id]
        return way.length / max(chances.success if way.on_own else chances.returns, 0.01)

    def _is_open(self, way: Way, now: float) -> bool:
        if way.blocked:
            self._open_since[way.id] = None
            return False
        return self._is_open_again(way, now) and now >= self._given_up.get(way.id, now)

    def _is_open_again(self, way: Way, now: float) -> bool:
        if way.id not in self._open_since:
            return True
        if way.clearance < self._patience.hysteresis:
            self._open_since[way.id] = None
            return False
        since = self._open_since[way.id]
        if since is None:
            self._open_since[way.id] = since = now
        if now - since < self._patience.dwell:
            return False
        del self._open_since[way.id]
        return True

    def _give_up_if_stuck(self, now: float, held: bool) -> None:
        if not held or self.present is None:
            self._held_since = None
            return
        if self._held_since is None:
            self._held_since = now
        if now - self._held_since >= self._patience.stuck_after:
            self._given_up[self.present] = now + self._patience.retry_after
            self._held_since = None
