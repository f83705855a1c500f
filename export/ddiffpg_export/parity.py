"""Does the policy file compute what torch computes? Compared on recorded observations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ddiffpg.policy import Policy
from ddiffpg_core.checkpoint import SavedPolicy
from ddiffpg_export.student import SavedStudent, student_actions

LIMIT, UNROLLED_LIMIT = 1e-5, 1e-4
"""How far an action may be from torch's, as a share of half the action's range.

The unrolled teacher divides by the square root of what its noisiest step keeps of the action, about 0.01:
its actions carry rounding errors a hundred times as large, in torch as in ONNX Runtime.
"""


@dataclass(frozen=True)
class Parity:
    """Largest difference between ONNX Runtime and torch over ``rows`` actions, and what is allowed, in units of ±1."""

    rows: int
    largest: float
    limit: float

    @property
    def good(self) -> bool:
        return self.largest <= self.limit


def parity(file: Policy, policy: SavedPolicy, student: SavedStudent, obs: np.ndarray, seed: int) -> Parity:
    """On observations ``obs [B, O]`` (physical units), with every mode of the file and unconditioned, fresh noise."""
    rng = np.random.default_rng(seed)
    mode = rng.choice([-1, *file.contract.mode_ids], len(obs))
    noise = rng.standard_normal((len(obs), file.contract.noise_dim), np.float32)
    low, high = (np.array([getattr(f, side) for f in file.contract.action]) for side in ("low", "high"))
    ours = (file.act_batch(obs, mode, noise) - low) / (high - low) * 2.0 - 1.0
    gap = np.abs(ours - torch_actions(policy, student, obs, mode, noise))
    return Parity(len(obs), float(gap.max()), UNROLLED_LIMIT if student.network is None else LIMIT)


@torch.no_grad()
def torch_actions(
    policy: SavedPolicy, student: SavedStudent, obs: np.ndarray, mode: np.ndarray, noise: np.ndarray
) -> np.ndarray:
    """``obs [B, O]`` physical, ``mode [B]`` ids, ``noise [B, A]`` -> actions ``[B, A]`` in ±1, by torch."""
    table = policy.embeddings()
    embedding = torch.from_numpy(np.stack([table[int(i)] for i in mode]))
    tensors = torch.from_numpy(obs), embedding, torch.from_numpy(noise)
    return student_actions(policy, student.network, *tensors).numpy()

