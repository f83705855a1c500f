"""A trained policy as a function from observations and mode ids to actions, and its evaluation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ddiffpg_core.actors import GaussianActor
from ddiffpg_core.checkpoint import SavedPolicy
from ddiffpg_core.choice import ANY, sample_best
from ddiffpg_core.config import DDIFFPG
from ddiffpg_core.evaluate import Act, KnownMode, Report, evaluate, success_of
from ddiffpg_core.spec import TaskSpec, VecEnv
from ddiffpg_core.ways import share_ways


def act_of(policy: SavedPolicy, spec: TaskSpec, seed: int) -> Act:
    """The policy's own sampler (all denoising steps), its noise drawn from ``seed``."""
    device = next(policy.actor.parameters()).device
    noise = torch.Generator(device).manual_seed(seed)
    table, group = policy.embeddings(), {m.id: i for i, m in enumerate(policy.modes)}

    def act(obs: np.ndarray, mode: np.ndarray) -> np.ndarray:
        embedding = torch.as_tensor(np.stack([table[int(i)] for i in mode]), device=device)
        x = policy.features(torch.as_tensor(obs, dtype=torch.float32, device=device))
        if policy.judges is None:
            action = policy.actor.sample(x, embedding, noise)
        else:
            whose = torch.tensor([group.get(int(i), ANY) for i in mode], device=device)
            count = policy.config.actor.candidates
            action = sample_best(policy.actor, policy.judges, count, whose, x, embedding, noise)
        return spec.action.to_physical(action.cpu().numpy())

    return act


def known_modes(policy: SavedPolicy) -> list[KnownMode]:
    """The policy's modes, for evaluation."""
    return [KnownMode(m.id, m.prototype, m.outcome) for m in policy.modes]


def evaluate_policy(env: VecEnv, policy: SavedPolicy, episodes: int, seed: int) -> Report:
    """``episodes`` a mode and unconditioned, and which ways the unconditioned ones took, by the rule of discovery."""
    ways = share_ways(env.spec, policy.config.modes)
    report = evaluate(env, act_of(policy, env.spec, seed), known_modes(policy), episodes, seed, ways)
    if policy.config.train.method == DDIFFPG:
        return report
    mean = None
    if isinstance(policy.actor, GaussianActor):
        mean = success_of(env, mean_act_of(policy, policy.actor, env.spec), episodes, seed)
    return replace(report, conditioned=False, mean_action_success=mean)


def mean_act_of(policy: SavedPolicy, actor: GaussianActor, spec: TaskSpec) -> Act:
    """The mean of the policy's actions, before they are squashed; modes play no part."""

    device = next(actor.parameters()).device

    @torch.no_grad()
    def act(obs: np.ndarray, mode: np.ndarray) -> np.ndarray:
        mean, _ = actor(policy.features(torch.as_tensor(obs, dtype=torch.float32, device=device)))
        return spec.action.to_physical(mean.tanh().cpu().numpy())

    return act
