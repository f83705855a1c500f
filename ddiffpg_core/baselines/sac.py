"""Soft actor-critic with a learned temperature (Haarnoja et al. 2018, arXiv 1812.05905)."""

from __future__ import annotations

import math

import torch
from torch import nn

from ddiffpg_core.actors import GaussianActor
from ddiffpg_core.baselines.base import Baseline, Transitions, follow, step
from ddiffpg_core.config import Config
from ddiffpg_core.spec import TaskSpec


class Temperature(nn.Module):
    """``alpha``, what entropy is worth; kept as its logarithm, so that it stays positive."""

    def __init__(self, first: float) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor(math.log(first)))

    def forward(self) -> torch.Tensor:
        return self.log.exp()


class SAC(Baseline):
    """A Gaussian actor that is paid for entropy too."""

    method = "sac"
    kept = (*Baseline.kept, "temperature", "temperature_optimizer")
    actor: GaussianActor

    def __init__(self, spec: TaskSpec, config: Config, seed: int) -> None:
        super().__init__(spec, config, seed)
        self.temperature = Temperature(config.sac.temperature).to(self.device)
        self.temperature_optimizer = torch.optim.Adam(self.temperature.parameters(), config.actor.learning_rate)
        self.least_entropy = -config.sac.entropy * spec.action_dim

    def learn(self, batch: Transitions) -> dict[str, torch.Tensor]:
        critic_loss = self.fit_critics(batch, self.target(batch))
        action, log_prob = self.actor.with_log_prob(self.noise_like(batch.x, self.spec.action_dim), batch.x)
        actor_loss = step(self.actor_optimizer, self.actor_loss(batch.x, action, log_prob))
        temperature_loss = step(self.temperature_optimizer, self.temperature_loss(log_prob.detach()))
        follow(self.slow_critic, self.critic, self.config.critic.tau)
        follow(self.slow_actor, self.actor, 1.0 - self.config.actor.ema)
        return {"critic": critic_loss, "actor": actor_loss, "temperature": temperature_loss}

    @torch.no_grad()
    def target(self, batch: Transitions) -> torch.Tensor:
        """The soft value (equations 3 and 5) of the lower critic after n steps ``[B]``."""
        action, log_prob = self.actor.with_log_prob(self.noise_like(batch.x_next, self.spec.action_dim), batch.x_next)
        value = self.slow_critic(batch.x_next, action).amin(0) - self.temperature() * log_prob
        return batch.reward + batch.discount * value

    def actor_loss(self, x: torch.Tensor, action: torch.Tensor, log_prob: torch.Tensor) -> torch.Tensor:
        """Equation 9: high value, and high entropy at the price ``alpha``."""
        return (self.temperature().detach() * log_prob - self.critic(x, action).amin(0)).mean()

    def temperature_loss(self, log_prob: torch.Tensor) -> torch.Tensor:
        """Equation 18: dearer where the entropy ``-log_prob`` falls short of what it is to keep."""
        return -self.temperature() * (log_prob + self.least_entropy).mean()
