"""The benchmark of inference runs, and records what the docs quote. No figure is asserted: machines differ."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.test_cli import PATHS, ROOT


def test_it_runs_and_records(tmp_path: Path) -> None:
    out = tmp_path / "results" / "inference.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "inference.py"), "--rounds", "2", "--calls", "5"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, PATHS))}
    done = subprocess.run(
        [*command, "--json", str(out)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stderr  # 1: slower than wanted
    result = json.loads(out.read_text())
    assert len(result["results"]) == 5
    assert all(0.0 < row["p50"] <= row["p99"] <= row["worst"] for row in result["results"])
    assert result["met"].keys() == result["wanted"].keys()
