"""What ten demonstrations give: a policy that knows one way of pointmaze-v1 is shown the other.

    python benchmarks/demos.py [--seeds N] [--seed N] [--runs DIR] [--json FILE|-]

For each seed a first run learns with a wall across one of the two ways, so that it knows the other alone. Then the
wall is gone. A scripted human, who wavers, drives the closed way ten times; the robot's controller sends the commands,
and all of it is recorded. ``ddiffpg train --from`` goes on from the first run, as long each time: with the recording
and without it, since exploring may find the way too. Each is evaluated over 100 episodes a mode. Writes JSON. Needs
the extras train, sim and ros; some minutes a seed on one core.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _result import write
from _teleop_session import Session
from handoff import Human

from ddiffpg.controller import HandoffConfig
from ddiffpg.policy import Policy
from ddiffpg_cli.main import main as ddiffpg
from ddiffpg_cli.shipped import shipped_policy
from ddiffpg_cli.training import evaluator
from ddiffpg_core.config import override
from ddiffpg_core.defaults import load_preset
from ddiffpg_core.method import make_agent
from ddiffpg_core.paths import resample
from ddiffpg_core.run import Run
from ddiffpg_core.train import train
from ddiffpg_sim import tasks
from ddiffpg_sim.batch import BatchedEnv
from ddiffpg_sim.obstacles import Obstacle
from ddiffpg_sim.robot import SimRobot

TASK, SHOWN = "pointmaze-v1", "row 3"
WALL = Obstacle(1, "box", (-1.0, 1.0, 0.25), (0.1, 0.5, 0.25))  # across row 3
DEMONSTRATIONS, FIRST, THEN = 10, 1000, 600  # iterations of the first run, and of those that go on from it
WANTED = 0.9
SMALL = ("actor.hidden=[64, 64]", "critic.hidden=[64, 64]", "novelty.hidden=[64]", "actor.learning_rate=1e-3",
         "critic.learning_rate=1e-3", "train.warmup_iterations=60", "train.recluster_every=50")  # fmt: skip
SHOWN_TEN, NOT_SHOWN = "ten demonstrations", "none"


def learn_one_way(folder: Path, seed: int) -> None:
    """A run that knows one way, the other being closed to it."""
    task = tasks.make(TASK)
    more = (f"train.iterations={FIRST}", "train.eval_every=250", f"train.checkpoint_every={FIRST}", *SMALL)
    config = override(load_preset("cpu", TASK), list(more))
    with closing(BatchedEnv(task, config.train.num_envs)) as env, closing(BatchedEnv(task, 100)) as evaluation:
        env.set_obstacles([WALL])
        evaluation.set_obstacles([WALL])
        run = Run.create(folder, TASK, seed, config, "")
        train(env, make_agent(task.spec, config, seed), evaluator(evaluation), run, config.train)


def record_demonstrations(out: Path, seed: int, way: str = SHOWN) -> None:
    """A human drives ``way`` ten times. The policy that the controller serves has no part in it."""
    task = tasks.make(TASK)
    (points,) = [w.points for w in task.ways if w.name == way]
    session = Session(out, Policy.load(shipped_policy(TASK)), SimRobot(task), HandoffConfig(engaged=False))
    for number in range(DEMONSTRATIONS):
        session.begin(seed * DEMONSTRATIONS + number)
        human = Human(resample(np.array(points, float), 100), np.random.default_rng((seed, number)))
        while not session.robot.success:
            session.step(human.wish(session.position))
        session.step()
    session.close()


def go_on(origin: Path, seed: int, *demos: str) -> dict[str, Any]:
    """The report of a run that goes on from ``origin``."""
    folder = origin.with_name(f"{origin.name}-{'shown' if demos else 'alone'}")
    words = ["train", TASK, "--from", str(origin), "--out", str(folder), "--seed", str(seed), *demos]
    for setting in (f"train.iterations={THEN}", "train.warmup_iterations=0", "train.eval_every=100"):
        words += ["--set", setting]
    if ddiffpg(words) != 0:
        raise SystemExit(f"demos.py: ddiffpg {' '.join(words)} failed")
    return json.loads((folder / "report.json").read_text())


def summary(report: dict[str, Any]) -> dict[str, Any]:
    modes = [{key: mode[key] for key in ("id", "success", "adherence", "return", "mean_steps")}
             for mode in report["modes"]]  # fmt: skip
    good = sum(mode["success"] >= WANTED and mode["adherence"] >= WANTED for mode in modes)
    return {"modes": modes, f"modes_of_{WANTED}": good, "unconditioned_success": report["unconditioned"]["success"],
            "seconds": round(report["seconds"], 1)}  # fmt: skip


def measure(folder: Path, seed: int) -> dict[str, Any]:
    origin, recording = folder / f"one-way-{seed}", folder / f"human-{seed}.mcap"
    began = time.perf_counter()
    learn_one_way(origin, seed)
    seconds = time.perf_counter() - began
    record_demonstrations(recording, seed)
    before = summary(json.loads((origin / "report.json").read_text()))
    shown, alone = (summary(go_on(origin, seed + 100, *demos)) for demos in (("--demos", str(recording)), ()))
    then = {SHOWN_TEN: shown, NOT_SHOWN: alone}
    return {"seed": seed, "before": before | {"seconds": round(seconds, 1)}, "then": then}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="how many first runs")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--runs", type=Path, help="where the run directories go (default: nowhere, for good)")
    parser.add_argument("--json", default="-", help="where to write the result; - is the screen")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.runs or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        found = [measure(folder, seed) for seed in range(args.seed, args.seed + args.seeds)]
    given = [result["then"][SHOWN_TEN][f"modes_of_{WANTED}"] for result in found]
    result = {
        "benchmark": "demos",
        "task": TASK,
        "shown": SHOWN,
        "demonstrations": DEMONSTRATIONS,
        "iterations": {"first": FIRST, "then": THEN},
        "wanted": f"two modes with success and adherence of {WANTED}",
        "wanted_is_met": all(count >= 2 for count in given),
        "by_seed": found,
    }
    write(result, args.json)


if __name__ == "__main__":
    main()
