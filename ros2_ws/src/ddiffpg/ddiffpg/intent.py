"""Which mode did a human begin? The path driven by hand against every mode's prototype, by dynamic time warping.

The path may begin and end anywhere on a prototype, since a human may take over in the middle of one. It
is matched forward along it only: who drives back along a way has not begun it. What was driven last
counts most, and what was on no way before is no hindrance. Beside the modes stands "none of them", which
every point fits as badly as one half of the policy's tolerance from a prototype; the confidence in a mode
is its share of the likelihood of all of these. So a path that is near no prototype, or about as near to
two, or too short to tell, gives none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ddiffpg.contract import Contract
from ddiffpg.roadmap import SPACING, TOLERANCE, resample

MEMORY = 20  # points driven that count: older ones fade
SHORTEST = 3  # points, from which on a path says anything
SKIP = 3  # nodes of a prototype that one point may pass over: corners are cut
STAY = 0.5  # what it costs not to come on along a prototype: no more than to be on none
NONE = 0.5  # what a point costs that is on no prototype: half the square of its distance from one, in half tolerances
ENTER = 1.0  # what it costs to come onto a prototype from where one was on none
AHEAD = 0.3  # s for which a path is taken to go on as it goes where it is handed over: ways may be just parting there
ALIKE = 0.1  # a mode is possible that is so likely in terms of the likeliest


@dataclass(frozen=True)
class Intent:
    """What a path driven by hand says. ``mode`` is the id of the mode that was begun, None where that is not
    clear, and ``confidence`` (0..1) that of the likeliest; ``possible`` are the ids of all that it may have been."""

    mode: int | None
    confidence: float
    possible: frozenset[int]
    reason: str


class IntentTracker:
    """Follows a path driven by hand. ``threshold`` is the confidence from which on a mode counts as begun.

    A point is taken in every ``spacing`` metres and costs one pass over the nodes of all prototypes.
    """

    def __init__(self, contract: Contract, threshold: float) -> None:
        scale = contract.path_tolerance / TOLERANCE
        self.spacing = SPACING * scale
        self._ids, self._threshold = contract.mode_ids, threshold
        self._near, self._jump = 0.5 * contract.path_tolerance, contract.path_tolerance
        self._fade = 1.0 - 1.0 / MEMORY
        self._nodes = _padded([_nodes(mode.path, self.spacing) for mode in contract.modes])
        self.forget()

    def forget(self) -> None:
        """A new path begins with the next point."""
        self._last: np.ndarray | None = None
        self._cost = np.zeros(self._nodes.shape[:2])
        self._points, self._weight = 0, 0.0
        self._found: Intent | None = None

    @property
    def begun(self) -> bool:
        """Has anything been driven?"""
        return self._last is not None

    def add(self, position: np.ndarray) -> None:
        """The robot is at ``position [D]`` (m, finite). A leap of more than the policy's tolerance begins anew."""
        if self._last is not None and math.dist(position, self._last) > self._jump:
            self.forget()
        if self._last is None:
            self._take(np.array(position, float))
            return
        while (apart := math.dist(position, self._last)) >= self.spacing:
            self._take(self._last + (position - self._last) * (self.spacing / apart))

    def go_on(self, position: np.ndarray, velocity: np.ndarray) -> None:
        """The path ends at ``position [D]`` (m), and would go on at ``velocity [D]`` (m/s), where that is known.

        Where too little was driven to tell, what would come of it does not either.
        """
        step = AHEAD * velocity
        length = float(np.linalg.norm(step))
        if self._points >= SHORTEST and math.isfinite(length):
            self.add(position + step * min(1.0, self._near / max(length, self._near)))

    def intent(self) -> Intent:
        """What the path so far says."""
        if self._found is None:
            self._found = self._judge()
        return self._found

    def _take(self, point: np.ndarray) -> None:
        """One more point: every node gets the least cost of a path that ends there (Viterbi's recursion)."""
        offset = (self._nodes - point) / self._near
        here = 0.5 * np.einsum("kpi,kpi->kp", offset, offset)
        if self._points:
            before = self._fade * np.minimum(self._cost, NONE * self._weight + ENTER)
            best = before + STAY
            for skip in range(1, min(SKIP, here.shape[1] - 1) + 1):
                best[:, skip:] = np.minimum(best[:, skip:], before[:, :-skip])
            here += best
        self._cost, self._last, self._found = here, point, None
        self._points, self._weight = self._points + 1, 1.0 + self._fade * self._weight

    def _judge(self) -> Intent:
        if self._points < SHORTEST:
            driven = max(self._points - 1, 0) * self.spacing
            return Intent(None, 0.0, frozenset(self._ids), f"too little was driven by hand to tell ({driven:.2g} m)")
        costs = np.append(self._cost.min(axis=1), NONE * self._weight)
        likely = np.exp(costs.min() - costs)
        *shares, nothing = (likely / likely.sum()).tolist()
        best = max(shares)
        if nothing >= best:
            return Intent(None, best, frozenset(), "what was driven by hand is near no mode")
        possible = [mode for mode, share in zip(self._ids, shares) if share >= ALIKE * best]
        if best < self._threshold:
            return Intent(None, best, frozenset(possible), f"by hand, {_maybe(possible)} (confidence {best:.2f})")
        mode = self._ids[shares.index(best)]
        return Intent(mode, best, frozenset(possible), f"mode {mode} was begun by hand (confidence {best:.2f})")


def _maybe(possible: Sequence[int]) -> str:
    if len(possible) == 1:
        return f"mode {possible[0]} was perhaps begun"
    return f"modes {', '.join(map(str, possible[:-1]))} and {possible[-1]} begin alike"


def _nodes(path: Sequence[Sequence[float]], spacing: float) -> np.ndarray:
    points = np.array(path, float)
    return resample(points, np.zeros(len(points)), spacing)[0]


def _padded(paths: Sequence[np.ndarray]) -> np.ndarray:
    """``[K, P, D]``: the nodes of all prototypes; what the shorter ones lack is infinitely far."""
    table = np.full((len(paths), max(map(len, paths)), paths[0].shape[1]), math.inf)
    for row, path in zip(table, paths):
        row[: len(path)] = path
    return table
