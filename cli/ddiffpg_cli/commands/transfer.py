"""``ddiffpg transfer``: does a policy hold on robots that differ from its model?"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import add_json, existing_file, not_negative, positive
from ..errors import OK, BadInput
from ..output import Progress, check_json_target, share, table, text_out, write_json

if TYPE_CHECKING:
    from ddiffpg.policy import Policy

    from ..transfer_curves import Curve
    from ..transfer_grid import Transfer

HELP = {"transfer": "drive a policy on robots that differ from its model, one thing at a time: where does it hold?"}
EPISODES, SEEDS = 20, (0,)
FULL_EPISODES, FULL_SEEDS = 100, (0, 1, 2)


def configure(name: str, parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--policy", type=Path, required=True, metavar="FILE.onnx", help="the policy")
    parser.add_argument("--task", metavar="NAME", help="drive it in this task (default: the policy's own)")
    parser.add_argument("--axes", metavar="A,B,...", help="what to vary (default: all that change anything)")
    parser.add_argument(
        "--full", action="store_true",
        help=f"more values of each, {FULL_EPISODES} episodes a mode, seeds {', '.join(map(str, FULL_SEEDS))}",
    )  # fmt: skip
    parser.add_argument("--episodes", type=positive, metavar="N", help=f"episodes a mode and cell (default {EPISODES})")
    parser.add_argument("--seeds", type=not_negative, nargs="+", metavar="N", help="seeds of all cells (default 0)")
    parser.add_argument(
        "--identified", type=Path, metavar="FILE.yaml", help="the robot to vary, as ddiffpg identify has found it"
    )
    parser.add_argument(
        "--least", type=_success, default=0.9, metavar="SHARE", help="the success that counts as holding (default 0.9)"
    )
    parser.add_argument(
        "--margins", type=Path, metavar="FILE.onnx",
        help="write the policy with the delay, rates and noise in which it holds into this file",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, metavar="DIR",
        help="where transfer.json and transfer.html go (default: runs/transfer/POLICY); what is there already with the "
        "same settings is not driven again",
    )  # fmt: skip
    add_json(parser)


def _success(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share of more than 0, at most 1")
    return value


def run(args: argparse.Namespace) -> int:
    from ddiffpg.policy import Policy

    from ..transfer_curves import curves

    check_json_target(args.json)
    policy = Policy.load(existing_file(args.policy, "--policy"))
    if args.margins is not None and args.margins.suffix != ".onnx":
        raise BadInput(f"--margins {args.margins}: expected a name that ends in .onnx")
    task, target = _task(args, policy), _target(args.identified)
    transfer = _drive(args, policy, task, target)
    found = curves(transfer, target)
    out = _write_page(args, transfer, found, policy, task)
    print(describe(found, args.least), file=text_out(args.json))
    print(f"wrote {out.with_suffix('.json')} and {out}", file=text_out(args.json))
    write_json(transfer.plain(), args.json)
    if args.margins is not None:
        _write_margins(args, transfer, task, found)
    return OK


def describe(found: list[Curve], least: float) -> str:
    """For people to read: of each axis where the policy holds, and where it is worst."""
    from ..transfer_charts import shown
    from ..transfer_page import held

    def worst(curve: Curve) -> tuple[str, ...]:
        if curve.lowest.least == 1.0:
            return "-", "-", "1.00"
        where = f"{shown(curve.lowest.value)} {curve.axis.unit}".strip()
        return where, str(curve.lowest.worst), share(curve.lowest.least)

    rows = [(curve.axis.name, held(curve, least), *worst(curve)) for curve in found]
    return (f"on the nominal robot the worst mode has success {share(found[0].nominal.least)}\n"
            + table(("axis", f"every mode has {least:g}", "worst at", "mode", "success"), rows))  # fmt: skip


def _task(args: argparse.Namespace, policy: Policy) -> Any:
    from ..transfer_margins import check_fits
    from .run import find_task
    from .train import check_task

    if args.task is None:
        return find_task(policy.contract.task, args.policy)
    check_task(args.task, "--task")
    task = find_task(args.task, args.policy)
    check_fits(policy.contract, task)
    return task


def _target(identified: Path | None) -> Any:
    """The nominal robot: the model's, or the identified one."""
    from ddiffpg_sim.deviation_file import read_deviation

    from ..transfer_axes import Target

    return Target() if identified is None else Target(read_deviation(existing_file(identified, "--identified")))


def _drive(args: argparse.Namespace, policy: Policy, task: Any, target: Any) -> Transfer:
    """What is not in transfer.json yet is driven, and is there after each cell."""
    from ..transfer_axes import chosen
    from ..transfer_grid import Bench, head_of, load, run_all, trials

    axes = chosen(args.axes, task)
    episodes = args.episodes or (FULL_EPISODES if args.full else EPISODES)
    seeds = args.seeds or (FULL_SEEDS if args.full else SEEDS)
    wanted = trials(axes, target, seeds, args.full)
    file = _folder(args) / "transfer.json"
    before = load(file, head_of(args.policy, policy, task, episodes, target))
    shown = Progress("cell", len(wanted))
    try:
        return run_all(wanted, before, Bench(policy, task, target, axes, episodes),
                       lambda transfer: transfer.write(file), shown.show)  # fmt: skip
    except KeyboardInterrupt:
        print(f"\nstopped; the same command goes on from {file}", file=sys.stderr)
        raise
    finally:
        shown.end()


def _folder(args: argparse.Namespace) -> Path:
    folder: Path = args.out or Path("runs") / "transfer" / args.policy.stem
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"--out {folder}: is a file, expected a directory")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _write_page(args: argparse.Namespace, transfer: Transfer, found: list[Curve], policy: Policy, task: Any) -> Path:
    from ..transfer_page import Scene, page

    file = _folder(args) / "transfer.html"
    file.write_text(page(transfer, found, Scene(task, policy.contract, args.least)), encoding="utf-8")
    return file


def _write_margins(args: argparse.Namespace, transfer: Transfer, task: Any, found: list[Curve]) -> None:
    from ddiffpg_export.onnx_export import add_margins

    from ..transfer_margins import NEEDED, margins_of
    from .inspect import margins_text

    margins = margins_of(found, task.spec, args.least)
    seeds = [cell.trial.seed for cell in found[0].nominal.cells]
    tested = {"axes": list(NEEDED), "episodes": transfer.head.episodes, "seeds": seeds}
    contract = add_margins(args.policy, args.margins, margins, tested)
    print(f"wrote {args.margins}: {margins_text(contract)}", file=text_out(args.json))
