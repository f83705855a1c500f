"""Of a few of the actor's own actions the one that a critic holds for the best (Hansen-Estruch et al. 2023)."""

from __future__ import annotations

import torch

from ddiffpg_core.actors import Actor
from ddiffpg_core.critic import CriticEnsemble

ANY = -1
"""In place of a critic's number: whatever action comes first."""


@torch.no_grad()
def choose(critic: CriticEnsemble, whose: torch.Tensor, x: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
    """Of actions ``[N, C, A]`` at features ``x [N, F]`` the best ``[N, A]``, as the critic of group ``whose [N]`` says.

    Where ``whose`` is ANY it is the first.
    """
    chosen = action[:, 0].clone()
    for group in whose.unique().tolist():
        if group != ANY:
            rows = whose == group
            chosen[rows] = critic.at(x[rows][None], group).best(action[rows][None])[0][0]
    return chosen


@torch.no_grad()
def sample_best(actor: Actor, critic: CriticEnsemble, count: int, whose: torch.Tensor, x: torch.Tensor,
                embedding: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
    """Of ``count`` actions of the actor at ``x [N, F]``, asked for ``embedding [N, E]``, the best ``[N, A]``."""
    every = torch.stack([actor.sample(x, embedding, noise) for _ in range(count)], 1)
    return choose(critic, whose, x, every)
