"""What the baselines share: how they collect, what they draw, their twin critics, and how they are kept."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from ddiffpg_core.actors import Actor, mlp, new_actor
from ddiffpg_core.behaviour import Behaviour
from ddiffpg_core.config import Config
from ddiffpg_core.features import Features
from ddiffpg_core.modes import Mode
from ddiffpg_core.novelty import Novelty
from ddiffpg_core.replay import Replay
from ddiffpg_core.spec import Step, TaskSpec


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


class Baseline(ABC):
    """An off-policy method with one actor, twin critics and no modes; a subclass says how they learn.

    Data is collected as DDiffPG collects it: the same warm-up, the same noise on every action, and the explorers'
    held noise. Where DDiffPG keeps critics of its own for novelty, the same novelty reward is added to the task's
    here (``explore.bonus``): with a goal that is paid once at the end, nothing would be found without it.
    """

    method: ClassVar[str]
    kept: ClassVar[tuple[str, ...]] = (
        "actor", "slow_actor", "critic", "slow_critic", "novelty", "actor_optimizer", "critic_optimizer")

    def __init__(self, spec: TaskSpec, config: Config, seed: int) -> None:
        self.spec, self.config = spec, config
        self.device = torch.device(config.train.device)
        torch.manual_seed(seed)
        self.rng = np.random.default_rng(seed)
        self.noise = torch.Generator(self.device).manual_seed(seed)
        self.features = Features(spec).to(self.device)
        size = self.features.size
        self.actor: Actor = new_actor(self.method, config, size, spec.action_dim).to(self.device)
        self.slow_actor: Actor = copy.deepcopy(self.actor).requires_grad_(False)
        self.critic = TwinCritic(size, spec.action_dim, config).to(self.device)
        self.slow_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.actor_optimizer = torch.optim.Adam(self.actor.parameters(), config.actor.learning_rate, fused=True)
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), config.critic.learning_rate, fused=True)
        self.novelty = Novelty(self.features, config.novelty).to(self.device)
        n, e = config.train.num_envs, config.actor.embedding_dim
        self.null = torch.zeros(e, device=self.device)
        cell = config.novelty.cell * spec.path_tolerance
        self.replay = Replay(spec, config.replay.trajectories, n, config.modes.path_points, self.device, cell)
        self.behaviour = Behaviour(n, e, spec.max_steps, config.explore)
        self.cells: set[tuple[int, ...]] = set()
        self.fade = 1.0
        self.transitions = self.updates = 0
        self.batch: Transitions | None = None  # what the last update learned from

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

    def begin(self, obs: np.ndarray) -> None:
        self.replay.start(torch.as_tensor(obs, device=self.device), self.behaviour.explorer)
        for env in range(len(obs)):
            self._assign(env)

    def act(self, obs: np.ndarray) -> np.ndarray:
        """Behaviour: ``obs [N, O]`` -> actions ``[N, A]`` in ±1, random while warming up."""
        if self.transitions < self.config.train.warmup_iterations * len(obs):
            self.behaviour.disturb(np.zeros((len(obs), self.spec.action_dim)), self.rng)
            return self.rng.uniform(-1, 1, (len(obs), self.spec.action_dim)).astype(np.float32)
        x = self.features(torch.as_tensor(obs, device=self.device))
        action = self.actor.sample(x, self.null_embedding(x), self.noise)
        return self.behaviour.disturb(action.cpu().numpy(), self.rng)

    def observe(self, action: np.ndarray, step: Step) -> None:
        """Keep what happened; where an episode ended, begin the next."""
        ended = self.replay.append(torch.as_tensor(action, device=self.device), step)
        self.transitions += len(action)
        cells = np.round(step.final_obs[:, self.spec.path_columns] / self.spec.path_tolerance).astype(int)
        self.cells.update(map(tuple, cells.tolist()))
        obs = torch.as_tensor(step.obs, device=self.device)
        for env in ended:
            self.replay.close(env, step)
            self._assign(env)
            self.replay.reopen(env, obs[env], bool(self.behaviour.explorer[env]), self.rng)

    def _assign(self, env: int) -> None:
        """A role for the next episode, as DDiffPG's: all explore until a goal was found, then the last of them do."""
        found = bool((self.replay.live & self.replay.success).any())
        null = np.zeros(len(self.null), np.float32)
        if found and env < len(self.behaviour.age) * (1.0 - self.config.explore.explorer_share):
            self.behaviour.exploit(env, null[None], np.zeros(1, int), self.rng)
        else:
            self.behaviour.explore(env, null, null if found else None, self.rng)

    # ---- what every agent has ---------------------------------------------------------------------

    @property
    def modes(self) -> tuple[Mode, ...]:
        return ()

    def rediscover_modes(self) -> None:
        """There are none."""
        return

    @property
    def settled(self) -> bool:
        return self.fade < 1.0

    def schedule(self, progress: float) -> None:
        """Let learning rates fade over the last part of training, as DDiffPG's do."""
        start = self.config.train.fade_from
        self.fade = 1.0 if progress <= start else 1.0 - 0.9 * (progress - start) / (1.0 - start)
        for optimizer, rate in ((self.actor_optimizer, self.config.actor.learning_rate),
                                (self.critic_optimizer, self.config.critic.learning_rate)):
            for group in optimizer.param_groups:
                group["lr"] = rate * self.fade

    def measures(self) -> dict[str, float]:
        held = int((self.replay.live & self.replay.success).sum())
        return {"trajectories": self.replay.finished, "successes_held": held, "coverage_cells": len(self.cells)}

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on exactly from here."""
        return {
            **{name: dict(getattr(self, name).state_dict()) for name in self.kept},
            "novelty_optimizer": self.novelty.optimizer.state_dict(), "replay": self.replay.state_dict(),
            "behaviour": self.behaviour.state_dict(), "cells": sorted(map(list, self.cells)),
            "transitions": self.transitions, "updates": self.updates, "rng": self.rng.bit_generator.state,
            "noise": self.noise.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in self.kept:
            getattr(self, name).load_state_dict(state[name])
        self.novelty.optimizer.load_state_dict(state["novelty_optimizer"])
        self.replay.load_state_dict(state["replay"])
        self.behaviour.load_state_dict(state["behaviour"])
        self.cells = set(map(tuple, state["cells"]))
        self.transitions, self.updates = state["transitions"], state["updates"]
        self.rng.bit_generator.state = state["rng"]
        self.noise.set_state(state["noise"])


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
