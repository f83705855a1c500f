"""The benchmark of hand-overs runs and finds what it should on a few episodes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mujoco", reason="mujoco (extra sim) is not installed")

ROOT = Path(__file__).resolve().parents[2]


def test_it_measures_hand_overs_of_a_shipped_policy(tmp_path):
    out = tmp_path / "handoff.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "handoff.py"), "--policies", "pointmaze-v1", "--seeds", "1"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run([*command, "--json", str(out)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert result["episodes"] == 10 and result["smoothness"]["jumps_above_allowed"] == 0
    assert all(found["ticks_to_take_over_worst"] == 0 for found in result["by_scenario"].values())
    assert all(found["mode_kept"] == found["success"] == 1.0 for found in result["by_scenario"].values())
