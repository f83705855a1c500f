"""``ddiffpg demo``: simulated robot and controller in two processes over ROS 2, a human, an obstacle on the way."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ..arguments import add_json, add_seed, existing_file
from ..output import STDOUT, check_json_target, write_json
from ..shipped import shipped_policy

HELP = {"demo": "simulated robot and controller over ROS 2: a human takes over and gives back, an obstacle drops in"}
TASK = "pointmaze-v1"


def configure(name: str, parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--policy", type=Path, metavar="FILE.onnx", help=f"the policy to drive (default: the shipped one for {TASK})"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/demo"), metavar="DIR",
        help="where picture, video, recording and timeline go (default runs/demo)",
    )  # fmt: skip
    add_seed(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from ddiffpg_cli import demo

    check_json_target(args.json)
    policy = shipped_policy(TASK) if args.policy is None else existing_file(args.policy, "--policy")
    out = sys.stderr if args.json == STDOUT else sys.stdout
    code = demo.run(policy, args.out, args.seed, say=lambda line: print(line, file=out, flush=True))
    write_json(json.loads((args.out / "timeline.json").read_text(encoding="utf-8")), args.json)
    return code
