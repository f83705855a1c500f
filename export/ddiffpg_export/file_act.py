"""A policy file as the evaluation asks it. Loads no torch."""

from __future__ import annotations

import numpy as np

from ddiffpg.contract import Contract
from ddiffpg.policy import Policy
from ddiffpg_core.evaluate import Act, KnownMode
from ddiffpg_core.paths import resample


def file_act(file: Policy, seed: int) -> Act:
    """Samples of the policy (not its most typical action), with fresh noise in every step."""
    rng = np.random.default_rng(seed)

    def act(obs: np.ndarray, mode: np.ndarray) -> np.ndarray:
        noise = rng.standard_normal((len(obs), file.contract.noise_dim), np.float32)
        return file.act_batch(obs, mode, noise)

    return act


def known_modes(contract: Contract) -> list[KnownMode]:
    """The contract's modes, their ways with as many points each as the longest has."""
    points = max(len(m.path) for m in contract.modes)
    return [KnownMode(m.id, resample(np.array(m.path), points), np.array(m.outcome)) for m in contract.modes]
