"""The network that steers a policy file: from observation, mode and noise to the noise that the student is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ddiffpg.contract import Contract
from ddiffpg_core.evaluate import UNCONDITIONED
from ddiffpg_core.spec import TaskSpec


@dataclass(frozen=True)
class Seen:
    """How a policy's observations and modes are given to networks. ``ids`` are its modes', unconditioned first."""

    spec: TaskSpec
    ids: tuple[int, ...]

    @classmethod
    def of(cls, spec: TaskSpec, contract: Contract) -> Seen:
        return cls(spec, (UNCONDITIONED, *contract.mode_ids))

    @property
    def size(self) -> int:
        return self.spec.obs_dim + len(self.ids)

    def __call__(self, obs: np.ndarray, mode: np.ndarray) -> torch.Tensor:
        """``obs [B, O]`` physical, ``mode [B]`` ids -> ``[B, O + K]``: about ±1, and 1 in the mode's place."""
        place = (mode[:, None] == np.array(self.ids)).astype(np.float32)
        return torch.from_numpy(np.concatenate([self.spec.normalise(obs).astype(np.float32), place], 1))


class Steering(nn.Module):
    """``seen [B, O + K]``, ``noise [B, Z]`` (standard normal) -> noise ``[B, Z]`` for the student: moved and scaled.

    It begins as a passage: the noise stays what it is. So it does for the modes whose ``gate`` is 0 (``[K]``: 1, 0).
    """

    gate: torch.Tensor

    def __init__(self, seen: Seen, noise_dim: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("gate", torch.ones(len(seen.ids)))
        layers = [(nn.Linear(a, b), nn.SiLU()) for a, b in zip([seen.size, *hidden], hidden)]
        self.trunk = nn.Sequential(*(layer for pair in layers for layer in pair))
        self.move, self.spread = (nn.Linear(hidden[-1], noise_dim) for _ in range(2))
        for head in (self.move, self.spread):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def parts(self, seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """By how much noise is moved, and the logarithm of what it is multiplied by: ``[B, Z]`` each."""
        hidden, gate = self.trunk(seen), seen[:, -len(self.gate):] @ self.gate[:, None]
        return gate * self.move(hidden), gate * self.spread(hidden)

    def forward(self, seen: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        move, spread = self.parts(seen)
        return move + spread.exp() * noise


def strays(move: torch.Tensor, spread: torch.Tensor) -> torch.Tensor:
    """How far N(move, exp(spread)²) is from the standard normal distribution, in nats (KL): ``[B, Z]`` -> ``[B]``."""
    return (0.5 * (move.square() + (2.0 * spread).exp() - 1.0) - spread).sum(-1)
