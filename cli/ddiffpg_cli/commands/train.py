"""``ddiffpg train``: learn a task."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..arguments import add_seed
from ..errors import BadInput

HELP = {"train": "learn a task: finds its modes by itself; writes checkpoints, logs and pictures into a run directory"}


def configure(name: str, parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", metavar="TASK", help="one of: ddiffpg tasks")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the run directory to write")
    add_seed(parser)
    parser.add_argument("--preset", metavar="NAME", help="settings that ship (default: the task's own)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML with settings that differ from the preset")
    parser.add_argument("--resume", action="store_true", help="go on where the run in DIR stopped")
    parser.add_argument(
        "--set", action="append", default=[], dest="overrides", metavar="SECTION.KEY=VALUE",
        help="override one setting; may be repeated",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    raise BadInput("not there yet")
