"""Diffusion policy by action gradients, DIPO (Yang et al. 2023, arXiv 2305.13122)."""

from __future__ import annotations

import torch

from ddiffpg_core.baselines.base import Baseline, Transitions, follow, step
from ddiffpg_core.diffusion import DiffusionActor
from ddiffpg_core.improve import improve
from ddiffpg_core.replay import MODE


class DIPO(Baseline):
    """Actions in memory are moved up one critic, and a diffusion actor imitates them: DDiffPG without its modes."""

    method = "dipo"
    actor: DiffusionActor

    def learn(self, batch: Transitions) -> dict[str, torch.Tensor]:
        critic_loss = self.fit_critics(batch, self.target(batch))
        better = self.improved(batch)
        loss = self.actor.loss(batch.x, self.null_embedding(batch.x), better, self.noise)
        actor_loss = step(self.actor_optimizer, loss)
        follow(self.slow_critic, self.critic, self.config.critic.tau)
        follow(self.slow_actor, self.actor, 1.0 - self.config.actor.ema)
        return {"critic": critic_loss, "actor": actor_loss}

    @torch.no_grad()
    def target(self, batch: Transitions) -> torch.Tensor:
        """The lower critic at the slow actor's action after n steps ``[B]``."""
        action = self.slow_actor.sample(batch.x_next, self.null_embedding(batch.x_next), self.noise)
        return batch.reward + batch.discount * self.slow_critic(batch.x_next, action).amin(0)

    def improved(self, batch: Transitions) -> torch.Tensor:
        """The action gradient (algorithm 2): stored actions moved up the lower critic, and stored again ``[B, A]``."""
        stored = self.replay.target[MODE]
        better = improve(stored[batch.slot, batch.time], lambda a: self.critic(batch.x, a).amin(0),
                         self.config.improve)
        stored[batch.slot, batch.time] = better
        return better
