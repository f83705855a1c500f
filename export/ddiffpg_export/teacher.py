"""The teacher's deterministic map from noise to action, and what of it a student is taught."""

from __future__ import annotations

import torch

from ddiffpg_core.diffusion import DiffusionActor


def ddim_states(
    actor: DiffusionActor, noise: torch.Tensor, x: torch.Tensor, embedding: torch.Tensor
) -> list[torch.Tensor]:
    """``DiffusionActor.from_noise`` with what comes between: the state after each denoising step, the action last.

    ``noise [B, A]``, features ``x [B, F]``, ``embedding [B, E]`` -> as many ``[B, A]`` as there are steps.
    """
    states, z = [], noise
    for k in reversed(range(actor.steps)):
        keep, before = actor.get_buffer("keep")[k], actor.get_buffer("keep_before")[k]
        step = torch.full(z.shape[:-1], k, device=z.device)
        clean = ((z - (1 - keep).sqrt() * actor.epsilon(z, step, x, embedding)) / keep.sqrt()).clamp(-1, 1)
        z = before.sqrt() * clean + (1 - before).sqrt() * (z - keep.sqrt() * clean) / (1 - keep).sqrt()
        states.append(z)
    return [*states[:-1], states[-1].clamp(-1, 1)]
