"""``ddiffpg eval``: how well each mode works."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import add_episodes, add_json, add_randomise, add_seed, variation
from ..errors import OK, BadInput
from ..output import check_json_target, share, table, text_out, write_json

if TYPE_CHECKING:
    from ddiffpg_core.evaluate import Report

HELP = {"eval": "measure a run or a policy file mode by mode: success, adherence, return, steps"}


def configure(name: str, parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", type=Path, metavar="RUN_OR_POLICY", help="a run directory or a .onnx file")
    add_episodes(parser, 100, "episodes a mode")
    add_seed(parser)
    add_randomise(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    check_json_target(args.json)
    if not args.what.exists():
        raise BadInput(f"{args.what}: no such file or directory")
    report = _evaluate_run(args) if args.what.is_dir() else _evaluate_policy(args)
    print(describe(report), file=text_out(args.json))
    write_json(report.to_dict(), args.json)
    return OK


def _evaluate_policy(args: argparse.Namespace) -> Report:
    from ddiffpg.policy import Policy

    from ..policy_evaluation import evaluate_policy
    from .run import find_task

    policy = Policy.load(args.what)
    task = find_task(policy.contract.task, args.what)
    return evaluate_policy(policy, task, args.episodes, args.seed, variation(args.randomise, task.spec.name))


def _evaluate_run(args: argparse.Namespace) -> Report:
    from ..training import evaluate_run

    return evaluate_run(args.what, args.episodes, args.seed, lambda task: variation(args.randomise, task))


def describe(report: Report) -> str:
    """The evaluation for people to read."""
    return _describe_modes(report) if report.conditioned else _describe_unconditioned(report)


def _describe_unconditioned(report: Report) -> str:
    """Of a policy that cannot be asked for a mode."""
    ways = ", ".join(share(s) for s in report.way_share or ())
    mean = "" if report.mean_action_success is None else f", {share(report.mean_action_success)} with its mean action"
    return (
        f"{report.task}, {report.episodes} episodes, seed {report.seed}: success {share(report.unconditioned_success)}"
        f"{mean}\nshare of episodes by each distinct way: {ways or 'none'}"
    )


def _describe_modes(report: Report) -> str:
    rows = [
        (m.id, share(m.success), share(m.adherence), share(m.returns),
         "-" if m.mean_steps is None else f"{m.mean_steps:.0f}", "yes" if m.learned else "no")
        for m in report.modes
    ]  # fmt: skip
    shares = ", ".join(f"mode {i}: {share(s)}" for i, s in report.mode_share.items())
    return (
        f"{report.task}, {report.episodes} episodes a mode, seed {report.seed}: {report.modes_learned} modes learned\n"
        + table(("mode", "success", "adherence", "return", "steps", "learned"), rows)
        + f"\nunconditioned: success {share(report.unconditioned_success)}; of these {shares or 'no mode'}"
    )
