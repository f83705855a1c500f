"""The learning update of DDiffPG as one writes it down first: the same mathematics, one thing after another.

Every head of every critic is an ``nn.Sequential``, every group (exploration, the finder, each mode) has its rows
worked on by itself, gradients are autograd's, optimisers are torch's as they come. Rows are drawn by the agent's own
sampler, and random numbers in the agent's order, so that from the same state both do the same.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import nn

from ddiffpg_core.agent import DDiffPG
from ddiffpg_core.batch import Batch
from ddiffpg_core.critic import CriticEnsemble, project
from ddiffpg_core.diffusion import DiffusionActor
from ddiffpg_core.replay import MODE

Heads = Sequence[nn.Module]
"""The two heads of one critic."""


class PlainUpdate:
    """Works on a copy of ``agent``, and leaves the original as it is."""

    def __init__(self, agent: DDiffPG) -> None:
        self.agent = agent = copy.deepcopy(agent)
        groups = range(agent.critic.online.groups)
        self.online = [[head_of(agent.critic.online, 2 * g + h) for h in (0, 1)] for g in groups]
        self.target = [[head_of(agent.critic.target, 2 * g + h) for h in (0, 1)] for g in groups]
        rate = agent.config.critic.learning_rate
        self.critic_optimizers = [torch.optim.AdamW(nn.ModuleList(heads).parameters(), rate, weight_decay=1e-4)
                                  for heads in self.online]
        self.actor_optimizer = torch.optim.Adam(agent.actor.parameters(), agent.config.actor.learning_rate)
        agent.novelty.optimizer = torch.optim.Adam(agent.novelty.predictor.parameters(),
                                                   agent.config.novelty.learning_rate)

    def update(self) -> dict[str, torch.Tensor]:
        """One update, as :meth:`DDiffPG.update`."""
        agent = self.agent
        batch = agent.sampler.draw(agent.bank.ids, agent._embeddings(), agent.rng)
        random = self._random_actions(batch)
        losses, better = [], []
        for g in range(len(batch.x)):
            target, start = self._target_and_start(batch, g, *(r[g] for r in random))
            losses.append(self._update_critic(g, batch, target))
            better.append(self._within_reach(batch, g, self._improve(g, batch.x[g], start)))
            self._store(batch, g, better[g])
        actor_loss = self._update_actor(batch, better)
        novelty_loss = agent.novelty.update(batch.visited)
        return {"critic": torch.stack(losses).mean(), "actor": actor_loss, "novelty": novelty_loss}

    def _random_actions(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Noise of the actor ``[G, 2 B - home, steps, A]``; random actions for target and start ``[G, ., C, A]``."""
        agent, (groups, b, a) = self.agent, batch.action.shape
        draw = {"generator": agent.noise, "device": agent.device}
        noise = [torch.randn(groups, 2 * b - batch.home, a, **draw) for _ in range(agent.actor.steps)]
        shape = (groups, b - batch.home, agent.config.improve.candidates, a)
        target, start = (2 * torch.rand(shape, **draw) - 1 for _ in range(2))
        return torch.stack(noise, 2), target, start

    @torch.no_grad()
    def _target_and_start(self, batch: Batch, g: int, noise: torch.Tensor, other_next: torch.Tensor,
                          other: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The target distribution ``[B, atoms]`` and where improvement starts ``[B, A]``, of group ``g``."""
        home, b = batch.home, batch.x.shape[1]
        next_action = sample(self.agent.actor, batch.x_next[g], batch.embedding[g], noise[:b])
        away = sample(self.agent.actor, batch.x[g, home:], batch.embedding[g, home:], noise[b:])
        atoms = self.agent.critic.online.atoms
        far = best(self.target[g], atoms, batch.x_next[g, home:], next_action[home:], other_next)
        distribution = lower(self.target[g], atoms, batch.x_next[g], torch.cat([next_action[:home], far]))
        start = torch.cat([batch.target[g, :home], best(self.online[g], atoms, batch.x[g, home:], away, other)])
        start = torch.where(batch.chosen[g][:, None], batch.action[g], start)
        target = project(distribution, batch.reward[g], batch.discount[g], atoms)
        return target, torch.where(batch.own[g][:, None], batch.target[g], start)

    def _update_critic(self, g: int, batch: Batch, target: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of both heads; the slow critic follows."""
        x = torch.cat([batch.x[g], batch.action[g]], -1)
        losses = [-(target * head(x).log_softmax(-1)).sum(-1).mean() for head in self.online[g]]
        loss = losses[0] + losses[1]
        self.critic_optimizers[g].zero_grad()
        loss.backward()
        self.critic_optimizers[g].step()
        for slow, fast in zip(self.target[g], self.online[g]):
            follow(slow, fast, 1 - self.agent.config.critic.tau)
        return loss.detach()

    def _improve(self, g: int, x: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
        """Adam on the action, by the gradient of the lower head's mean."""
        settings, atoms = self.agent.config.improve, self.agent.critic.online.atoms
        action = start.clone().requires_grad_(True)
        optimizer = torch.optim.Adam([action], settings.learning_rate, eps=1e-5)
        for _ in range(settings.steps):
            value = torch.minimum(*means(self.online[g], atoms, x, action)).sum()
            (action.grad,) = torch.autograd.grad(-value, action)
            optimizer.step()
            with torch.no_grad():
                action.clamp_(-1, 1)
        return action.detach()

    def _within_reach(self, batch: Batch, g: int, better: torch.Tensor) -> torch.Tensor:
        """On a mode's own way, and where a row led on, actions stay near what was done."""
        config, done = self.agent.config, batch.action[g]
        if int(batch.kind[g]) == MODE:
            reach = config.improve.reach
            near = torch.minimum(torch.maximum(better, done - reach), done + reach)
            better = torch.where(batch.own[g][:, None], near, better)
        reach = config.guide.reach
        near = torch.minimum(torch.maximum(better, done - reach), done + reach)
        return torch.where(batch.chosen[g][:, None], near, better)

    def _store(self, batch: Batch, g: int, better: torch.Tensor) -> None:
        own, kind = batch.own[g], int(batch.kind[g])
        kept = self.agent.symmetries.back(better, batch.seen[g])[own]
        self.agent.replay.target[kind, batch.rows.slot[g][own], batch.rows.time[g][own]] = kept

    def _update_actor(self, batch: Batch, better: list[torch.Tensor]) -> torch.Tensor:
        """Denoising loss, one group's rows after another; half of a mode's own rows get the null embedding."""
        agent, actor = self.agent, self.agent.actor
        draw = {"generator": agent.noise, "device": agent.device}
        drop = torch.rand(batch.own.shape, **draw) < 0.5
        step = torch.randint(0, actor.steps, batch.own.shape, **draw)
        noise = torch.randn(batch.action.shape, **draw)
        self.actor_optimizer.zero_grad()
        total = torch.zeros((), device=agent.device)
        for g, action in enumerate(better):
            null = drop[g] & batch.own[g] & (batch.kind[g] == MODE)
            embedding = batch.embedding[g] * ~null[:, None]
            keep = actor.keep[step[g]][:, None]
            noisy = keep.sqrt() * action + (1 - keep).sqrt() * noise[g]
            guess = actor.net(torch.cat([batch.x[g], noisy, embedding, actor.time[step[g]]], -1))
            wanted = action if actor.predicts_action else noise[g]
            loss = ((guess - wanted) ** 2 * batch.taught[g][:, None]).mean() / len(better)
            loss.backward()
            total += loss.detach()
        self.actor_optimizer.step()
        follow(agent.slow_actor, actor, agent.config.actor.ema)
        return total


def head_of(ensemble: CriticEnsemble, index: int) -> nn.Sequential:
    """Head ``index`` of the ensemble as a network of its own."""
    layers: list[nn.Module] = []
    for weight, bias in zip(ensemble.weight, ensemble.bias):
        linear = nn.Linear(weight.shape[1], weight.shape[2], device=weight.device)
        with torch.no_grad():
            linear.weight.copy_(weight[index].T)
            linear.bias.copy_(bias[index, 0])
        norm = [nn.LayerNorm(weight.shape[2], elementwise_affine=False)] if ensemble.norm else []
        layers += [linear, *norm, nn.SiLU()]
    return nn.Sequential(*layers[: -2 if ensemble.norm else -1])


@torch.no_grad()
def follow(slow: nn.Module, fast: nn.Module, keep: float) -> None:
    for old, new in zip(slow.parameters(), fast.parameters()):
        old.copy_(keep * old + (1 - keep) * new)


def means(heads: Heads, atoms: torch.Tensor, x: torch.Tensor, action: torch.Tensor) -> list[torch.Tensor]:
    """Each head's expected value of actions ``[..., A]`` at ``x [..., F]``: ``[...]``."""
    both = torch.cat([x, action], -1)
    return [(head(both).softmax(-1) * atoms).sum(-1) for head in heads]


def lower(heads: Heads, atoms: torch.Tensor, x: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
    """The distribution ``[B, atoms]`` of the head with the smaller mean."""
    first, second = (head(torch.cat([x, action], -1)).softmax(-1) for head in heads)
    return torch.where(((first * atoms).sum(-1) < (second * atoms).sum(-1))[:, None], first, second)


def best(heads: Heads, atoms: torch.Tensor, x: torch.Tensor, action: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The best of ``action [B, A]`` and ``other [B, C, A]`` at ``x [B, F]``."""
    every = torch.cat([action[:, None], other], 1)
    value = torch.minimum(*means(heads, atoms, x[:, None].expand(-1, every.shape[1], -1), every))
    return every[torch.arange(len(every), device=every.device), value.argmax(1)]


def sample(actor: DiffusionActor, x: torch.Tensor, embedding: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Ancestral sampling (Ho et al. 2020) with ``noise [B, steps, A]``."""
    action = noise[:, 0]
    for i, k in enumerate(reversed(range(actor.steps))):
        time = actor.time[k].expand(len(x), -1)
        clean = actor.net(torch.cat([x, action, embedding, time], -1))
        keep, before, beta = (float(v[k]) for v in (actor.keep, actor.keep_before, actor.beta))
        if not actor.predicts_action:
            clean = (action - math.sqrt(1 - keep) * clean) / math.sqrt(keep)
        clean = clean.clamp(-1, 1)
        action = (math.sqrt(before) * beta * clean + math.sqrt(1 - beta) * (1 - before) * action) / (1 - keep)
        if k:
            action = action + math.sqrt((1 - before) / (1 - keep) * beta) * noise[:, i + 1]
    return action.clamp(-1, 1)
