"""Learning from scratch on the smallest maze: it works, and this is how one would see that it does not."""

from __future__ import annotations

import pytest

from ddiffpg_core.acting import act_of, known_modes
from ddiffpg_core.agent import DDiffPG
from ddiffpg_core.checkpoint import SavedPolicy
from ddiffpg_core.config import Config, override
from ddiffpg_core.evaluate import Report, evaluate
from ddiffpg_core.run import Run
from ddiffpg_core.train import train
from ddiffpg_sim import tasks
from ddiffpg_sim.batch import BatchedEnv

# 58,000 transitions at the most. On eight seeds a mode reached 1.0 after 500 to 800 iterations; without action
# improvement (copying what succeeded) 0.69 and 0.94 after 1000 on two of them.
BUDGET = override(Config(), [
    "train.iterations=900", "train.warmup_iterations=60", "train.recluster_every=50", "train.eval_every=150",
    "train.checkpoint_every=900", "actor.hidden=[64, 64]", "critic.hidden=[64, 64]", "novelty.hidden=[64]",
    "actor.learning_rate=1e-3", "critic.learning_rate=1e-3",
])


class Learned(Exception):
    """That will do."""


def test_a_first_mode_is_found_and_learned(tmp_path):
    task = tasks.make("pointmaze-v1")
    env, evaluation = BatchedEnv(task, BUDGET.train.num_envs), BatchedEnv(task, 40)
    run = Run.create(tmp_path / "run", task.spec.name, 0, BUDGET, "")

    def evaluator(policy: SavedPolicy, episodes: int) -> Report:
        report = evaluate(evaluation, act_of(policy, task.spec, 1), known_modes(policy), 20, 1)
        if any(m.success >= 0.95 and m.adherence >= 0.95 for m in report.modes):
            raise Learned
        return report

    with pytest.raises(Learned):
        train(env, DDiffPG(task.spec, BUDGET, run.seed), evaluator, run, BUDGET.train)
