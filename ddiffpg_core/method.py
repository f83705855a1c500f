"""What the training loop expects of a method, and the methods by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch

from ddiffpg_core.actors import Actor
from ddiffpg_core.agent import DDiffPG
from ddiffpg_core.baselines.diffusion_ql import DiffusionQL
from ddiffpg_core.baselines.dipo import DIPO
from ddiffpg_core.baselines.sac import SAC
from ddiffpg_core.baselines.td3 import TD3
from ddiffpg_core.config import Config
from ddiffpg_core.features import Features
from ddiffpg_core.modes import Change, Mode
from ddiffpg_core.replay import Replay
from ddiffpg_core.spec import Step, TaskSpec


class Agent(Protocol):
    """Something that learns: it acts, observes what came of it, and updates.

    Its policy, for others to evaluate, is ``slow_actor`` on ``features`` of the observation, conditioned on one of
    ``modes`` or on none. Methods without modes have none, and ``rediscover_modes`` does nothing.
    """

    transitions: int
    updates: int

    @property
    def spec(self) -> TaskSpec: ...

    @property
    def features(self) -> Features: ...

    @property
    def slow_actor(self) -> Actor: ...

    @property
    def replay(self) -> Replay: ...

    @property
    def batch(self) -> Any:
        """What the last update learned from, a dataclass of tensors; None before the first."""
        ...

    @property
    def modes(self) -> tuple[Mode, ...]: ...

    @property
    def settled(self) -> bool:
        """Whether nothing new is to be begun, modes above all: training comes to its end."""
        ...

    def begin(self, obs: np.ndarray) -> None:
        """First observation of every environment ``[N, O]``."""
        ...

    def act(self, obs: np.ndarray) -> np.ndarray:
        """Behaviour: ``obs [N, O]`` -> actions ``[N, A]`` in ±1."""
        ...

    def observe(self, action: np.ndarray, step: Step) -> None:
        """Keep what ``action [N, A]`` led to."""
        ...

    def schedule(self, progress: float) -> None:
        """Training is so far, from 0 to 1."""
        ...

    def rediscover_modes(self) -> Change | None: ...

    def update(self) -> dict[str, torch.Tensor]:
        """One update from a batch; returns the losses by name."""
        ...

    def measures(self) -> dict[str, float]:
        """What is worth plotting; ``coverage_cells`` is how many cells of the task's paths were visited."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on exactly from here."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


MAKERS: dict[str, Callable[[TaskSpec, Config, int], Agent]] = {
    "ddiffpg": DDiffPG, "sac": SAC, "td3": TD3, "dipo": DIPO, "diffusion-ql": DiffusionQL,
}
"""For each of ``config.METHODS``: task, settings and seed -> agent."""


def make_agent(spec: TaskSpec, config: Config, seed: int) -> Agent:
    """An agent of ``config.train.method``."""
    return MAKERS[config.train.method](spec, config, seed)
