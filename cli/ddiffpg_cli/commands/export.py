"""``ddiffpg distill`` and ``ddiffpg export``: from a training run to a policy file."""

from __future__ import annotations

import argparse
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import add_episodes, add_json, add_seed, positive
from ..errors import OK, BadInput
from ..output import check_json_target, progress, share, table, text_out, write_json

if TYPE_CHECKING:
    from ddiffpg_export.onnx_export import ExportReport
    from ddiffpg_export.student import StudentReport
    from ddiffpg_sim.task import Task

HELP = {
    "distill": "distil a run's actor into a student of few denoising steps that keeps its modes",
    "export": "write a run's student as FILE.onnx with its contract; refused where a mode was lost",
}
STEPS = (1, 2, 5)
EXPORT_ENVS = 200


def configure(name: str, parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dir", type=Path, metavar="DIR", help="the directory of a training run")
    if name == "distill":
        parser.add_argument("--steps", type=int, choices=STEPS, default=1, help="denoising steps (default 1)")
        parser.add_argument("--iterations", type=positive, metavar="N", help="how long to learn (default: a minute)")
    else:
        parser.add_argument("--out", type=Path, required=True, metavar="FILE.onnx", help="the policy file to write")
        add_episodes(parser, 800, "episodes a mode to try it in")
        parser.add_argument("--force", action="store_true", help="write it even where a mode was lost; it records that")
        parser.add_argument("--all-modes", action="store_true", help="also modes that the run did not learn")
    add_seed(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    check_json_target(args.json)
    task = _task_of(args.dir)
    report = _distill(args, task) if args.command == "distill" else _export(args, task)
    write_json(report.to_dict(), args.json)
    return OK


def _task_of(folder: Path) -> Task:
    """The task of a run; sets torch's threads as the run had them. BadInput where there is no run."""
    import torch

    from ddiffpg_core.run import Run, RunError
    from ddiffpg_sim import tasks

    try:
        training = Run.open(folder)
    except RunError as error:
        raise BadInput(str(error)) from error
    torch.set_num_threads(training.config.train.torch_threads)
    return tasks.make(training.task)


def _distill(args: argparse.Namespace, task: Task) -> StudentReport:
    from ddiffpg_export.distill import distill
    from ddiffpg_export.student import DistillConfig

    config = DistillConfig(steps=args.steps, seed=args.seed)
    if args.iterations is not None:
        config = replace(config, iterations=args.iterations)
    report = distill(args.dir, task.spec, config, lambda items: progress(items, "distil"))
    print(describe_student(report), file=text_out(args.json))
    return report


def _export(args: argparse.Namespace, task: Task) -> ExportReport:
    from ddiffpg_export.describe import World
    from ddiffpg_export.onnx_export import ExportConfig, export
    from ddiffpg_sim.batch import BatchedEnv

    config = ExportConfig(args.episodes, args.seed, args.force, args.all_modes)
    with closing(BatchedEnv(task, EXPORT_ENVS)) as env:
        report = export(args.dir, args.out, World(env, task.robot_radius, task.clearance), config)
    print(describe_export(report, args.out), file=text_out(args.json))
    return report


def describe_student(report: StudentReport) -> str:
    """How near the student is to its teacher."""
    rows = [
        ("none" if i < 0 else i, f"{e.rms:.3f}", share(e.far), f"{e.distance:.3f}", f"{e.distance_floor:.3f}")
        for i, e in report.errors.items()
    ]
    head = ("mode", "error, same noise", "far off", "distributions apart", "teacher from itself")
    return (
        f"student of {report.steps} steps, {report.states} states, {report.pairs} pairs; "
        "on held-out states, in units of half the action's range:\n" + table(head, rows)
    )


def describe_export(report: ExportReport, out: Path) -> str:
    """What was written, beside its teacher, and what was left out."""
    pairs = list(zip(report.trial.teacher.modes, report.trial.student.modes))
    rows = [
        (t.id, *(f"{share(getattr(s, n))} ({share(getattr(t, n))})" for n in ("success", "adherence", "returns")))
        for t, s in pairs
    ]
    lines = [
        f"{report.trial.student.task}, {report.config.episodes} episodes a mode, in brackets the teacher:",
        table(("mode", "success", "adherence", "return"), rows),
        *(f"left out: mode {m.id}, {m.reason}" for m in report.left_out),
        *(["it says of no state that it knows it: no goal was reached"] if report.visit is None else []),
        *(f"NOT ACCEPTED, written by force: {o}" for o in report.objections),
        f"wrote {out} ({report.size / 1024:.0f} KiB) and {out.with_suffix('.json')}",
    ]
    return "\n".join(lines)
