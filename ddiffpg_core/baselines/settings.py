"""What the baselines have of their own to set."""

from __future__ import annotations

from dataclasses import dataclass

from ddiffpg_core.strict_yaml import ConfigError


@dataclass(frozen=True)
class SACConfig:
    """Soft actor-critic: the temperature to begin with, and the entropy it is to keep: minus so much an action number.

    The entropy is the authors' (Haarnoja et al. 2018, appendix D). Their temperature begins at 1 with rewards of
    hundreds an episode; goals here pay 1 in all.
    """

    temperature: float = 0.01
    entropy: float = 1.0

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ConfigError(f"sac.temperature is {self.temperature}: expected more than 0")


@dataclass(frozen=True)
class TD3Config:
    """Twin delayed policy gradient: the authors' values (Fujimoto et al. 2018, section 6.1)."""

    policy_delay: int = 2
    target_noise: float = 0.2
    noise_clip: float = 0.5

    def __post_init__(self) -> None:
        if self.policy_delay < 1:
            raise ConfigError(f"td3.policy_delay is {self.policy_delay}: expected 1 or more")


@dataclass(frozen=True)
class DiffusionQLConfig:
    """Diffusion Q-learning: the weight of Q beside imitation (Wang et al. 2023, table 4, most of their tasks)."""

    q_weight: float = 1.0
