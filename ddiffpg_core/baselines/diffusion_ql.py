"""Diffusion Q-learning (Wang et al. 2023, arXiv 2208.06193), online: its data set is the replay memory that grows."""

from __future__ import annotations

import torch

from ddiffpg_core.baselines.base import Baseline, Transitions, follow, step
from ddiffpg_core.diffusion import DiffusionActor


class DiffusionQL(Baseline):
    """A diffusion actor that imitates what was done, and climbs the critic through all of its denoising steps.

    Acts and is evaluated by single samples. (The authors evaluate the best of 50 by the critic.)
    """

    method = "diffusion-ql"
    actor: DiffusionActor

    def learn(self, batch: Transitions) -> dict[str, torch.Tensor]:
        critic_loss = self.fit_critics(batch, self.target(batch))
        x, null = batch.x, self.null_embedding(batch.x)
        imitation = self.actor.loss(x, null, batch.action, self.noise)
        action = self.actor.from_noise(self.noise_like(x, self.actor.noise_dim), x, null)
        actor_loss = step(self.actor_optimizer, self.actor_loss(imitation, self.critic(x, action)))
        follow(self.slow_critic, self.critic, self.config.critic.tau)
        follow(self.slow_actor, self.actor, 1.0 - self.config.actor.ema)
        return {"critic": critic_loss, "actor": actor_loss, "imitation": imitation.detach()}

    @torch.no_grad()
    def target(self, batch: Transitions) -> torch.Tensor:
        """The lower critic at the slow actor's action after n steps ``[B]`` (equation 4)."""
        action = self.slow_actor.sample(batch.x_next, self.null_embedding(batch.x_next), self.noise)
        return batch.reward + batch.discount * self.slow_critic(batch.x_next, action).amin(0)

    def actor_loss(self, imitation: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Equation 3 of ``value [2, B]``: Q by its own size, so that its weight means the same on every task.

        One critic is climbed and the other gives the size, in turns (the authors draw which).
        """
        climbed = self.updates % 2
        size = value[1 - climbed].abs().mean().detach()
        return imitation - self.config.diffusion_ql.q_weight * value[climbed].mean() / size
