"""How near a student is to its teacher: the same noise, and the whole distribution over actions."""

from __future__ import annotations

import torch

from ddiffpg_core.checkpoint import SavedPolicy
from ddiffpg_export.student import ModeError, Student, student_actions

PAIRS, STATES, SAMPLES = 8192, 256, 64
FAR = 0.5


@torch.no_grad()
def mode_errors(policy: SavedPolicy, network: Student | None, held: torch.Tensor, seed: int) -> dict[int, ModeError]:
    """For each mode and unconditioned (-1), on held-out states ``held [M, O]``; None is the teacher itself."""
    return {i: _mode_error(policy, network, held, torch.as_tensor(e), seed) for i, e in policy.embeddings().items()}


def _mode_error(
    policy: SavedPolicy, network: Student | None, held: torch.Tensor, embedding: torch.Tensor, seed: int
) -> ModeError:
    random = torch.Generator().manual_seed(seed + 1)
    obs = held[torch.randint(len(held), (PAIRS,), generator=random)]
    noise = torch.randn(PAIRS, policy.actor.noise_dim, generator=random)
    asked = embedding.expand(PAIRS, -1)
    gap = student_actions(policy, network, obs, asked, noise) - student_actions(policy, None, obs, asked, noise)
    obs = obs[:STATES].repeat_interleave(SAMPLES, 0)
    asked = embedding.expand(len(obs), -1)
    ours = student_actions(policy, network, obs, asked, torch.randn(len(obs), noise.shape[1], generator=random))
    theirs, again = (policy.actor.sample(policy.features(obs), asked, random) for _ in range(2))
    return ModeError(
        rms=gap.square().mean().sqrt().item(),
        far=(gap.abs().amax(-1) > FAR).float().mean().item(),
        distance=wasserstein(ours, theirs),
        distance_floor=wasserstein(again, theirs),
    )


def wasserstein(a: torch.Tensor, b: torch.Tensor) -> float:
    """Mean over states and components, of ``SAMPLES`` actions of each state: ``a``, ``b [STATES * SAMPLES, A]``."""
    a, b = (t.reshape(-1, SAMPLES, t.shape[-1]).sort(1).values for t in (a, b))
    return (a - b).abs().mean().item()
