"""``ddiffpg distill`` and ``ddiffpg export``: from a training run to a policy file."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import BadInput

HELP = {
    "distill": "distil a run's actor into a student of few denoising steps that keeps its modes",
    "export": "write a run's student as FILE.onnx with its contract; refused where a mode was lost",
}
STEPS = (1, 2, 5)


def configure(name: str, parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dir", type=Path, metavar="DIR", help="the directory of a training run")
    if name == "distill":
        parser.add_argument("--steps", type=int, choices=STEPS, default=1, help="denoising steps (default 1)")
        return
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.onnx", help="the policy file to write")
    parser.add_argument("--force", action="store_true", help="export even where a mode was lost; the file records it")


def run(args: argparse.Namespace) -> int:
    raise BadInput("not there yet")
