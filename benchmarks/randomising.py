"""What training with randomised robots gives: policies trained with and without them, on robots that differ.

    python benchmarks/randomising.py --task pointmaze-v1 --seeds 0 1 2 [--jobs 2] [--runs DIR] [--json FILE|-]

For each seed one run with ``--randomise`` and one without, else alike. Each is distilled and exported, and the file is
driven (``ddiffpg transfer``) on robots with one thing from 0.7 to 1.3 of what the model has, and with delays up to
0.2 s; then on robots in which all that was randomised differs at once (``ddiffpg eval --randomise``). Every mode over
``--episodes`` episodes a cell. All of it is resumed where it was left. Writes JSON; ``scripts/doc_tables.py`` makes the
table of docs/transfer.md from it. Needs the extras train, sim and export; some minutes a run.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from _command import ddiffpg
from _result import write

from ddiffpg_cli.arguments import add_json, not_negative, positive
from ddiffpg_cli.errors import Failed
from ddiffpg_cli.output import check_json_target
from ddiffpg_cli.transfer_axes import chosen
from ddiffpg_cli.trials import Trial
from ddiffpg_sim import tasks

AXES = ("mass", "friction", "strength", "delay")


@dataclass(frozen=True)
class Policy:
    """One run, and where it and its policy file are."""

    trial: Trial
    runs: Path

    @property
    def folder(self) -> Path:
        return self.runs / self.trial.name

    @property
    def file(self) -> Path:
        return self.folder.with_name(self.folder.name + ".onnx")

    def measure(self, episodes: int) -> dict[str, Any]:
        """Train, distil and export what is not there yet; drive it, and tell of it."""
        if not self.trial.is_done(self.folder):
            self.call(*self.trial.words(self.folder))
        if not self.file.exists():
            self.call("distill", self.folder)
            self.call("export", self.folder, "--out", self.file, "--force")
        axes = [axis.name for axis in chosen(None, tasks.make(self.trial.task)) if axis.name in AXES]
        grid, together = self.folder / "transfer", self.folder / "together.json"
        few = ["--episodes", episodes]
        self.call("transfer", "--policy", self.file, "--axes", ",".join(axes), *few, "--seeds", 0, "--out", grid)
        self.call("eval", self.file, "--randomise", *few, "--json", together)
        cells = json.loads((grid / "transfer.json").read_text(encoding="utf-8"))["cells"]
        report = json.loads((self.folder / "report.json").read_text(encoding="utf-8"))
        print(f"{self.folder.name}: done", flush=True)
        return {
            "seed": self.trial.seed, "randomised": self.trial.randomised, "training_seconds": report["seconds"],
            "modes": [mode["id"] for mode in report["modes"]], "modes_learned": report["modes_learned"],
            "cells": [{"axis": cell["axis"], "value": cell["value"], "seed": cell["seed"],
                       "outcomes": [{"mode": o["mode"], "success": o["success"]} for o in cell["outcomes"]]}
                      for cell in cells],
            "together": {str(mode["id"]): mode["success"]
                         for mode in json.loads(together.read_text(encoding="utf-8"))["modes"]},
        }  # fmt: skip

    def call(self, *words: object) -> None:
        ddiffpg(words, self.folder.with_name(self.folder.name + ".log"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", required=True, metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=not_negative, default=[0, 1, 2], metavar="N", help="default 0 1 2")
    parser.add_argument("--episodes", type=positive, default=100, metavar="N", help="a mode and cell (default 100)")
    parser.add_argument("--jobs", type=positive, default=1, metavar="N", help="runs side by side (default 1)")
    parser.add_argument("--runs", type=Path, default=Path("runs/randomising"), metavar="DIR",
                        help="default %(default)s")
    add_json(parser)
    args = parser.parse_args()
    check_json_target(args.json)
    args.runs.mkdir(parents=True, exist_ok=True)
    policies = [Policy(Trial(args.task, seed, randomised=randomised), args.runs)
                for seed, randomised in product(args.seeds, (False, True))]  # fmt: skip
    try:
        with ThreadPoolExecutor(args.jobs) as pool:
            found = list(pool.map(lambda policy: policy.measure(args.episodes), policies))
    except Failed as error:
        sys.exit(f"randomising.py: {error}")
    write({"benchmark": "randomising", "task": args.task, "episodes": args.episodes, "policies": found}, args.json)


if __name__ == "__main__":
    main()
