"""Is this a state that the policy knows? How far the observation is from those that it was seen to arrive from.

A policy gives some action everywhere, also where it never was: a robot that was carried away, another unit,
a field in another's place. The policy file has observations from its own drives to the goal (the contract's
``known_states``); the distance to the nearest of them, in terms of what is usual, says how strange a state is. Where
there are many numbers a strange place is lost among them, so places are compared by themselves as well.
This sees states, not what comes of them: it is no proof that the policy arrives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ddiffpg.contract import KnownStates
from ddiffpg.decision import ControllerConfig


@dataclass(frozen=True)
class Seen:
    """What was made of one state: its ``distance`` from known ones in terms of what is usual (NaN where nobody
    looked), what there is to say of it (empty where it is known), and whether the policy must not drive in it."""

    distance: float = math.nan
    text: str = ""
    hold: bool = False


UNSEEN = Seen()


class Nearest:
    """Distance of observations from the nearest known one, in terms of what is usual.

    Or that of their place from the nearest known place in terms of ``tolerance`` (in the path's unit), whichever is
    more. ``path`` are the places' columns; without any, places are not compared by themselves.
    """

    def __init__(self, known: KnownStates, path: Sequence[int] = (), tolerance: float = math.inf) -> None:
        centers = np.array(known.centers)
        self._path, self._tolerance, self._places = list(path), tolerance, centers[:, list(path)]
        self._scale = np.array(known.scale) * known.usual
        self._centers = centers / self._scale

    def __call__(self, observation: np.ndarray) -> float:
        """Of ``observation [O]``, in physical units."""
        strange = _nearest(self._centers, observation / self._scale)
        return max(strange, _nearest(self._places, observation[self._path]) / self._tolerance)


def _nearest(known: np.ndarray, point: np.ndarray) -> float:
    """From ``point [D]`` to the nearest of ``known [K, D]``."""
    gap = known - point
    return math.sqrt(float(np.einsum("kd,kd->k", gap, gap).min()))


class Watch:
    """Remembers for how long states have been strange. Without ``known`` states it sees nothing.

    ``path`` and ``tolerance`` as for :class:`Nearest`.
    """

    def __init__(self, known: KnownStates | None, config: ControllerConfig, path: Sequence[int] = (),
                 tolerance: float = math.inf) -> None:
        self._nearest = None
        if known is not None and config.unknown_warn != 0.0:
            self._nearest = Nearest(known, path, tolerance)
        self._warn, self._after = config.unknown_warn, config.unknown_hold_after
        self._hold = config.unknown_hold or math.inf
        self._since: float | None = None
        self._holding = False

    def look(self, now: float, observation: np.ndarray) -> Seen:
        """At ``observation [O]`` (finite, physical units), ``now`` in s. Once it holds, it does so until the state
        would not even be warned of."""
        if self._nearest is None:
            return UNSEEN
        distance = self._nearest(observation)
        self._since = self._begun(now) if distance > self._hold else None
        lasts = self._since is not None and now - self._since >= self._after
        self._holding = distance > self._warn and (self._holding or lasts)
        text = f"the state is unknown: {distance:.1f} times as far from what the policy knows as usual"
        return Seen(distance, text if distance > self._warn else "", self._holding)

    def _begun(self, now: float) -> float:
        """Since when it is too strange; anew where the clock went back."""
        return now if self._since is None or self._since > now else self._since
