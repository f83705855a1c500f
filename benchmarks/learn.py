"""How well a task is learned: trains, evaluates, and records one JSON a run.

    python benchmarks/learn.py --task pointmaze-v1 pointmaze-v2 --seeds 0 1 2 [--method ddiffpg ...] [--jobs 2]
    python benchmarks/learn.py --task pointmaze-v1 --seeds 0 1 --set novelty.scale=0 --label no-novelty
    python benchmarks/learn.py --task pointmaze-v1 --seeds 0 1 --runs DIR     # where the run directories are, or go

Each run is ``ddiffpg train``, ``--jobs`` of them side by side, in a directory of its own under ``--runs``. Runs that
are finished are taken as they are and unfinished ones are resumed: delete the directory to measure anew. The records
go into ``benchmarks/results/learn``; ``make tables`` makes docs/results.md and its plots from them. A record is what
``ddiffpg sweep`` gives for a run too.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from _command import ddiffpg
from tables import RECORDS, judge

from ddiffpg_cli.arguments import Parser, not_negative, positive
from ddiffpg_cli.errors import FAILED, OK, Failed, explain
from ddiffpg_cli.trials import OURS, Trial, record


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    trials = [Trial(task, seed, method, args.preset, tuple(args.overrides), args.label)
              for task in args.task for method in args.method for seed in args.seeds]
    try:
        for trial in trials:
            trial.config()  # all that is wrong is said before the first of them runs
        done = [trial.is_done(args.runs / trial.name) for trial in trials]
        with ThreadPoolExecutor(args.jobs) as pool:
            outcomes = list(pool.map(lambda trial, done: measure(trial, done, args), trials, done))
    except Exception as error:
        text, code = explain(error)
        print(f"learn.py: {text}", file=sys.stderr)
        return code
    return OK if all(outcomes) else FAILED


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", nargs="+", required=True, metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=not_negative, required=True, metavar="N")
    parser.add_argument("--method", nargs="+", default=[OURS], metavar="NAME", help=f"default {OURS}")
    parser.add_argument("--preset", metavar="NAME", help="as for ddiffpg train")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="SECTION.KEY=VALUE",
                        help="as for ddiffpg train; may be repeated")
    parser.add_argument("--label", default="", metavar="TEXT", help="names a variant; needed where --set is given")
    parser.add_argument("--jobs", type=positive, default=1, metavar="N", help="runs side by side (default 1)")
    parser.add_argument("--runs", type=Path, default=Path("runs/learn"), metavar="DIR", help="default %(default)s")
    parser.add_argument("--records", type=Path, default=RECORDS, metavar="DIR", help="default benchmarks/results/learn")
    args = parser.parse_args(argv)
    if args.overrides and not args.label:
        parser.error("--set makes a variant, which needs a --label to be told apart by")
    return args


def measure(trial: Trial, done: bool, args: argparse.Namespace) -> bool:
    """Train where that is not done yet, and record it; whether it came to its end with what is wanted of the task."""
    folder = args.runs / trial.name
    try:
        if not done:
            run(trial, folder)
        made = record(trial, folder, None if done else args.jobs)
    except Failed as error:
        print(f"{trial.name}: FAILED: {error}", file=sys.stderr, flush=True)
        return False
    return keep(made, args.records / f"{trial.name}.json")


def run(trial: Trial, folder: Path) -> None:
    """Raises Failed, which names the log, where training does not come to its end."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    log = folder.with_name(folder.name + ".log")
    ddiffpg(trial.words(folder), log, trial.config().train.torch_threads)


def keep(new: dict, path: Path) -> bool:
    """Write the record; what it does not know of a run that is recorded there already stays as it was."""
    old = json.loads(path.read_text()) if path.exists() else {}
    same = (old.get("commit"), old.get("seconds")) == (new["commit"], new["seconds"])
    if same:
        new |= {key: old[key] for key, value in new.items() if value is None}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(new, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    met = judge(new)
    verdict = {True: ", what is wanted is met", False: ", what is wanted is NOT met", None: ""}[met]
    print(f"{path.stem}: {new['seconds'] / 60:.1f} min, {new['modes_learned']} modes learned{verdict}", flush=True)
    return met is not False


if __name__ == "__main__":
    sys.exit(main())
