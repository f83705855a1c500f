"""Learning figures on the point mazes: success, adherence and return of every mode, over seeds.

    python benchmarks/pointmaze.py [--tasks pointmaze-v1 ...] [--seeds 0 1 2 3 4] [--jobs 2] [--runs DIR]
    python benchmarks/pointmaze.py --table      # the recorded result as Markdown, measuring nothing

Runs ``ddiffpg train TASK --seed N`` with the preset that users get by default (``cpu``), one thread a run, ``--jobs``
runs side by side, and gathers their reports into ``benchmarks/results/pointmaze.json``. Runs that are there already
are taken as they are, unfinished ones are resumed: delete the folder to measure anew.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ddiffpg_core.checkpoint import load

RESULT = Path(__file__).parent / "results" / "pointmaze.json"
TASKS = ("pointmaze-v1", "pointmaze-v2", "pointmaze-v3", "pointmaze-v4")
# What each task asks of a mode (success and adherence, return), how many such modes over how many goals, minutes.
WANTED = {"pointmaze-v1": (0.98, 0.9, 2, 1, 5), "pointmaze-v2": (0.95, 0.8, 2, 2, 15),
          "pointmaze-v3": (0.95, 0.8, 3, 2, 15), "pointmaze-v4": (0.95, 0.8, 4, 2, 15)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side (default 2)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the run directories go")
    parser.add_argument("--table", action="store_true", help="print the recorded result as Markdown and end")
    args = parser.parse_args()
    if args.table:
        print(table(json.loads(RESULT.read_text())["runs"]))
        return 0
    wanted = [(task, seed) for task in args.tasks for seed in args.seeds]
    with ThreadPoolExecutor(args.jobs) as pool:
        rows = list(pool.map(lambda pair: measure(*pair, args.runs), wanted))
    for row in rows:
        print(f"{row['task']} seed {row['seed']}: {row['seconds'] / 60:.1f} min, {row['good_modes']} good modes "
              f"over {row['goals']} goals, {'met' if row['met'] else 'NOT met'}")
    keep(rows, args.jobs)
    return 0 if all(row["met"] for row in rows) else 1


def measure(task: str, seed: int, runs: Path) -> dict:
    """One run, trained where its report is not there yet."""
    folder = runs / f"{task}-{seed}"
    if not (folder / "report.json").exists():
        command = [sys.executable, "-m", "ddiffpg_cli", "train", task, "--out", str(folder), "--seed", str(seed)]
        command += ["--resume"] if folder.exists() else []
        folder.parent.mkdir(parents=True, exist_ok=True)
        with open(folder.with_suffix(".log"), "a") as log:
            subprocess.run(command, check=True, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return summary(task, seed, folder)


def summary(task: str, seed: int, folder: Path) -> dict:
    """A run's report held against what the task asks for."""
    report = json.loads((folder / "report.json").read_text())
    share, returns, modes, goals, minutes = WANTED[task]
    ends = {m["id"]: m["prototype"][-1] for m in load(folder / "policy.pt")["modes"]}
    good = [m for m in report["modes"] if m["success"] >= share and m["adherence"] >= share and m["return"] is not None
            and m["return"] >= returns]
    reached = count_goals([ends[m["id"]] for m in good])
    met = len(good) >= modes and reached >= goals and report["seconds"] <= 60 * minutes
    about = json.loads((folder / "run.json").read_text())
    return {"task": task, "seed": seed, "commit": about["commit"], "iterations": report["iterations"],
            "seconds": report["seconds"], "episodes": report["episodes"], "good_modes": len(good), "goals": reached,
            "met": met, "modes": report["modes"], "unconditioned": report["unconditioned"]}


def count_goals(ends: list) -> int:
    """How many places these ways end at: two ends within one cell are one place."""
    places: list = []
    for end in ends:
        if all(sum((a - b) ** 2 for a, b in zip(end, other)) > 1.0 for other in places):
            places.append(end)
    return len(places)


def keep(rows: list[dict], jobs: int) -> None:
    """Put the rows into the recorded result, in place of older ones of the same task and seed."""
    old = json.loads(RESULT.read_text())["runs"] if RESULT.exists() else []
    new = {(row["task"], row["seed"]) for row in rows}
    runs = sorted([r for r in old if (r["task"], r["seed"]) not in new] + rows, key=lambda r: (r["task"], r["seed"]))
    RESULT.parent.mkdir(exist_ok=True)
    about = {"machine": platform.machine(), "cores": os.cpu_count(), "jobs": jobs, "threads_per_run": 1}
    RESULT.write_text(json.dumps({"about": about, "wanted": WANTED, "runs": runs}, indent=1) + "\n")


def table(runs: list[dict]) -> str:
    """One line a run: its learned modes with success / adherence / return."""
    lines = ["| task | seed | minutes | met | modes: success / adherence / return |", "|---|---|---|---|---|"]
    for run in runs:
        modes = ", ".join(_shares(mode) for mode in run["modes"])
        met = "yes" if run["met"] else "no"
        lines.append(f"| {run['task']} | {run['seed']} | {run['seconds'] / 60:.1f} | {met} | {modes} |")
    return "\n".join(lines)


def _shares(mode: dict) -> str:
    back = "none to come from" if mode["return"] is None else f"{mode['return']:.2f}"
    return f"{mode['success']:.2f} / {mode['adherence']:.2f} / {back}"


if __name__ == "__main__":
    sys.exit(main())
