"""``ddiffpg train``: learn a task."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import add_json, add_randomise, existing_file, not_negative, variation
from ..errors import OK, BadInput
from ..output import Progress, check_json_target, text_out, write_json
from .evaluate import describe

if TYPE_CHECKING:
    from ddiffpg_core.config import Config
    from ddiffpg_core.evaluate import Report

    from ..training import Opened

PRESET = "cpu"
HELP = {"train": "learn a task: finds its modes by itself; writes checkpoints, logs and pictures into a run directory"}


def configure(name: str, parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", metavar="TASK", help="one of those that ddiffpg tasks lists")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the run directory to write")
    parser.add_argument("--seed", type=not_negative, metavar="N", help="seed of all randomness (default 0)")
    parser.add_argument(
        "--method", metavar="NAME", help="ddiffpg, or a baseline: sac, td3, dipo, diffusion-ql (default ddiffpg)"
    )
    parser.add_argument(
        "--preset", metavar="NAME",
        help=f"settings for the machine: cpu, gpu, or quick, a run of seconds that learns little (default {PRESET})",
    )  # fmt: skip
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML with settings that differ from the preset")
    parser.add_argument(
        "--set", action="append", default=[], dest="overrides", metavar="SECTION.KEY=VALUE",
        help="override one setting; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--demos", type=Path, nargs="+", default=[], metavar="FILE.mcap",
        help="begin with what these recordings show: drives to a goal are kept in the memory, and make modes",
    )  # fmt: skip
    parser.add_argument(
        "--demos-who", choices=("human", "all"), default="human",
        help="whose steps in them are learned from: a human's alone, or the policy's too (default human)",
    )  # fmt: skip
    parser.add_argument(
        "--from", type=Path, dest="origin", metavar="RUN",
        help="begin with what another run (its directory) has come to: networks, memory, modes, and its settings",
    )  # fmt: skip
    add_randomise(parser)
    parser.add_argument(
        "--select", choices=("nominal", "transfer"),
        help="by what the best policy is kept: how it does in the task's own model, or on robots that are heavier, "
        "weaker, slower and see less well (default nominal)",
    )  # fmt: skip
    parser.add_argument(
        "--resume", action="store_true", help="go on where the run in DIR stopped; start it where there is none"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    check_json_target(args.json)
    check_task(args.task)
    asked_for = (args.method, args.preset, args.config, args.overrides, args.select)
    given = settings(args) if any(asked_for) else None

    from ..beginning import Beginning
    from ..training import Wanted, notes, open_run

    asked = args.origin is not None or args.demos
    beginning = Beginning.given(args.origin, args.demos, args.demos_who) if asked else None
    wanted = Wanted(args.task, args.out, args.seed, given, beginning, variation(args.randomise, args.task))
    opened = open_run(wanted, lambda: settings(args), args.resume)
    for note in (*notes(opened.run.config), *opened.loaded.notes):
        _say(note)
    report = _train(opened)
    print(describe(report), file=text_out(args.json))
    write_json(report.to_dict(), args.json)
    return OK


def check_task(name: str, flag: str = "TASK") -> None:
    """BadInput where there is no such task, naming those that there are."""
    from ddiffpg_sim import tasks

    if name not in tasks.names():
        raise BadInput(f"{flag} {name!r}: no such task (known: {', '.join(tasks.names())})")


def _train(opened: Opened) -> Report:
    from ..training import train_run

    shown = Progress("iteration", opened.run.config.train.iterations)
    try:
        return train_run(opened, shown.show, _say)
    except KeyboardInterrupt:
        print(f"\nstopped; the same command with --resume goes on from {opened.run.folder}", file=sys.stderr)
        raise
    finally:
        shown.end()


def _say(note: str) -> None:
    print(f"note: {note}", file=sys.stderr)


def settings(args: argparse.Namespace) -> Config:
    """Preset and task, or those of the run it begins from, then file, then method and selection, then single settings.

    Each wins over the one before.
    """
    from ddiffpg_core import config
    from ddiffpg_core.defaults import load_preset

    if args.origin is not None and args.preset is None:
        from ..beginning import origin_run

        settings = origin_run(args.origin).config
    else:
        settings = load_preset(args.preset or PRESET, args.task)
    if args.config is not None:
        settings = config.load_file(existing_file(args.config, "--config"), settings)
    if args.method is not None:
        if args.method not in config.METHODS:
            raise BadInput(f"--method {args.method!r}: no such method (known: {', '.join(config.METHODS)})")
        settings = config.override(settings, [f"train.method={args.method}"])
    selected = [] if args.select is None else [f"train.select={args.select}"]
    return config.override(settings, [*selected, *args.overrides])
