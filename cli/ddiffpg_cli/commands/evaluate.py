"""``ddiffpg eval``: how well each mode works."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..arguments import add_episodes, add_json, add_seed
from ..errors import BadInput

HELP = {"eval": "measure a run or a policy file mode by mode: success, adherence, return, steps"}


def configure(name: str, parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", type=Path, metavar="RUN_OR_POLICY", help="a run directory or a .onnx file")
    add_episodes(parser, 100, "episodes a mode")
    add_seed(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    raise BadInput("not there yet")
