"""A trained policy as a function from observations and mode ids to actions."""

from __future__ import annotations

import numpy as np
import torch

from ddiffpg_core.checkpoint import SavedPolicy
from ddiffpg_core.evaluate import Act, KnownMode
from ddiffpg_core.spec import TaskSpec


def act_of(policy: SavedPolicy, spec: TaskSpec, seed: int) -> Act:
    """The policy's own sampler (all denoising steps), its noise drawn from ``seed``."""
    device = next(policy.actor.parameters()).device
    noise = torch.Generator(device).manual_seed(seed)
    table = policy.embeddings()

    def act(obs: np.ndarray, mode: np.ndarray) -> np.ndarray:
        embedding = torch.as_tensor(np.stack([table[int(i)] for i in mode]), device=device)
        x = policy.features(torch.as_tensor(obs, dtype=torch.float32, device=device))
        return spec.action.to_physical(policy.actor.sample(x, embedding, noise).cpu().numpy())

    return act


def known_modes(policy: SavedPolicy) -> list[KnownMode]:
    """The policy's modes, for evaluation."""
    return [KnownMode(m.id, m.prototype) for m in policy.modes]
