"""Action improvement: gradient steps on the action, up the critic (paper, equation 5)."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ddiffpg_core.config import ImproveConfig


def improve(action: torch.Tensor, value: Callable[[torch.Tensor], torch.Tensor], config: ImproveConfig) -> torch.Tensor:
    """Adam steps of ``action [..., A]`` (±1) up ``value(action) -> [...]``; returns the improved actions."""

    @torch.enable_grad()
    def gradient(at: torch.Tensor) -> torch.Tensor:
        at = at.detach().requires_grad_(True)
        return torch.autograd.grad(value(at).sum(), at)[0]

    return climb(action, gradient, config)


@torch.no_grad()
def climb(action: torch.Tensor, gradient: Callable[[torch.Tensor], torch.Tensor],
          config: ImproveConfig) -> torch.Tensor:
    """Adam steps of ``action [..., A]`` (±1) along ``gradient(action) -> [..., A]``; returns the improved actions.

    Adam makes the step's length independent of the scale of Q, which spans orders of magnitude between
    near the goal and far from it.
    """
    first, second = torch.zeros_like(action), torch.zeros_like(action)
    for k in range(1, config.steps + 1):
        slope = gradient(action)
        first.lerp_(slope, 0.1)
        second.lerp_(slope.square(), 0.001)
        step = (first / (1 - 0.9**k)) / ((second / (1 - 0.999**k)).sqrt() + 1e-5)
        action = (action + config.learning_rate * step).clamp(-1, 1)
    return action
