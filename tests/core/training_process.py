"""Trains in the folder given until the end, from wherever it stands; prints each iteration. To be killed by tests."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from ddiffpg_core.acting import act_of, known_modes
from ddiffpg_core.agent import DDiffPG
from ddiffpg_core.checkpoint import SavedPolicy
from ddiffpg_core.evaluate import Report, evaluate
from ddiffpg_core.run import Run
from ddiffpg_core.train import train
from ddiffpg_sim import tasks
from ddiffpg_sim.batch import BatchedEnv


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    run = Run.open(folder)
    run.on_progress = lambda iteration, note: print(iteration, flush=True)
    task = tasks.make(run.task)
    env, evaluation = BatchedEnv(task, run.config.train.num_envs), BatchedEnv(task, run.config.train.final_episodes)

    def evaluator(policy: SavedPolicy, episodes: int) -> Report:
        return evaluate(evaluation, act_of(policy, task.spec, 1), known_modes(policy), episodes, 1)

    train(env, DDiffPG(task.spec, run.config, run.seed), evaluator, run, run.config.train)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
