"""The actor: a diffusion model over actions, conditioned on the observation and a mode embedding."""

from __future__ import annotations

import math

import torch
from torch import nn

from ddiffpg_core.config import ActorConfig


class DiffusionActor(nn.Module):
    """DDPM over actions in ±1 (Ho et al. 2020), epsilon prediction, squared-cosine schedule."""

    def __init__(self, features: int, action_dim: int, config: ActorConfig) -> None:
        super().__init__()
        self.action_dim = action_dim
        self.steps = config.denoising_steps
        self.register_buffer("time", torch.randn(self.steps, config.time_dim))
        widths = [features + action_dim + config.embedding_dim + config.time_dim, *config.hidden]
        layers: list[nn.Module] = []
        for a, b in zip(widths[:-1], widths[1:]):
            layers += [nn.Linear(a, b), nn.SiLU()]
        self.net = nn.Sequential(*layers, nn.Linear(widths[-1], action_dim))
        beta = _cosine_schedule(self.steps)
        keep = torch.cumprod(1 - beta, 0)
        self.register_buffer("beta", beta)
        self.register_buffer("keep", keep)
        self.register_buffer("keep_before", torch.cat([torch.ones(1), keep[:-1]]))

    def epsilon(self, noisy: torch.Tensor, step: torch.Tensor, x: torch.Tensor,
                embedding: torch.Tensor) -> torch.Tensor:
        """The noise in ``noisy [..., A]`` at ``step [...]``, given features ``x [..., F]``, embedding ``[..., E]``."""
        return self.net(torch.cat([x, noisy, embedding, self.time[step]], -1))

    def _clean(self, noisy: torch.Tensor, k: int, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """The estimate of the clean action at denoising step ``k``, clamped to ±1."""
        step = torch.full(noisy.shape[:-1], k, device=noisy.device)
        eps = self.epsilon(noisy, step, x, embedding)
        return ((noisy - (1 - self.keep[k]).sqrt() * eps) / self.keep[k].sqrt()).clamp(-1, 1)

    @torch.no_grad()
    def sample(self, x: torch.Tensor, embedding: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Ancestral sampling: ``x [..., F]``, ``embedding [..., E]`` -> actions ``[..., A]`` in ±1."""
        shape = (*x.shape[:-1], self.action_dim)
        action = torch.randn(shape, generator=generator, device=x.device)
        for k in reversed(range(self.steps)):
            clean = self._clean(action, k, x, embedding)
            rest = 1 - self.keep[k]
            action = (self.keep_before[k].sqrt() * self.beta[k] * clean
                      + (1 - self.beta[k]).sqrt() * (1 - self.keep_before[k]) * action) / rest
            if k:
                spread = ((1 - self.keep_before[k]) / rest * self.beta[k]).sqrt()
                action = action + spread * torch.randn(shape, generator=generator, device=x.device)
        return action.clamp(-1, 1)

    def from_noise(self, noise: torch.Tensor, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """Deterministic sampling (DDIM, eta 0; Song et al. 2021): ``noise [..., A]`` -> actions ``[..., A]``.

        The same noise gives the same action, which is what a student can be taught.
        """
        action = noise
        for k in reversed(range(self.steps)):
            clean = self._clean(action, k, x, embedding)
            eps = (action - self.keep[k].sqrt() * clean) / (1 - self.keep[k]).sqrt()
            action = self.keep_before[k].sqrt() * clean + (1 - self.keep_before[k]).sqrt() * eps
        return action.clamp(-1, 1)

    def loss(self, x: torch.Tensor, embedding: torch.Tensor, target: torch.Tensor,
             generator: torch.Generator) -> torch.Tensor:
        """Denoising loss of the target actions ``[..., A]`` (paper, equation 6)."""
        step = torch.randint(0, self.steps, target.shape[:-1], generator=generator, device=target.device)
        noise = torch.randn(target.shape, generator=generator, device=target.device)
        keep = self.keep[step][..., None]
        noisy = keep.sqrt() * target + (1 - keep).sqrt() * noise
        return nn.functional.mse_loss(self.epsilon(noisy, step, x, embedding), noise)


def _cosine_schedule(steps: int) -> torch.Tensor:
    """Squared-cosine betas (Nichol and Dhariwal 2021)."""
    def level(t: float) -> float:
        return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    return torch.tensor([min(1 - level((i + 1) / steps) / level(i / steps), 0.999) for i in range(steps)])
