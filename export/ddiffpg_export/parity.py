"""Does the policy file compute what torch computes? Compared on recorded observations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ddiffpg.policy import Policy
from ddiffpg_core.checkpoint import SavedPolicy
from ddiffpg_export.graph import UNCONDITIONED
from ddiffpg_export.student import SavedStudent, student_actions

ROUNDING = 1e-4
"""Candidates whose values differ by less, as a share of the largest value, are as good as each other."""
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
    right, allowed = torch_actions(policy, student, obs, mode, noise)
    gap = np.where(allowed, np.abs(ours[:, None] - right).max(2), np.inf).min(1)
    return Parity(len(obs), float(gap.max()), UNROLLED_LIMIT if student.network is None else LIMIT)


@torch.no_grad()
def torch_actions(
    policy: SavedPolicy, student: SavedStudent, obs: np.ndarray, mode: np.ndarray, noise: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """``obs [B, O]`` physical, ``mode [B]`` ids, ``noise [B, Z]`` -> candidates ``[B, C, A]`` in ±1, by torch, and
    which of them may be chosen ``[B, C]``: the best, and what is as good but for rounding."""
    table, group = policy.embeddings(), {m.id: i for i, m in enumerate(policy.modes)}
    drawn = torch.from_numpy(noise).unflatten(1, (-1, policy.actor.noise_dim))
    count = drawn.shape[1]
    embedding = torch.from_numpy(np.stack([table[int(i)] for i in mode])).repeat_interleave(count, 0)
    seen = torch.from_numpy(obs).repeat_interleave(count, 0)
    action = student_actions(policy, student.network, seen, embedding, drawn.flatten(0, 1)).unflatten(0, (-1, count))
    allowed = torch.zeros(action.shape[:2], dtype=torch.bool)
    allowed[:, 0] = True
    if policy.judges is not None:
        joined = torch.cat([policy.features(seen), action.flatten(0, 1)], 1)
        values = policy.judges.value(joined.expand(policy.judges.groups, -1, -1)).unflatten(1, (-1, count))
        for mode_id in set(mode.tolist()) - {UNCONDITIONED}:
            rows = torch.from_numpy(mode == mode_id)
            value = values[group[mode_id], rows]
            allowed[rows] = value >= value.amax(1, keepdim=True) - ROUNDING * policy.judges.atoms[-1]
    return action.numpy(), allowed.numpy()

