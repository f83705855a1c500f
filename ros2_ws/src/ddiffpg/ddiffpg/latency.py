"""How long each stage of a control tick takes, and whether ticks come in time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np


class Stopwatch:
    """Seconds that each stage of a tick took; ``clock`` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last = clock()
        self.seconds: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        now = self._clock()
        self.seconds[stage] = now - self._last
        self._last = now


@dataclass(frozen=True)
class StageSummary:
    """Milliseconds that one stage took: median, 99th percentile and worst of the last ``count`` ticks."""

    p50: float
    p99: float
    worst: float
    count: int


class StageTimes:
    """The last ``window`` durations of every stage."""

    def __init__(self, window: int = 1000) -> None:
        self._window = window
        self._seconds: dict[str, deque[float]] = {}

    def add(self, stage_seconds: Mapping[str, float]) -> None:
        """Durations of one tick, in seconds by stage."""
        for stage, seconds in stage_seconds.items():
            self._seconds.setdefault(stage, deque(maxlen=self._window)).append(seconds)

    def summary(self) -> dict[str, StageSummary]:
        """Stage -> summary, in the order in which stages first came."""
        return {stage: _summarise(list(seconds)) for stage, seconds in self._seconds.items()}


class Deadlines:
    """Counts ticks and missed deadlines: ticks that took longer than a ``period`` (s), and periods that passed without
    a tick. A period that passed in a tick that took too long is one of the two, not both."""

    def __init__(self, period: float) -> None:
        self.period = period
        self.ticks = 0
        self.missed = 0
        self._last_start: float | None = None
        self._last_seconds = 0.0

    @property
    def faults(self) -> tuple[str, ...]:
        """That the last tick took longer than a period, in one sentence."""
        if not self._late(self._last_seconds):
            return ()
        return (f"the last tick took {self._last_seconds * 1e3:.0f} ms of {self.period * 1e3:g}: deadlines are missed",)

    def _late(self, seconds: float) -> bool:
        return seconds > self.period

    def tick(self, started: float, ended: float) -> None:
        """One tick ran from ``started`` to ``ended`` (seconds of a steady clock)."""
        self.ticks += 1
        if self._last_start is not None:
            passed = round((started - self._last_start) / self.period) - 1
            self.missed += max(0, passed - self._late(self._last_seconds))
        self.missed += self._late(ended - started)
        self._last_start, self._last_seconds = started, ended - started


def _summarise(seconds: list[float]) -> StageSummary:
    p50, p99 = np.percentile(seconds, (50, 99)) * 1e3
    return StageSummary(float(p50), float(p99), max(seconds) * 1e3, len(seconds))
