"""What adapting gives: a policy is put on three robots that differ from its model, and fitted to each in three ways.

    python benchmarks/adapt.py --shipped TASK --out DIR [--targets NAME ...] [--how NAME ...] [--seeds N] [--seed N]
    python benchmarks/adapt.py --run RUN --out DIR [...]

The policy that ships, or that of a run with all its modes (as its own student of five steps), is tried on a robot that
is heavier by half, on one that acts 80 ms later, and on one that slides. Then it is steered (``ddiffpg adapt``). A run
also goes on there, from ten recorded episodes a mode: updates on these and its own memory first, then online, without
and with the filter by value (``agreement.filter``). All are evaluated over 100 episodes a mode on that robot.

A base has no contact friction: the one that slides has a twentieth of its servo's strength, so that its velocity
follows a command with a time constant of 1 s in place of 50 ms. Writes a JSON file for each policy, target, way and
seed; what is there is not done again. Runs of ``benchmarks/demos.py --runs DIR`` may serve. Needs the extras train, sim
and export; about half a minute a file on one core.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _result import write

from ddiffpg.policy import Policy
from ddiffpg_cli.beginning import Loaded
from ddiffpg_cli.main import main as ddiffpg
from ddiffpg_cli.shipped import shipped_policy
from ddiffpg_cli.training import evaluator
from ddiffpg_core import checkpoint
from ddiffpg_core.acting import evaluate_policy
from ddiffpg_core.agent import DDiffPG
from ddiffpg_core.config import Config, override
from ddiffpg_core.demonstration import Demonstration
from ddiffpg_core.evaluate import Report, evaluate
from ddiffpg_core.run import Run
from ddiffpg_core.train import train
from ddiffpg_export.file_act import file_act, known_modes
from ddiffpg_sim import tasks
from ddiffpg_sim.batch import BatchedEnv
from ddiffpg_sim.deviation_file import deviation_text
from ddiffpg_sim.dynamics import Dynamics
from ddiffpg_sim.signals import Deviation, Signals

TARGETS = {
    "slippery": Deviation(Dynamics(strength=0.05)),
    "slower": Deviation(signals=Signals(action_delay=0.08)),
    "heavier": Deviation(Dynamics(mass=1.5)),
}
EPISODES, EVALUATION_SEED = 100, 1_000_003
RECORDED, OFFLINE, ONLINE = 10, 150, 100  # episodes a mode, updates, iterations


def target_env(task: str, target: str, robots: int) -> BatchedEnv:
    return BatchedEnv(tasks.make(task), robots, deviate=lambda rng, count: [TARGETS[target]] * count)


def exported(run: Path, folder: Path) -> Path:
    """The policy file of a run, of which a copy is made in ``folder``."""
    copy = Path(shutil.copytree(run, folder / run.name))
    file = folder / f"{run.name}.onnx"
    call("distill", copy, "--steps", 5)
    call("export", copy, "--out", file, "--episodes", 40, "--force", "--all-modes")
    return file


def call(*words: object) -> None:
    if ddiffpg([str(word) for word in words]) != 0:
        raise SystemExit(f"adapt.py: ddiffpg {' '.join(map(str, words))} failed")


# ---- the ways --------------------------------------------------------------------------------------------


def nothing(task: str, target: str, file: Path, seed: int) -> dict[str, Any]:
    return {"report": measured(task, target, file), "driven": 0}


def steer(task: str, target: str, file: Path, seed: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        deviation, out = Path(folder) / "target.yaml", Path(folder) / "steered.onnx"
        deviation.write_text(deviation_text(TARGETS[target]))
        call("adapt", file, "--deviation", deviation, "--out", out, "--seed", seed, "--episodes", 20, "--force")
        said = json.loads(out.with_suffix(".json").read_text())
        more = {key: said[key] for key in ("driven", "reach", "steered", "best_round")}
        return {"report": measured(task, target, out), **more}


def plain(task: str, target: str, file: Path, seed: int) -> dict[str, Any]:
    return go_on(task, target, file, seed)


def filtered(task: str, target: str, file: Path, seed: int) -> dict[str, Any]:
    return go_on(task, target, file, seed, "agreement.filter=true")


HOW: dict[str, Callable[[str, str, Path, int], dict[str, Any]]] = {
    "nothing": nothing, "steering": steer, "fine-tuning": plain, "fine-tuning with the filter": filtered,
}  # fmt: skip


def measured(task: str, target: str, file: Path) -> Report:
    policy = Policy.load(file)
    with closing(target_env(task, target, 100)) as env:
        act = file_act(policy, EVALUATION_SEED)
        return evaluate(env, act, known_modes(policy.contract), EPISODES, EVALUATION_SEED)


def record(task: str, target: str, file: Path, seed: int) -> tuple[list[Demonstration], int]:
    """Drives of the policy on the target, ten a mode and ten unconditioned: those that reached a goal, and of how many.
    """
    policy = Policy.load(file)
    mode = np.repeat([-1, *policy.contract.mode_ids], RECORDED)
    act = file_act(policy, seed)
    with closing(target_env(task, target, len(mode))) as env:
        obs, action, steps, arrived = [env.reset(seed)], [], np.zeros(len(mode), int), np.zeros(len(mode), bool)
        while (steps == 0).any():
            command = act(obs[-1], mode)
            step = env.step(command)
            action.append(env.spec.action.to_normal(command).astype(np.float32))
            obs.append(step.final_obs)
            ended = step.done & (steps == 0)
            steps[ended], arrived[ended] = len(action), step.success[ended]
    seen, done = np.stack(obs), np.stack(action)
    shown = [Demonstration(seen[: n + 1, i], done[:n, i], np.eye(n, dtype=np.float32)[-1], np.ones(n, bool))
             for i, n in enumerate(steps.tolist()) if arrived[i]]  # fmt: skip
    return shown, len(mode)


def go_on(task: str, target: str, file: Path, seed: int, *settings: str) -> dict[str, Any]:
    """The first run goes on, on the target: from recorded drives, then by its own."""
    origin = Run.open(file.with_suffix(""))
    spec = tasks.make(task).spec
    more = (f"train.iterations={ONLINE}", f"train.offline_updates={OFFLINE}", "train.warmup_iterations=0",
            f"train.eval_every={ONLINE}", f"train.checkpoint_every={ONLINE}", "train.fade_from=0.0",
            "train.eval_episodes=4", "train.final_episodes=4", *settings)  # fmt: skip
    config = override(origin.config, list(more))
    shown, recorded = record(task, target, file, seed)
    agent = DDiffPG(spec, config, seed)
    state = checkpoint.load(origin.folder / "checkpoint.pt")["agent"]
    Loaded(state, tuple(shown)).give(agent)
    before = agent.replay.finished
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder) / "run", task, seed, config, "")
        robots = config.train.num_envs
        with closing(target_env(task, target, robots)) as env, closing(target_env(task, target, 100)) as evaluation:
            train(env, agent, evaluator(evaluation), run, config.train)
            report = final(run, evaluation, config)
    return {"report": report, "driven": recorded + agent.replay.finished - before, "recorded": recorded,
            "arrived": len(shown)}  # fmt: skip


def final(run: Run, env: BatchedEnv, config: Config) -> Report:
    policy = checkpoint.load_policy(run.folder / "policy.pt", env.spec)
    return evaluate_policy(env, policy, EPISODES, EVALUATION_SEED)


# ---- the cells -------------------------------------------------------------------------------------------


def cell(task: str, policy: str, target: str, how: str, seed: int, file: Path) -> dict[str, Any]:
    began = time.process_time()
    found = HOW[how](task, target, file, seed)
    report = found.pop("report").to_dict()
    return {
        "benchmark": "adapt", "task": task, "policy": policy, "target": target,
        "deviation": deviation_text(TARGETS[target]).strip(),
        "how": how, "seed": seed, "episodes": EPISODES, **found,
        "modes": [{k: m[k] for k in ("id", "success", "adherence", "return", "mean_steps")} for m in report["modes"]],
        "unconditioned_success": report["unconditioned"]["success"],
        "cpu_seconds": round(time.process_time() - began, 1),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--shipped", metavar="TASK", help="adapt the policy of this point maze that ships")
    what.add_argument("--run", type=Path, help="adapt that of a run of a point maze")
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--how", nargs="+", choices=HOW, default=list(HOW))
    parser.add_argument("--seeds", type=int, default=1, help="how many times to adapt")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--out", type=Path, required=True, help="the folder for the results")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        file = shipped_policy(args.shipped) if args.shipped else exported(args.run, Path(folder))
        task = Policy.load(file).contract.task
        policy = "shipped" if args.shipped else args.run.name
        ways = [how for how in args.how if args.run or how in ("nothing", "steering")]
        for seed in range(args.seed, args.seed + args.seeds):
            for target, how in itertools.product(args.targets, ways):
                out = args.out / f"{task}-{policy}-{target}-{how.replace(' ', '-')}-{seed}.json"
                if (seed and how == "nothing") or out.exists():
                    continue
                write(cell(task, policy, target, how, seed, file), str(out))


if __name__ == "__main__":
    main()
