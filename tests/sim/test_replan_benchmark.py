"""The benchmark of replanning runs, finds what it should on a few episodes, and gives each strategy the same ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="mujoco (extra sim) is not installed")

from ddiffpg.policy import Policy
from ddiffpg_sim import tasks
from ddiffpg_sim.obstacles import Obstacle

ROOT = Path(__file__).resolve().parents[2]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, str(ROOT / "benchmarks" / "replan.py"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_it_compares_strategies_on_the_same_episodes(tmp_path):
    out, pictures = tmp_path / "replan.json", tmp_path / "pictures"
    kinds = ["--obstacles", "none", "popup", "all", "--strategies", "replan", "never", "--episodes", "2"]
    done = bench(*kinds, "--json", str(out), "--out", str(pictures))
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())["kinds"]
    assert [found["none"][s]["success"] for s in ("replan", "never")] == [1.0, 1.0]
    assert [found["popup"][s]["success"] for s in ("replan", "never")] == [1.0, 0.0]
    assert found["popup"]["replan"]["changes"] == 1.0 and found["none"]["replan"]["changed_episodes"] == 0
    assert found["all"]["replan"]["stopped"] == 1.0 and found["all"]["replan"]["collided"] == 0.0
    assert {path.stem for path in pictures.iterdir()} == {f"{k}-{s}" for k in found for s in ("replan", "never")}
    assert "popup" in done.stdout


@pytest.mark.parametrize("policy", ["nothing.onnx", str(ROOT / "policies" / "panda-peg.onnx")])
def test_a_policy_that_it_cannot_measure_is_refused_in_a_line(policy):
    done = bench("--policy", policy)
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith("replan.py: error:")


def test_a_free_way_is_along_what_the_policy_has_learned(monkeypatch):
    """The first maze has a way above and one below a wall: one box leaves the other, two leave none."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from _replan_cases import FreeWays

    policy = Policy.load(ROOT / "policies" / "pointmaze-v1.onnx")
    search = FreeWays(policy.contract, tasks.make("pointmaze-v1"), 0.1)
    above, below = (Obstacle(i, "box", (-1.0, y, 0.25), (0.1, 0.5, 0.25)) for i, y in enumerate((-1.0, 1.0)))
    start = np.zeros(2)
    assert [search.free(start, there) for there in ([], [above], [below], [above, below])] == [True, True, True, False]
