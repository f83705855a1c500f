"""Evaluation of a policy file mode by mode, without torch: the same measures as for a training run."""

from __future__ import annotations

from contextlib import closing

from ddiffpg.policy import Policy
from ddiffpg_core.evaluate import Report, evaluate
from ddiffpg_export.file_act import file_act, known_modes
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
