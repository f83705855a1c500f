"""Which way to take. The chosen one is kept until it is blocked or given up, or another is asked for.

A blocked way is left at once, unless what blocks it is moving past, or the robot is almost at its end: then
it stops and waits for a while. One that was blocked is taken again only after it has been free for a while, with
room to spare on average: so the robot does not waver between two ways. A way is given up for a while where an
obstacle holds the robot off, or where it drives and comes no nearer to the end. Where a human has driven, the
mode that was begun takes the place of the chosen one.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ddiffpg.contract import Contract, Mode
from ddiffpg.decision import ControllerConfig
from ddiffpg.intent import Intent
from ddiffpg.modes import Way
from ddiffpg.roadmap import TOLERANCE

CHOOSE = -1  # as a forced mode: choose by itself
PROGRESS = 0.1  # m by which a robot must have come nearer, for ways of the tolerance TOLERANCE; in proportion
LEAP = 0.5  # m by which no robot comes nearer in one tick


@dataclass(frozen=True)
class Patience:
    """``hysteresis`` (m) of room and ``dwell`` (s) that reopen a blocked way. Held off by an obstacle for
    ``stuck_after`` (s), or no nearer to the end by ``progress`` (m) within ``progress_time`` (s), a way is given up
    and may be tried again ``retry_after`` (s) later. ``patience`` (s): how long it waits for what moves past;
    ``commit`` (m): so near to the end a way is not given up, and left only after that patience. At most ``changes``
    within ``changes_time`` (s)."""

    hysteresis: float
    dwell: float
    stuck_after: float
    retry_after: float
    progress: float = 0.1
    progress_time: float = math.inf
    patience: float = 0.0
    commit: float = 0.0
    changes: int = 1000
    changes_time: float = 1.0


@dataclass(frozen=True)
class Chances:
    """Of a mode, shares from 0 to 1: ``success`` on its own way, ``returns`` when asked for off it; and the
    ``pace`` (s/m) at which it drives."""

    success: float
    returns: float
    pace: float = 1.0


@dataclass(frozen=True)
class Choice:
    """The mode to follow, None where there is no way, and why."""

    mode: int | None
    reason: str


class _Opening:
    """Of a way that was blocked, since when (s) it is free again, and how much room it has had since then."""

    def __init__(self, now: float) -> None:
        self.since = now
        self._total, self._looks = 0.0, 0

    def see(self, clearance: float, enough: float) -> None:
        """Take in the ``clearance`` (m) of this moment. More than twice of what is ``enough`` (m) counts as that."""
        self._total += min(clearance, 2.0 * enough)
        self._looks += 1

    @property
    def clearance(self) -> float:
        """Metres, on average."""
        return self._total / self._looks


@dataclass(frozen=True)
class Last:
    """How the last tick went: the robot was ``driven`` by the policy, and ``held`` off from what that wanted by
    an obstacle."""

    driven: bool = False
    held: bool = False


class Strategy(Protocol):
    """Says which way is taken. ``present`` is the mode that was chosen last, None where there was none."""

    present: int | None

    def forget_times(self) -> None:
        """The clock has jumped."""
        ...

    def update(self, now: float, ways: Sequence[Way], last: Last) -> frozenset[int]:
        """Which modes may be taken at ``now`` (s), after a ``last`` tick."""
        ...

    def take_up(self, intent: Intent, free: frozenset[int]) -> None:
        """A human has driven and gives command to the policy."""
        ...

    def choose(self, ways: Sequence[Way], free: frozenset[int], forced: int = CHOOSE) -> Choice:
        """The mode to follow now. ``forced`` is the id of the only one allowed, or -1."""
        ...


class Watchdog:
    """Does the robot come on along its way? Counts for how long, driven, it has not come nearer to the end by
    ``distance`` (m). While it is not driven it is not counted, and nothing is forgotten."""

    def __init__(self, distance: float) -> None:
        self._distance = distance
        self._mode: int | None = None
        self._least = self._length = self._since = self._now = math.nan

    def forget(self) -> None:
        self._mode = None

    def idle(self, now: float, way: Way, driven: bool) -> float:
        """Seconds up to ``now`` (s), on the ``way`` that is followed; was the robot ``driven`` since the last call?"""
        if way.id != self._mode:
            self._mode, self._least, self._since = way.id, math.inf, now
        elif not driven:
            self._since += now - self._now
        elif abs(way.length - self._length) > LEAP:  # another way round, not the robot, made the difference
            self._least += way.length - self._length
        self._length, self._now = way.length, now
        if way.length <= self._least - self._distance:
            self._least, self._since = way.length, now
        return now - self._since


class Replanner:
    """Remembers the present mode and what was blocked. ``chances`` are those of each mode."""

    def __init__(self, chances: Mapping[int, Chances], patience: Patience) -> None:
        self._chances = chances
        self._patience = patience
        self._opening: dict[int, _Opening | None] = {}  # of the blocked ones, None while they are
        self._given_up: dict[int, tuple[float, str]] = {}  # until when, and why
        self._held_since: float | None = None
        self._waits_since: float | None = None
        self._watchdog = Watchdog(patience.progress)
        self._changes: deque[float] = deque()
        self._driven: int | None = None  # the mode that was followed last
        self._now = 0.0
        self._by_hand = ""  # what a drive by hand says of the present mode
        self.present: int | None = None

    @classmethod
    def of(cls, contract: Contract, config: ControllerConfig) -> Replanner:
        """For the modes of a ``contract``, as patient as ``config`` says."""
        scale = contract.path_tolerance / TOLERANCE
        patience = Patience(
            config.hysteresis,
            config.dwell,
            config.stuck_after,
            config.retry_after,
            PROGRESS * scale,
            config.progress_time,
            config.patience,
            config.commit_distance * scale,
            config.max_changes,
            config.changes_time,
        )
        return cls({m.id: Chances(m.success, m.returns, _pace(m, contract.rate_hz)) for m in contract.modes}, patience)

    def forget_times(self) -> None:
        """The clock has jumped: what was blocked must be seen free anew."""
        self._opening = dict.fromkeys((*self._opening, *self._given_up))
        self._given_up.clear()
        self._changes.clear()
        self._held_since = self._waits_since = None
        self._watchdog.forget()

    def update(self, now: float, ways: Sequence[Way], last: Last) -> frozenset[int]:
        """Which modes may be taken at ``now`` (s), after a ``last`` tick."""
        self._now = now
        self._give_up_if_stuck(now, _of(ways, self.present), last)
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

    def choose(self, ways: Sequence[Way], free: frozenset[int], forced: int = CHOOSE) -> Choice:
        """The mode to follow now. ``forced`` is the id of the only one allowed, or -1."""
        choice = self._choose(ways, free) if forced == CHOOSE else self._obey(forced, free)
        if choice.mode is not None:
            self._driven = choice.mode
        return choice

    def _obey(self, forced: int, free: frozenset[int]) -> Choice:
        self.present, self._by_hand, self._waits_since = forced if forced in free else None, "", None
        return Choice(self.present, f"mode {forced} is asked for" + ("" if forced in free else " and not free"))

    def _choose(self, ways: Sequence[Way], free: frozenset[int]) -> Choice:
        before = self.present
        if before in free:
            self._waits_since = None
            return Choice(before, f"mode {before} is still free{self._by_hand}")
        waits = self._waits(_of(ways, before))
        if waits:
            return Choice(None, waits)
        self._waits_since = None
        if before is not None:
            self._by_hand = ""
        best = min((way for way in ways if way.id in free), key=self._cost, default=None)
        self.present = None if best is None else best.id
        if best is None:
            return Choice(None, f"no way is free{self._by_hand}")
        if not self._may_change_to(best.id):
            self.present = None
            return Choice(None, f"waits: {len(self._changes)} changes within {self._patience.changes_time:g} s")
        kind = "narrow" if best.narrow else "free"
        shortest = f"mode {best.id} is the best {kind} way ({best.length:.1f} m){self._by_hand}"
        return Choice(best.id, shortest if before is None else f"mode {before} {self._why(before)}, {shortest}")

    def _cost(self, way: Way) -> float:
        """Seconds to go for one success."""
        chances = self._chances[way.id]
        return way.length * chances.pace / max(chances.success if way.on_own else chances.returns, 0.01)

    def _why(self, mode: int) -> str:
        return self._given_up[mode][1] if mode in self._given_up else "is blocked"

    # ---- waiting -----------------------------------------------------------------------------------

    def _waits(self, way: Way | None) -> str:
        """Why the robot should stand and wait for its present ``way``, empty where it should not."""
        if way is None or way.id in self._given_up or way.haste:
            return ""
        near = way.length <= self._patience.commit
        if way.blocked and not way.passing and not near:
            return ""
        if self._waits_since is None:
            if not way.blocked:
                return ""
            self._waits_since = self._now
        if self._now - self._waits_since >= self._patience.patience:
            return ""
        return f"mode {way.id} waits, " + ("almost at its end" if near else "for what moves past")

    def _may_change_to(self, mode: int) -> bool:
        """Notes a change to ``mode``, where there were not too many."""
        if self._driven is None or self._driven == mode:
            return True
        while self._changes and self._changes[0] <= self._now - self._patience.changes_time:
            self._changes.popleft()
        if len(self._changes) >= self._patience.changes:
            return False
        self._changes.append(self._now)
        return True

    # ---- what is free ------------------------------------------------------------------------------

    def _is_open(self, way: Way, now: float) -> bool:
        if way.id in self._given_up and now >= self._given_up[way.id][0]:
            del self._given_up[way.id]
        if way.blocked:
            self._opening[way.id] = None
            return False
        if way.haste:  # to dwell is to be run into
            self._opening.pop(way.id, None)
        return self._is_open_again(way, now) and way.id not in self._given_up

    def _is_open_again(self, way: Way, now: float) -> bool:
        """Has it been free for as long as it must, with room to spare? On average: readings of a wall are noisy."""
        if way.id not in self._opening:
            return True
        opening = self._opening[way.id]
        if opening is None:
            self._opening[way.id] = opening = _Opening(now)
        opening.see(way.clearance, self._patience.hysteresis)
        if now - opening.since < self._patience.dwell:
            return False
        if opening.clearance < self._patience.hysteresis:
            self._opening[way.id] = None
            return False
        del self._opening[way.id]
        return True

    def _give_up_if_stuck(self, now: float, way: Way | None, last: Last) -> None:
        idle = self._idle(now, way, last)
        if not last.held or way is None:
            self._held_since = None
        elif self._held_since is None:
            self._held_since = now
        held = self._held_since is not None and now - self._held_since >= self._patience.stuck_after
        if way is not None and (held or idle >= self._patience_with(way)):
            why = "is held off by an obstacle" if held else f"is stuck (no nearer for {idle:.1f} s)"
            self._given_up[way.id] = now + self._patience.retry_after, why
            self._held_since = None

    def _idle(self, now: float, way: Way | None, last: Last) -> float:
        """Seconds for which the robot, driven, has not come on along its way; zero where it is almost at its end."""
        if way is None or way.length <= self._patience.commit:
            self._watchdog.forget()
            return 0.0
        return self._watchdog.idle(now, way, last.driven)

    def _patience_with(self, way: Way) -> float:
        """Seconds after which a way counts as stuck: sooner where something comes to where the robot stands."""
        rules = self._patience
        return min(rules.stuck_after, rules.progress_time) if way.haste else rules.progress_time


def _of(ways: Sequence[Way], mode: int | None) -> Way | None:
    return next((way for way in ways if way.id == mode), None)


def _pace(mode: Mode, rate_hz: float) -> float:
    """Seconds a metre of a mode's prototype."""
    length = sum(math.dist(a, b) for a, b in zip(mode.path, mode.path[1:]))
    return mode.mean_steps / rate_hz / length if length > 0 else 1.0
