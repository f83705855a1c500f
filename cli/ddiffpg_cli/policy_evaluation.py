"""Evaluation of a policy file mode by mode, without torch: the same measures as for a training run."""

from __future__ import annotations

from contextlib import closing

import numpy as np

from ddiffpg.contract import Contract
from ddiffpg.policy import Policy
from ddiffpg_core.evaluate import KnownMode, Report, evaluate
from ddiffpg_core.paths import resample
from ddiffpg_export.file_act import file_act
from ddiffpg_sim.randomised import environment
from ddiffpg_sim.task import Task
from ddiffpg_sim.variation import Variation

NUM_ENVS = 64


def evaluate_policy(
    policy: Policy, task: Task, episodes: int, seed: int, variation: Variation | None = None
) -> Report:
    """``episodes`` a mode and unconditioned, with samples of the policy (not its most typical action)."""
    with closing(environment(task, NUM_ENVS, 1, variation)) as env:
        return evaluate(env, file_act(policy, seed), known_modes(policy.contract), episodes, seed)


def known_modes(contract: Contract) -> list[KnownMode]:
    """The contract's modes, their ways with as many points each as the longest has."""
    points = max(len(m.path) for m in contract.modes)
    return [KnownMode(m.id, resample(np.array(m.path), points), np.array(m.outcome)) for m in contract.modes]
