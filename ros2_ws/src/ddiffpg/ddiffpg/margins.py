"""Is the robot within what the policy was seen to hold in? Delay and rate of the last second, against the margins.

The policy file has the range of delays and control rates in which every mode still arrived in simulation (the
contract's ``margins``). What is measured here is the age of the state when it is decided on; what the robot itself
takes to do as it is told is not seen from here, and comes in as the parameter ``robot_delay``.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from ddiffpg.contract import Margins
from ddiffpg.decision import ControllerConfig

WINDOW = 1.0  # s
ENOUGH = 3  # ticks, before anything is said of them
SLACK = 0.05  # part of a rate: clocks and timers are not exact


@dataclass(frozen=True)
class Outside:
    """What there is to say of delay and rate (empty where they are within the margins), and whether the policy must
    not drive for that."""

    text: str = ""
    hold: bool = False


WITHIN = Outside()


class MarginWatch:
    """Remembers the ticks of the last second. Without ``margins`` it sees nothing."""

    def __init__(self, margins: Margins | None, config: ControllerConfig) -> None:
        self._margins, self._more, self._hold = margins, config.robot_delay, config.margins_hold
        self._ticks: deque[tuple[float, float]] = deque()

    def look(self, now: float, age: float) -> Outside:
        """At a tick ``now`` (s) by a state of this ``age`` (s)."""
        if self._margins is None:
            return WITHIN
        if self._ticks and now <= self._ticks[-1][0]:  # the clock went back
            self._ticks.clear()
        self._ticks.append((now, age))
        while now - self._ticks[0][0] > WINDOW and len(self._ticks) > ENOUGH:
            self._ticks.popleft()
        if len(self._ticks) < ENOUGH or now - self._ticks[0][0] < WINDOW / 2:
            return WITHIN
        text = "; ".join(filter(None, (self._delay(self._margins), self._rate(self._margins))))
        return Outside(text, self._hold) if text else WITHIN

    def _delay(self, margins: Margins) -> str:
        delay = self._more + sum(age for _, age in self._ticks) / len(self._ticks)
        if delay <= margins.delay:
            return ""
        return f"the delay is {delay:.3f} s: the policy holds up to {margins.delay:g} s"

    def _rate(self, margins: Margins) -> str:
        rate = (len(self._ticks) - 1) / (self._ticks[-1][0] - self._ticks[0][0])
        if (1 - SLACK) * margins.rate_low <= rate <= (1 + SLACK) * margins.rate_high:
            return ""
        return f"commands come at {rate:.3g} Hz: the policy holds from {margins.rate_low:g} to {margins.rate_high:g} Hz"
