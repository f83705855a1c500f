"""``ddiffpg adapt``: fit a policy file to another robot by steering its noise."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import add_episodes, add_json, add_seed, existing_file, positive
from ..errors import OK, BadInput
from ..output import check_json_target, share, table, text_out, write_json

if TYPE_CHECKING:
    from ddiffpg_export.describe import World
    from ddiffpg_export.steered_file import AdaptReport
    from ddiffpg_export.steering import Round
    from ddiffpg_sim.signals import Deviation
    from ddiffpg_sim.task import Task

HELP = {"adapt": "fit a policy file to a robot that differs from its model, by steering the noise of its network"}


def configure(name: str, parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE.onnx", help="the policy; its network stays as it is")
    parser.add_argument(
        "--deviation", type=Path, required=True, metavar="FILE.yaml", help="how the robot differs from its model"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.onnx", help="the policy file to write")
    parser.add_argument("--rounds", type=positive, default=10, metavar="N", help="of driving and learning (default 10)")
    parser.add_argument(
        "--drive", type=positive, default=6, metavar="N",
        help="episodes a mode, and unconditioned, to drive in each round (default 6)",
    )  # fmt: skip
    parser.add_argument("--updates", type=positive, default=150, metavar="N", help="between rounds (default 150)")
    add_episodes(parser, 200, "episodes a mode to compare over, before and after")
    parser.add_argument("--force", action="store_true", help="write it even where a mode became worse")
    add_seed(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    check_json_target(args.json)
    existing_file(args.file)

    import torch

    from ddiffpg.policy import Policy
    from ddiffpg_export.steered_file import AdaptConfig, adapt_file
    from ddiffpg_export.steering import SteerConfig

    from .run import find_task

    task = find_task(Policy.load(args.file).contract.task, args.file)
    deviation = _deviation(args.deviation)
    torch.set_num_threads(1)  # its networks are small
    learn = SteerConfig(rounds=args.rounds, episodes=args.drive, updates=args.updates, seed=args.seed)
    config = AdaptConfig(learn, args.episodes, args.force, _plain(deviation))
    with ExitStack() as stack:
        report = adapt_file(args.file, args.out, lambda robots: _target(task, deviation, robots, stack), config, _show)
    print(describe(report, args.out), file=text_out(args.json))
    write_json(report.to_dict(), args.json)
    return OK


def _deviation(path: Path) -> Deviation:
    """The robot to adapt to. BadInput where it asks for another simulator, which a batch of robots has not."""
    from ddiffpg_sim.deviation_file import read_deviation
    from ddiffpg_sim.simulator import Simulator

    deviation = read_deviation(existing_file(path, "--deviation"))
    if deviation.simulator != Simulator():
        raise BadInput(f"--deviation {path}: has a section simulator, expected dynamics and signals only")
    return deviation


def _plain(deviation: Deviation) -> dict[str, dict[str, float]]:
    """What differs from the model."""
    import yaml

    from ddiffpg_sim.deviation_file import deviation_text

    return yaml.safe_load(deviation_text(deviation)) or {}


def _target(task: Task, deviation: Deviation, robots: int, stack: ExitStack) -> World:
    """So many robots that all differ from their model like this."""
    from ddiffpg_export.describe import World
    from ddiffpg_sim.batch import BatchedEnv

    env = stack.enter_context(closing(BatchedEnv(task, robots, deviate=lambda rng, count: [deviation] * count)))
    return World(env, task.robot_radius, task.clearance)


def _show(done: Round) -> None:
    told = ", ".join(f"{'unconditioned' if i < 0 else f'mode {i}'} {share(s)}" for i, s in done.done.items())
    print(f"after {done.episodes} episodes, done as asked in the last round: {told}", file=sys.stderr)


def describe(report: AdaptReport, out: Path) -> str:
    """Before and after, mode by mode, on the robot that it was adapted to."""
    rows = [
        (b.id, f"{report.reach[b.id]:.2f}", "yes" if b.id in report.steered else "no",
         *(f"{share(getattr(a, n))} ({share(getattr(b, n))})" for n in ("success", "adherence", "returns")),
         f"{_steps(a.mean_steps)} ({_steps(b.mean_steps)})")
        for b, a in zip(report.trial.teacher.modes, report.trial.student.modes)
    ]  # fmt: skip
    lines = [
        f"{report.trial.student.task}, learned from {report.driven} episodes, round {report.best + 1} of "
        f"{len(report.rounds)} was the best; over {report.config.episodes} others a mode, in brackets as it was:",
        table(("mode", "noise moves actions by", "steered", "success", "adherence", "return", "steps"), rows),
        *(["no steering was better than none: the file does what it did"] if not report.steered else []),
        *(f"NOT ACCEPTED, written by force: {o}" for o in report.objections),
        f"wrote {out} and {out.with_suffix('.json')}",
    ]
    return "\n".join(lines)


def _steps(mean: float | None) -> str:
    return "-" if mean is None else f"{mean:.0f}"
