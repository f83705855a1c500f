"""A scripted human at the controls of a base: for the demo and for the benchmark of hand-overs."""

from __future__ import annotations

import numpy as np

SPEED, AHEAD = 0.8, 0.3  # m/s, and metres ahead on the prototype that the human steers for
WAVER, MEMORY = 0.15, 0.8  # m/s of the human's unsteadiness, and how much of it stays from one wish to the next
REACH = 0.5  # m of the way ahead that one wish may skip


class Human:
    """Steers along ``path [P, 2]`` (m) and wavers."""

    def __init__(self, path: np.ndarray, rng: np.random.Generator) -> None:
        self._path, self._rng = path, rng
        self._along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
        self._waver = np.zeros(2)
        self._at = 0.0

    def driven(self, position: np.ndarray) -> float:
        """Metres of the way behind ``position [2]``: never less than before, and never far ahead at once."""
        near = np.flatnonzero((self._along >= self._at - 1e-9) & (self._along <= self._at + REACH))
        if len(near):
            nearest = near[np.linalg.norm(self._path[near] - position, axis=1).argmin()]
            self._at = float(self._along[nearest])
        return self._at

    def share(self, position: np.ndarray) -> float:
        """Which part of the way (0..1) is behind ``position [2]``."""
        return self.driven(position) / float(self._along[-1])

    def wish(self, position: np.ndarray) -> np.ndarray:
        """Velocity ``[2]`` in m/s."""
        target = [np.interp(self.driven(position) + AHEAD, self._along, axis) for axis in self._path.T]
        toward = np.array(target) - position
        self._waver = MEMORY * self._waver + np.sqrt(1 - MEMORY**2) * self._rng.normal(0.0, WAVER, 2)
        return SPEED * toward / max(float(np.linalg.norm(toward)), 1e-9) + self._waver
