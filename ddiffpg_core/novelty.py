"""Novelty of a state by random-network distillation, and the NovelD reward made from it."""

from __future__ import annotations

import torch
from torch import nn

from ddiffpg_core.config import NoveltyConfig


class Novelty(nn.Module):
    """``n(s)``: how badly a trained network predicts a fixed random one (Burda et al. 2018)."""

    spread: torch.Tensor

    def __init__(self, features: int, config: NoveltyConfig) -> None:
        super().__init__()
        self.config = config
        self.predictor = _mlp(features, config)
        self.target = _mlp(features, config).requires_grad_(False)
        self.register_buffer("spread", torch.ones(()))
        self.optimizer = torch.optim.Adam(self.predictor.parameters(), config.learning_rate, fused=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x [..., F]`` -> ``[...]``."""
        return (self.predictor(x) - self.target(x)).norm(dim=-1)

    @torch.no_grad()
    def reward(self, x: torch.Tensor, x_next: torch.Tensor) -> torch.Tensor:
        """NovelD ``max(n(s') - 0.5 n(s), 0)`` (Zhang et al. 2021), by its running spread, clipped.

        Scaled so that its discounted sum stays inside the critic's atoms.
        """
        raw = (self(x_next) - 0.5 * self(x)).clamp(min=0)
        self.spread.lerp_(raw.std(), 0.01)
        return (raw / (self.spread + 1e-6)).clamp(max=self.config.clip) * self.config.scale

    def update(self, x: torch.Tensor) -> torch.Tensor:
        """One step of the predictor on states ``x [B, F]``; returns the loss."""
        loss = nn.functional.mse_loss(self.predictor(x), self.target(x))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


def _mlp(inputs: int, config: NoveltyConfig) -> nn.Sequential:
    widths = [inputs, *config.hidden]
    layers: list[nn.Module] = []
    for a, b in zip(widths[:-1], widths[1:]):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], config.features))
