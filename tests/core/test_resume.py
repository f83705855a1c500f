"""Killed at any moment and resumed, a run ends as if it had never been interrupted."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ddiffpg_core.checkpoint import load
from ddiffpg_core.config import Config, override
from ddiffpg_core.defaults import load_preset
from ddiffpg_core.run import Run

ROOT = Path(__file__).resolve().parents[2]
# Strides held for long find both goals of pointmaze-v2 within seconds: so there are modes, and critics that came late.
SETTINGS = override(load_preset("quick"), [
    "train.iterations=200", "train.checkpoint_every=40", "train.eval_every=80", "train.log_every=10",
    "train.eval_episodes=2", "train.final_episodes=2", "train.recluster_every=10", "train.updates_per_iteration=1",
    "train.warmup_iterations=10", "explore.hold_scale=1.5", "explore.hold_steps=16",
])


# The ant finds nothing so soon; all that its networks, physics and replay become is to be the same all the same.
ANT = override(Config(), [
    "train.iterations=36", "train.warmup_iterations=6", "train.num_envs=4", "train.checkpoint_every=9",
    "train.log_every=3", "train.eval_every=36", "train.eval_episodes=1", "train.final_episodes=1",
    "train.recluster_every=5", "replay.trajectories=16", "critic.value_max=12.0", "critic.batch_size=64",
    "critic.hidden=[32]", "actor.hidden=[32]", "novelty.hidden=[32]",
])
CASES = {"pointmaze-v2": SETTINGS, "antmaze-v1": ANT}


def start(folder: Path, task: str) -> subprocess.Popen:
    """A process that trains in ``folder``."""
    if not folder.exists():
        Run.create(folder, task, 4, CASES[task], "abc")
    paths = [ROOT, *(ROOT / p for p in ("sim", "ros2_ws/src/ddiffpg"))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, str(Path(__file__).with_name("training_process.py")), str(folder)],
                            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kill_at(folder: Path, task: str, iteration: int) -> None:
    """Train until ``iteration`` is done, then kill -9 in the midst of what comes next."""
    with start(folder, task) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= iteration:
                break
        process.kill()
        # 0: on a machine under load it may be over before the signal comes
        assert process.wait() in (-9, 0), process.stderr.read() if process.stderr else ""


def finish(folder: Path, task: str) -> dict[str, Any]:
    """Train to the end; everything that the run has come to."""
    with start(folder, task) as process:
        out, error = process.communicate()
    assert process.returncode == 0, error
    report = json.loads((folder / "report.json").read_text())
    del report["seconds"], report["cpu_seconds"]
    state = load(folder / "checkpoint.pt")
    del state["seconds"], state["cpu_seconds"]
    lines = (folder / "metrics.csv").read_text().splitlines()
    return {"iterations": int(out.splitlines()[-1]), "report": report, "state": state,
            "policy": load(folder / "policy.pt"), "log": [line for line in lines if "seconds" not in line]}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> dict[str, Any]:
    result = finish(tmp_path_factory.mktemp("runs") / "whole", "pointmaze-v2")
    assert result["iterations"] == 200
    assert result["state"]["agent"]["bank"]["modes"], "there is nothing to compare"
    return result


def differences(a: Any, b: Any, where: str = "") -> list[str]:
    """Where two results are not exactly the same."""
    if isinstance(a, dict) and isinstance(b, dict):
        return [d for k in a.keys() | b.keys() for d in differences(a.get(k), b.get(k), f"{where}/{k}")]
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b):
        return [d for i, (x, y) in enumerate(zip(a, b)) for d in differences(x, y, f"{where}/{i}")]
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return [] if torch.equal(a, b) else [where]
    return [] if np.array_equal(a, b) else [where]


def test_killed_again_and_again_and_resumed_it_ends_the_same(uninterrupted, tmp_path):
    # once before there is any checkpoint, twice at random afterwards
    folder = tmp_path / "run"
    moments = [random.randrange(1, 40), random.randrange(41, 120), random.randrange(121, 180)]
    for moment in moments:
        kill_at(folder, "pointmaze-v2", moment)
    # and had the last one come in the midst of a save, there would be the old checkpoint and half of the new one
    whole = (folder / "checkpoint.pt").read_bytes()
    (folder / "checkpoint.pt.part").write_bytes(whole[: len(whole) // 2])
    assert differences(uninterrupted, finish(folder, "pointmaze-v2")) == [], f"killed at iterations {moments}"
    assert not (folder / "checkpoint.pt.part").exists()


def test_an_ant_that_is_killed_and_resumed_ends_the_same(tmp_path):
    whole = finish(tmp_path / "whole", "antmaze-v1")
    assert whole["state"]["agent"]["updates"] == 60
    moment = random.randrange(10, 35)
    kill_at(tmp_path / "killed", "antmaze-v1", moment)
    assert differences(whole, finish(tmp_path / "killed", "antmaze-v1")) == [], f"killed at iteration {moment}"
