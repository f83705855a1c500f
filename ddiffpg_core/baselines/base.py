"""What the baselines share: how they collect, what they draw, their twin critics, and how they are kept."""

from __future__ import annotations

import copy
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from ddiffpg_core.actors import Actor, mlp, new_actor
from ddiffpg_core.config import Config
from ddiffpg_core.learner import Learner
from ddiffpg_core.novelty import Novelty
from ddiffpg_core.spec import TaskSpec


@dataclass(frozen=True)
class Transitions:
    """B transitions as features, where ``slot``, ``time`` of the replay they lie; all tensors ``[B, ...]``.

    ``reward`` and ``discount`` are over n steps, ``x_next`` is the state after them, ``x_one`` after the first.
    ``discount`` is zero where the episode terminated, and not where it was cut by the time limit.
    """

    slot: torch.Tensor
    time: torch.Tensor
    x: torch.Tensor
    x_one: torch.Tensor
    x_next: torch.Tensor
    action: torch.Tensor
    reward: torch.Tensor
    discount: torch.Tensor


class TwinCritic(nn.Module):
    """Two networks for Q, each as large as one of DDiffPG's."""

    def __init__(self, features: int, action_dim: int, config: Config) -> None:
        super().__init__()
        widths = [features + action_dim, *config.critic.hidden, 1]
        self.heads = nn.ModuleList([mlp(widths, config.critic.layer_norm) for _ in range(2)])

    def forward(self, x: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """``x [..., F]``, ``action [..., A]`` -> ``[2, ...]``."""
        both = torch.cat([x, action], -1)
        return torch.stack([head(both).squeeze(-1) for head in self.heads])


class Baseline(Learner):
    """An off-policy method with one actor, twin critics and no modes; a subclass says how they learn.

    Data is collected as DDiffPG collects it: the same warm-up, the same noise on every action, and the explorers'
    held noise. Where DDiffPG keeps critics of its own for novelty, the same novelty reward is added to the task's
    here (``explore.bonus``): with a goal that is paid once at the end, nothing would be found without it.
    """

    method: ClassVar[str]
    kept: ClassVar[tuple[str, ...]] = (
        "actor", "slow_actor", "critic", "slow_critic", "novelty", "actor_optimizer", "critic_optimizer")

    def __init__(self, spec: TaskSpec, config: Config, seed: int) -> None:
        super().__init__(spec, config, seed)
        size = self.features.size
        self.actor: Actor = new_actor(self.method, config, size, spec.action_dim).to(self.device)
        self.slow_actor: Actor = copy.deepcopy(self.actor).requires_grad_(False)
        self.critic = TwinCritic(size, spec.action_dim, config).to(self.device)
        self.slow_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.actor_optimizer = torch.optim.Adam(self.actor.parameters(), config.actor.learning_rate, fused=True)
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), config.critic.learning_rate, fused=True)
        self.novelty = Novelty(self.features, config.novelty).to(self.device)
        self.null = torch.zeros(config.actor.embedding_dim, device=self.device)

    # ---- how a method learns ----------------------------------------------------------------------

    @abstractmethod
    def learn(self, batch: Transitions) -> dict[str, torch.Tensor]:
        """One update of critics and actor; returns the losses by name."""

    def update(self) -> dict[str, torch.Tensor]:
        batch = self.batch = self.draw()
        losses = self.learn(batch)
        losses["novelty"] = self.novelty.update(batch.x_one)
        self.updates += 1
        return losses

    def fit_critics(self, batch: Transitions, target: torch.Tensor) -> torch.Tensor:
        """One step of both critics towards ``target [B]``, by squared error; returns the loss."""
        loss = (self.critic(batch.x, batch.action) - target).square().mean(1).sum()
        return step(self.critic_optimizer, loss)

    def noise_like(self, x: torch.Tensor, size: int) -> torch.Tensor:
        """Standard normal numbers ``[..., size]`` for features ``x [..., F]``."""
        return torch.randn((*x.shape[:-1], size), generator=self.noise, device=self.device)

    def null_embedding(self, x: torch.Tensor) -> torch.Tensor:
        """What an actor that could be asked for a mode is given: ``x [..., F]`` -> zeros ``[..., E]``."""
        return self.null.expand(*x.shape[:-1], -1)

    # ---- what it learns from ----------------------------------------------------------------------

    def draw(self) -> Transitions:
        """A batch: n-step returns of task and novelty reward."""
        replay, c = self.replay, self.config.critic
        rows = replay.rows(self._slots(c.batch_size), self.rng)
        length, terminated = (torch.as_tensor(v, device=self.device)[rows.slot]
                              for v in (replay.length, replay.terminated))
        slot, steps = rows.slot[:, None], torch.arange(c.n_step + 1, device=self.device)
        at = torch.minimum(rows.time[:, None] + steps, length[:, None])
        x = self.features(replay.obs[slot, at])
        inside = at[:, 1:] > at[:, :-1]
        begin = at[:, :-1].clamp(max=replay.reward.shape[1] - 1)
        reward = replay.reward[slot, begin]
        if self.config.explore.bonus > 0:
            reward = reward + self.config.explore.bonus * self.novelty.reward(x, replay.enters[slot, begin])
        end = at[:, -1]
        discount = c.gamma ** (end - rows.time) * ~(terminated & (end == length))
        return Transitions(rows.slot, rows.time, x[:, 0], x[:, 1], x[:, -1], replay.action[rows.slot, rows.time],
                           (reward * inside * c.gamma ** steps[:-1]).sum(1), discount)

    def _slots(self, count: int) -> np.ndarray:
        """Trajectories ``[count]``: a part of them successes, as in DDiffPG's batches, as soon as there are any."""
        slots = self.rng.choice(self.replay.collected(), count)
        success = np.flatnonzero(self.replay.live & self.replay.success)
        first = int(count * self.config.replay.success_share)
        if len(success):
            slots[:first] = self.rng.choice(success, first)
        return slots

    # ---- collecting -------------------------------------------------------------------------------

    def _assign(self, env: int) -> None:
        """A role for the next episode, as DDiffPG's: all explore until a goal was found, then the last of them do."""
        found = bool((self.replay.live & self.replay.success).any())
        null = np.zeros(len(self.null), np.float32)
        if found and env < len(self.behaviour.age) * (1.0 - self.config.explore.explorer_share):
            self.behaviour.exploit(env, null[None], np.zeros(1, int), self.rng)
        else:
            self.behaviour.explore(env, null, null if found else None, self.rng)

    def _describe(self, slot: int) -> None:
        """There is nothing to say: no modes, no labels."""

    # ---- keeping ----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {name: dict(getattr(self, name).state_dict()) for name in self.kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        for name in self.kept:
            getattr(self, name).load_state_dict(state[name])


def step(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> torch.Tensor:
    """One step of the optimiser's parameters down ``loss``, which nothing else gets a gradient of; returns the loss."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward(inputs=[p for group in optimizer.param_groups for p in group["params"]])
    optimizer.step()
    return loss.detach()


@torch.no_grad()
def follow(slow: nn.Module, fast: nn.Module, rate: float) -> None:
    """Move the parameters of ``slow`` towards those of ``fast``."""
    torch._foreach_lerp_(list(slow.parameters()), list(fast.parameters()), rate)
