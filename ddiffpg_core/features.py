"""What the networks see of an observation: normalised numbers, positions also as Fourier features."""

from __future__ import annotations

import math

import torch
from torch import nn

from ddiffpg_core.spec import TaskSpec


class Features(nn.Module):
    """``obs [..., O]`` in physical units -> ``[..., F]``.

    Path columns (positions) are put through sines and cosines of 4 octaves (Tancik et al. 2020), so
    that a wall between two near places can be learned quickly. ``path_columns`` are the features made of them,
    ``outcome_columns`` those that tell the outcome.
    """

    offset: torch.Tensor
    scale: torch.Tensor
    frequency: torch.Tensor

    def __init__(self, spec: TaskSpec, octaves: int = 4) -> None:
        super().__init__()
        self.columns = spec.path_columns
        self.register_buffer("offset", torch.tensor([f.offset for f in spec.observation]))
        self.register_buffer("scale", torch.tensor([f.scale for f in spec.observation]))
        self.register_buffer("frequency", 2.0 ** torch.arange(octaves) * math.pi)
        self.size = spec.obs_dim + 2 * octaves * len(self.columns)
        self.path_columns = [*self.columns, *range(spec.obs_dim, self.size)]
        self.outcome_columns = spec.outcome_columns

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        x = (obs - self.offset) / self.scale
        phase = (x[..., self.columns, None] * self.frequency).flatten(-2)
        return torch.cat([x, phase.sin(), phase.cos()], -1)
