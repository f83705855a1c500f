"""Twin delayed deep deterministic policy gradient (Fujimoto et al. 2018, arXiv 1802.09477)."""

from __future__ import annotations

import torch

from ddiffpg_core.actors import DeterministicActor
from ddiffpg_core.baselines.base import Baseline, Transitions, follow, step


class TD3(Baseline):
    """A deterministic actor up the first of two critics, moved less often than they are."""

    method = "td3"
    actor: DeterministicActor
    slow_actor: DeterministicActor

    def learn(self, batch: Transitions) -> dict[str, torch.Tensor]:
        losses = {"critic": self.fit_critics(batch, self.target(batch))}
        if (self.updates + 1) % self.config.td3.policy_delay == 0:
            loss = -self.critic(batch.x, self.actor(batch.x))[0].mean()
            losses["actor"] = step(self.actor_optimizer, loss)
            follow(self.slow_actor, self.actor, self.config.critic.tau)
            follow(self.slow_critic, self.critic, self.config.critic.tau)
        return losses

    @torch.no_grad()
    def target(self, batch: Transitions) -> torch.Tensor:
        """The lower critic at a smoothed action after n steps ``[B]`` (algorithm 1)."""
        noise = self.noise_like(batch.x_next, self.spec.action_dim)
        action = self.smoothed(self.slow_actor(batch.x_next), noise)
        return batch.reward + batch.discount * self.slow_critic(batch.x_next, action).amin(0)

    def smoothed(self, action: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """``action [B, A]`` with clipped ``noise [B, A]``: near actions are to have near values (section 5.3)."""
        c = self.config.td3
        return (action + (noise * c.target_noise).clamp(-c.noise_clip, c.noise_clip)).clamp(-1, 1)
