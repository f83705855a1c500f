"""Many episodes at once with robots that a description draws: what training and evaluation see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ddiffpg_core.spec import Step

from .batch import BatchedEnv
from .curriculum import Curriculum, Progress
from .dynamics import Dynamics
from .signals import Deviation, Signals
from .start import Start
from .task import Task
from .variation import Variation, first_difference

ROBOT_EPISODES = 12
"""How many episodes that begin one after another have the same robot in training: of fewer models more stay in the
processor's nearest cache. A robot of 64 environments is then gone after some 200 control steps."""


def environment(
    task: Task, num_envs: int, threads: int, variation: Variation | None, training: bool = False
) -> BatchedEnv:
    """Episodes of ``task`` with what ``variation`` says varying, or as the model is where it is None."""
    if variation is None:
        return BatchedEnv(task, num_envs, threads)
    return RandomisedEnv(task, num_envs, threads, variation, training)


class RandomisedEnv(BatchedEnv):
    """As BatchedEnv, with robots out of ``variation``. Each drives ``robot_episodes`` episodes.

    With ``training`` the range grows as the description's curriculum says; without, it is always the full one.
    """

    def __init__(self, task: Task, num_envs: int, threads: int, variation: Variation, training: bool) -> None:
        self.variation = variation
        grows = variation.curriculum if training else None
        self._progress = Progress(grows or Curriculum(start=1.0))
        self._each = ROBOT_EPISODES if training else 1
        self._robot, self._left = Deviation(), 0
        super().__init__(task, num_envs, threads, self._draw)

    def reset(self, seed: int) -> np.ndarray:
        self._progress.begin()
        self._left = 0
        return super().reset(seed)

    def step(self, action: np.ndarray) -> Step:
        step = super().step(action)
        ended = step.done
        if ended.any():
            self._progress.note(int(ended.sum()), int(step.success.sum()))
        return step

    def end(self, step: Step, which: np.ndarray) -> Step:
        self._progress.note(int((which & ~step.done).sum()), 0)
        return super().end(step, which)

    def measures(self) -> dict[str, float]:
        return {"randomise/share": self._progress.share, "randomise/success": self._progress.success}

    def state_dict(self) -> dict[str, Any]:
        robot = {name: dict(vars(getattr(self._robot, name))) for name in ("dynamics", "signals", "start")}
        own = {"variation": self.variation.plain(), "progress": self._progress.state_dict(), "robot": robot,
               "left": self._left}  # fmt: skip
        return super().state_dict() | {"randomised": own}

    def load_state_dict(self, state: dict[str, Any]) -> np.ndarray:
        if "randomised" not in state:
            raise ValueError("saved without a description of what varies, this environment has one")
        own = state["randomised"]
        difference = first_difference(own["variation"], self.variation.plain())
        if difference is not None:
            field, saved, mine = difference
            raise ValueError(f"saved with {field} {saved}, this environment has {mine}")
        self._progress.load_state_dict(own["progress"])
        robot, start = own["robot"], Start(**own["robot"].get("start", {}))  # older checkpoints have none
        self._robot = Deviation(Dynamics(**robot["dynamics"]), Signals(**robot["signals"]), start=start)
        self._left = own["left"]
        return super().load_state_dict(state)

    def _draw(self, rng: np.random.Generator, count: int) -> Sequence[Deviation]:
        drawn = []
        for _ in range(count):
            if not self._left:
                self._robot, self._left = self.variation.draw(rng, self._progress.share), self._each
            self._left -= 1
            drawn.append(self._robot)
        return drawn
