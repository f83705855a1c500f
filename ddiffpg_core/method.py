"""The methods by name."""

from __future__ import annotations

from collections.abc import Callable

from ddiffpg_core.agent import DDiffPG
from ddiffpg_core.baselines.diffusion_ql import DiffusionQL
from ddiffpg_core.baselines.dipo import DIPO
from ddiffpg_core.baselines.sac import SAC
from ddiffpg_core.baselines.td3 import TD3
from ddiffpg_core.config import Config
from ddiffpg_core.learner import Learner
from ddiffpg_core.spec import TaskSpec

MAKERS: dict[str, Callable[[TaskSpec, Config, int], Learner]] = {
    "ddiffpg": DDiffPG, "sac": SAC, "td3": TD3, "dipo": DIPO, "diffusion-ql": DiffusionQL,
}
"""For each of ``config.METHODS``: task, settings and seed -> agent."""


def make_agent(spec: TaskSpec, config: Config, seed: int) -> Learner:
    """An agent of ``config.train.method``."""
    return MAKERS[config.train.method](spec, config, seed)
