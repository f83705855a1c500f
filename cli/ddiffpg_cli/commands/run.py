"""``ddiffpg run``: the robot's Controller against the MuJoCo task, without ROS."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import add_episodes, add_json, add_seed, existing_file, not_negative, positive
from ..errors import FAILED, OK, BadInput
from ..output import check_json_target, progress, share, table, text_out, write_json

if TYPE_CHECKING:
    from ddiffpg_sim.closed_loop import Conditions, Episode

HELP = {"run": "drive a policy in closed loop: the robot's controller against the simulated task, without ROS"}
EPILOG = """obstacles file: a list of boxes, in metres and seconds since the start of a run
  - center: [-1.5, -1.0]      # x, y; and z, which counts where the policy's ways are in space
    half_size: [0.2, 0.4]     # x, y; and z
    yaw: 0.0                  # radians; may be left out
    appears: 2.0              # may be left out: 0
    moves:                    # may be left out; evenly, from where it was at the time before
      - {at: 5.0, center: [-1.5, -2.5]}
    goes: 9.0                 # may be left out: never

Ends with 0 if every run reached the goal without touching an obstacle, with 1 if not."""


def configure(name: str, parser: argparse.ArgumentParser) -> None:
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    parser.add_argument("--policy", type=Path, required=True, metavar="FILE.onnx", help="the policy to drive")
    add_episodes(parser, 1, "how many runs")
    add_seed(parser)
    parser.add_argument("--obstacles", type=Path, metavar="FILE.yaml", help="boxes that appear, move and go; see below")
    parser.add_argument("--mode", type=int, default=-1, metavar="ID", help="use this mode only (default -1: choose)")
    parser.add_argument(
        "--scan", type=not_negative, default=0, metavar="BEAMS",
        help="give the controller a laser scan of walls and obstacles too, on a floor (default 0: none)",
    )  # fmt: skip
    parser.add_argument(
        "--max-steps", type=positive, metavar="N",
        help="control periods a run may take (default: the task's limit, twice that with --obstacles)",
    )  # fmt: skip
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from ddiffpg.policy import Policy

    check_json_target(args.json)
    policy = Policy.load(existing_file(args.policy, "--policy"))
    episodes = _drive(args, policy)
    out = text_out(args.json)
    rows = [
        (i, "yes" if e.success else "NO", "YES" if e.collided else "no", e.steps, _arrows(e.modes), e.switches)
        for i, e in enumerate(episodes)
    ]
    print(table(("run", "goal", "collided", "steps", "modes", "switches"), rows), file=out)
    good = [e.success and not e.collided for e in episodes]
    print(f"reached the goal without touching an obstacle: {share(sum(good) / len(good))}", file=out)
    write_json(_result(args, policy.contract, episodes), args.json)
    return OK if all(good) else FAILED


def _drive(args: argparse.Namespace, policy: Any) -> list[Episode]:
    """All runs, each with a controller and a start of its own."""
    import numpy as np

    from ddiffpg.controller import Controller, ControllerConfig
    from ddiffpg_sim.closed_loop import run_episode
    from ddiffpg_sim.robot import SimRobot

    task = find_task(policy.contract.task, args.policy)
    conditions = _conditions(args, policy.contract)
    robot = SimRobot(task, args.seed)
    episodes = []
    for i in progress(range(args.episodes), "run"):
        robot.clear_obstacles()
        robot.reset(args.seed + i)
        controller = Controller(policy, ControllerConfig(), np.random.default_rng(args.seed + i))
        episodes.append(run_episode(robot, controller, conditions))
    return episodes


def _conditions(args: argparse.Namespace, contract: Any) -> Conditions:
    from ddiffpg.decision import Operator
    from ddiffpg_sim.closed_loop import Conditions
    from ddiffpg_sim.script import ObstacleScript

    if args.mode not in (-1, *contract.mode_ids):
        raise BadInput(f"--mode {args.mode}: the policy has the modes {list(contract.mode_ids)}, or -1 to choose")
    if args.scan and len(contract.path) != 2:
        raise BadInput(f"--scan {args.scan}: a scan is of the plane, the policy's ways are in space; leave it out")
    script = None
    if args.obstacles is not None:
        script = ObstacleScript.load(existing_file(args.obstacles, "--obstacles"))
    limit = args.max_steps or contract.max_steps * (1 if script is None else 2)
    return Conditions(limit, script, Operator(args.mode), args.scan)


def find_task(name: str, policy_file: Path) -> Any:
    """The task that a policy is for; BadInput where this version has no such task."""
    from ddiffpg_sim import tasks

    if name not in tasks.names():
        raise BadInput(f"{policy_file}: contract field 'task' is {name!r}; known tasks: {', '.join(tasks.names())}")
    return tasks.make(name)


def _result(args: argparse.Namespace, contract: Any, episodes: list[Episode]) -> dict[str, Any]:
    return {
        "policy": str(args.policy),
        "task": contract.task,
        "seed": args.seed,
        "success": sum(e.success for e in episodes) / len(episodes),
        "collided": sum(e.collided for e in episodes) / len(episodes),
        "episodes": [e.to_dict() for e in episodes],
    }


def _arrows(modes: tuple[int, ...]) -> str:
    return " > ".join(str(m) for m in modes) or "-"
