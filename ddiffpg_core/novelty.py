"""Novelty of a state by random-network distillation, and the NovelD reward made from it."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from ddiffpg_core.config import NoveltyConfig
from ddiffpg_core.features import Features

_ROWS = 128  # networks see a multiple of it: oneDNN makes code anew for each number of rows


class Novelty(nn.Module):
    """``n(s)``: how badly a trained network predicts a fixed random one (Burda et al. 2018)."""

    spread: torch.Tensor

    def __init__(self, features: Features, config: NoveltyConfig) -> None:
        super().__init__()
        self.config = config
        seen = sorted({*features.path_columns, *features.outcome_columns})
        self.columns = seen if config.sees == "path" else list(range(features.size))
        self.predictor = _mlp(len(self.columns), config)
        self.target = _mlp(len(self.columns), config).requires_grad_(False)
        self.register_buffer("spread", torch.ones(()))
        self.optimizer = torch.optim.Adam(self.predictor.parameters(), config.learning_rate, fused=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x [..., F]`` -> ``[...]``."""
        x = x[..., self.columns]
        return (self.predictor(x) - self.target(x)).norm(dim=-1)

    @torch.no_grad()
    def reward(self, x: torch.Tensor, pays: torch.Tensor) -> torch.Tensor:
        """NovelD ``max(n(s') - 0.5 n(s), 0)`` (Zhang et al. 2021) of steps that follow each other, where they pay.

        ``x [B, N + 1, F]``, ``pays [B, N]`` -> ``[B, N]``: by its running spread, clipped, and scaled so that its
        discounted sum stays inside the critic's atoms.
        """
        novelty = self._around(x, pays)
        raw = (novelty[:, 1:] - 0.5 * novelty[:, :-1]).clamp(min=0) * pays
        self.spread.lerp_(raw[:, 0].std(), 0.01)
        return (raw / (self.spread + 1e-6)).clamp(max=self.config.clip) * self.config.scale

    def _around(self, x: torch.Tensor, pays: torch.Tensor) -> torch.Tensor:
        """``n(s)`` before and after steps that pay, 0 elsewhere: that takes most of the time, and few steps pay."""
        needed = (functional.pad(pays, (0, 1)) | functional.pad(pays, (1, 0))).flatten().nonzero().squeeze(1)
        needed = functional.pad(needed, (0, -len(needed) % _ROWS))  # the first state, as often as rows are missing
        novelty = torch.zeros(x.shape[:-1], device=x.device)
        novelty.view(-1)[needed] = self(x.flatten(0, 1)[needed])
        return novelty

    def update(self, x: torch.Tensor) -> torch.Tensor:
        """One step of the predictor on states ``x [B, F]``; returns the loss."""
        x = x[..., self.columns]
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
