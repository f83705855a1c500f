"""``ddiffpg sweep``: train over tasks, seeds and settings."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ..arguments import add_json, existing_file, not_negative, positive
from ..errors import FAILED, OK, BadInput
from ..output import check_json_target, text_out, write_json

HELP = {"sweep": "train over tasks, methods, seeds and settings, side by side on Ray; goes on with what was cut short"}
LISTS = ("tasks", "seeds", "methods", "preset", "overrides")


def configure(name: str, parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tasks", nargs="+", metavar="TASK", help="tasks to learn")
    parser.add_argument("--seeds", nargs="+", type=not_negative, metavar="N", help="seeds (default 0)")
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="methods (default ddiffpg)")
    parser.add_argument("--preset", metavar="NAME", help="as for ddiffpg train")
    parser.add_argument(
        "--set", action="append", default=[], dest="overrides", metavar="SECTION.KEY=VALUE",
        help="a setting; the same key again gives another value to try",
    )  # fmt: skip
    parser.add_argument("--file", type=Path, metavar="FILE", help="YAML with all of the above, in place of it")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the run directories go")
    parser.add_argument("--ray", metavar="ADDRESS", help="a Ray cluster, host:port (default: this machine alone)")
    parser.add_argument("--jobs", type=positive, metavar="N", help="runs side by side (default: as many as fit)")
    parser.add_argument(
        "--retries", type=not_negative, default=3, metavar="N",
        help="how often a run whose process died is gone on with (default 3)",
    )  # fmt: skip
    add_json(parser)


def ray_environment(address: str | None) -> dict[str, str]:
    """What Ray reads when it is imported. It must not tell its makers what is run here, and may start slowly.

    A local one trains at the priority that it was started with, which Ray would lower, and listens on the loopback
    interface only: whoever reaches Ray may run what they like. Whatever address it is given, it would put the
    machine's own in its place, unless it is told that there is no cluster (a setting that holds on every system).
    """
    settings = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_gcs_server_port_wait_time_s": "120"}
    return settings | ({} if address else {"RAY_worker_niceness": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"})


def run(args: argparse.Namespace) -> int:
    check_json_target(args.json)
    if args.file is not None and any(getattr(args, name) for name in LISTS):
        raise BadInput("--file says what to sweep over; give it or --tasks, --seeds, --methods, --preset and --set")

    os.environ.update(ray_environment(args.ray))
    from .. import grid, sweeping

    wanted = grid.read(existing_file(args.file, "--file")) if args.file else grid.of_words(
        args.tasks or [], args.seeds or [0], args.methods, args.preset, args.overrides)
    room = sweeping.Room(args.ray, args.jobs, args.retries)
    result = sweeping.sweep(grid.trials(wanted), args.out.resolve(), room)
    out = text_out(args.json)
    for record in result["runs"]:
        print(f"{record['task']} {record['method']} {record['label']} seed {record['seed']}: success "
              f"{record['unconditioned']['success']:.2f} after {record['seconds'] / 60:.1f} min", file=out)
    for failure in result["failed"]:
        print(f"ddiffpg sweep: {failure['name']}: {failure['reason']}; see {failure['log']}", file=sys.stderr)
    write_json(result, args.json)
    return FAILED if result["failed"] else OK
