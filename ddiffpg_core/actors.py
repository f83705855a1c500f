"""Every kind of actor that a policy may have.

All make an action of noise: ``from_noise(noise [..., noise_dim], x [..., F], embedding [..., E]) -> [..., A]`` in ±1,
where ``x`` are features of the observation. Gaussian and deterministic actors know no modes and do not look at
``embedding``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from ddiffpg_core.config import Config
from ddiffpg_core.diffusion import DiffusionActor

LOG_STD = (-5.0, 2.0)


class GaussianActor(nn.Module):
    """A normal distribution put through tanh (Haarnoja et al. 2018, appendix C)."""

    steps = 1

    def __init__(self, features: int, action_dim: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.action_dim = self.noise_dim = action_dim
        self.net = mlp([features, *hidden, 2 * action_dim])

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation before tanh, ``x [..., F]`` -> ``[..., A]`` each."""
        mean, raw = self.net(x).chunk(2, -1)
        low, high = LOG_STD
        return mean, (low + 0.5 * (high - low) * (raw.tanh() + 1.0)).exp()

    def with_log_prob(self, noise: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The action ``[..., A]`` made of ``noise [..., A]``, and the logarithm of its density ``[...]``."""
        mean, std = self(x)
        raw = mean + std * noise
        normal = -0.5 * noise.square() - std.log() - 0.5 * math.log(2.0 * math.pi)
        # log(1 - tanh(raw)^2), in a form that does not round to log(0)
        squashed = 2.0 * (math.log(2.0) - raw - nn.functional.softplus(-2.0 * raw))
        return raw.tanh(), (normal - squashed).sum(-1)

    def from_noise(self, noise: torch.Tensor, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        mean, std = self(x)
        return (mean + std * noise).tanh()

    def states(self, noise: torch.Tensor, x: torch.Tensor, embedding: torch.Tensor) -> list[torch.Tensor]:
        """Its only step."""
        return [self.from_noise(noise, x, embedding)]

    @torch.no_grad()
    def sample(self, x: torch.Tensor, embedding: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """``x [..., F]`` -> actions ``[..., A]`` in ±1."""
        noise = torch.randn((*x.shape[:-1], self.action_dim), generator=generator, device=x.device)
        return self.from_noise(noise, x, embedding)


class DeterministicActor(nn.Module):
    """One action for each observation."""

    steps = 1
    noise_dim = 0

    def __init__(self, features: int, action_dim: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.action_dim = action_dim
        self.net = mlp([features, *hidden, action_dim])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x [..., F]`` -> actions ``[..., A]`` in ±1."""
        return self.net(x).tanh()

    def from_noise(self, noise: torch.Tensor, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        return self(x)

    def states(self, noise: torch.Tensor, x: torch.Tensor, embedding: torch.Tensor) -> list[torch.Tensor]:
        """Its only step."""
        return [self(x)]

    @torch.no_grad()
    def sample(self, x: torch.Tensor, embedding: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """The action itself."""
        return self(x)


Actor = DiffusionActor | GaussianActor | DeterministicActor


def new_actor(method: str, config: Config, features: int, action_dim: int) -> Actor:
    """An untrained actor of the kind that ``method`` trains."""
    if method == "sac":
        return GaussianActor(features, action_dim, config.actor.hidden)
    if method == "td3":
        return DeterministicActor(features, action_dim, config.actor.hidden)
    return DiffusionActor(features, action_dim, config.actor)


def mlp(widths: Sequence[int], norm: bool = False) -> nn.Sequential:
    """Linear layers of ``widths`` with SiLU between them, with ``norm`` after layer normalisation."""
    layers: list[nn.Module] = []
    for a, b in zip(widths[:-2], widths[1:-1]):
        layers += [nn.Linear(a, b), *([nn.LayerNorm(b, elementwise_affine=False)] if norm else []), nn.SiLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))
