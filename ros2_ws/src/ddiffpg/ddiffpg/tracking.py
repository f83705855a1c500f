"""How obstacles move: velocities from where each was seen to be, one after another."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

Point = tuple[float, float]

NEWS = 0.4  # share of a new velocity in what is believed
SHORTEST, LONGEST = 1e-3, 1.0  # s between two sightings that tell a velocity
FASTEST = 5.0  # m/s: what seems faster was put somewhere else


@dataclass(frozen=True)
class _Sighting:
    stamp: float
    at: Point
    velocity: Point
    known: bool  # is there a velocity yet?


class Tracker:
    """Remembers where each obstacle was, by an id that stays the same."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, _Sighting] = {}

    def see(self, key: Hashable, stamp: float, at: Point) -> None:
        """At ``stamp`` (s) the obstacle was ``at`` (x, y in m)."""
        last = self._seen.get(key)
        if last is not None and 0 <= stamp - last.stamp < SHORTEST:
            return
        self._seen[key] = _Sighting(stamp, at, *_velocity(last, stamp, at))

    def velocities(self, keys: Iterable[Hashable], now: float) -> tuple[Point, ...]:
        """Of each of ``keys`` at ``now`` (s), in m/s; zero where none is known. Others are forgotten."""
        self._seen = {key: self._seen[key] for key in keys if key in self._seen} if self._seen else {}
        return tuple(self._of(key, now) for key in keys)

    def _of(self, key: Hashable, now: float) -> Point:
        seen = self._seen.get(key)
        return (0.0, 0.0) if seen is None or now - seen.stamp > LONGEST else seen.velocity


def _velocity(last: _Sighting | None, stamp: float, at: Point) -> tuple[Point, bool]:
    """What is believed after another sighting, and whether it comes from any two of them."""
    if last is None or not SHORTEST <= stamp - last.stamp <= LONGEST:
        return (0.0, 0.0), False
    vx, vy = ((b - a) / (stamp - last.stamp) for a, b in zip(last.at, at))
    if vx * vx + vy * vy > FASTEST**2:
        return (0.0, 0.0), False
    share, (x, y) = NEWS if last.known else 1.0, last.velocity
    return (x + share * (vx - x), y + share * (vy - y)), True
