"""The benchmark runs and says what it promises; how fast is no matter for a test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "sim.py"


def test_the_benchmark_compares_with_each():
    tiny = ["--tasks", "pointmaze-v1", "--grow", "--envs", "2", "--threads", "1", "2", "--async-envs", "2"]
    tiny += ["--randomised", "pointmaze-v1", "--rounds", "1", "--seconds", "0.01", "--json", "-"]
    ran = subprocess.run([sys.executable, str(SCRIPT), *tiny], capture_output=True, text=True, check=True)
    report = json.loads(ran.stdout)
    assert [(r["other"], r["threads"]) for r in report["results"]] == [
        ("rollout", 1),
        ("rollout", 2),
        ("async", 2),
        ("randomised", 1),
    ]
    assert all(r["ratio"] > 0 and r["batched_steps_per_s"] > 0 for r in report["results"])
