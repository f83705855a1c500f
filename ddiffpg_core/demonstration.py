"""What was shown to a learner instead of being found by it. numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Demonstration:
    """An episode of L steps that reached a goal.

    ``obs [L + 1, O]`` in physical units, ``action [L, A]`` in ±1 as it was really sent, ``reward [L]`` by the task.
    ``counts [L]``: the steps to learn from. The others show where it came from, and what became of it.
    """

    obs: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    counts: np.ndarray

    def __post_init__(self) -> None:
        steps = len(self.action)
        if len(self.obs) != steps + 1 or len(self.reward) != steps or len(self.counts) != steps:
            raise ValueError(f"a demonstration has {steps} actions, {len(self.obs)} observations, {len(self.reward)} "
                             f"rewards and {len(self.counts)} marks: expected one observation more than of the others")
        if not self.counts.any():
            raise ValueError("a demonstration has no step to learn from")
