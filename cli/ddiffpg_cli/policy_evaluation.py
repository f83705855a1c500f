"""Evaluation of a policy file mode by mode, without torch: the same measures as for a training run."""

from __future__ import annotations

import numpy as np

from ddiffpg.contract import Contract
from ddiffpg.policy import Policy
from ddiffpg_core.evaluate import Act, KnownMode, Report, evaluate
from ddiffpg_core.paths import resample
from ddiffpg_sim.batch import BatchedEnv
from ddiffpg_sim.task import Task

NUM_ENVS = 64


def evaluate_policy(policy: Policy, task: Task, episodes: int, seed: int) -> Report:
    """``episodes`` a mode and unconditioned, with samples of the policy (not its most typical action)."""
    env = BatchedEnv(task, NUM_ENVS)
    try:
        act = sampling_act(policy, np.random.default_rng(seed))
        return evaluate(env, act, known_modes(policy.contract), episodes, seed)
    finally:
        env.close()


def sampling_act(policy: Policy, rng: np.random.Generator) -> Act:
    """``policy`` as a function of observation and mode, with fresh noise from ``rng`` in every step."""

    def act(obs: np.ndarray, mode: np.ndarray) -> np.ndarray:
        noise = rng.standard_normal((len(obs), policy.contract.noise_dim), np.float32)
        return policy.act_batch(obs, mode, noise)

    return act


def known_modes(contract: Contract) -> list[KnownMode]:
    """The contract's modes, their ways with as many points each as the longest has."""
    points = max(len(m.path) for m in contract.modes)
    return [KnownMode(m.id, resample(np.array(m.path), points)) for m in contract.modes]
