"""``ddiffpg distill`` and ``export`` on a run whose policy was never trained: what they write, say and refuse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra 'train' is not installed")
pytest.importorskip("onnx", reason="the extra 'export' is not installed")

import torch

from ddiffpg.policy import Policy
from ddiffpg_cli.main import main
from ddiffpg_core.checkpoint import SavedPolicy, save, save_policy
from ddiffpg_core.config import ActorConfig, Config
from ddiffpg_core.diffusion import DiffusionActor
from ddiffpg_core.features import Features
from ddiffpg_core.modes import Mode
from ddiffpg_core.run import Run
from ddiffpg_sim import tasks
from tests.test_cli import one_line

TASK = "pointmaze-v1"
LEARNED = {"success": 1.0, "adherence": 1.0, "return": 1.0, "return_from": {}, "mean_steps": 30.0}


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run that claims to have learned mode 2, and not mode 4; with a random walk as its replay."""
    torch.manual_seed(0)
    task, config = tasks.make(TASK), Config(actor=ActorConfig(hidden=(16,)))
    run = Run.create(tmp_path / "run", TASK, 0, config, "")
    features = Features(task.spec)
    actor = DiffusionActor(features.size, 2, config.actor)
    ways = {mode: np.array(way.points, np.float32) for mode, way in zip((2, 4), task.ways)}
    modes = tuple(Mode(i, (), np.full(8, 0.1 * i, np.float32), path) for i, path in ways.items())
    report = {"modes": [{"id": 2, **LEARNED}, {"id": 4, **LEARNED, "success": 0.3}]}
    save_policy(run.folder / "policy.pt", SavedPolicy(TASK, 0, 640, "", config, features, actor, modes, report))
    replay = {"obs": 0.1 * torch.randn(20, 31, 4).cumsum(1), "length": np.full(20, 30)}
    save(run.folder / "checkpoint.pt", {"agent": {"replay": replay}})
    return run.folder


def test_distill_and_export(run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["distill", str(run_dir), "--iterations", "3", "--json", str(tmp_path / "student.json")]) == 0
    assert "student of 1 steps" in capsys.readouterr().out
    assert set(json.loads((tmp_path / "student.json").read_text())["errors"]) == {"-1", "2", "4"}

    out = tmp_path / "maze.onnx"
    assert main(["export", str(run_dir), "--out", str(out), "--episodes", "2", "--force"]) == 0
    shown = capsys.readouterr().out
    assert "left out: mode 4, not learned: success 0.30" in shown
    assert "NOT ACCEPTED, written by force: mode 2 is lost" in shown
    contract = Policy.load(out).contract
    assert (contract.task, contract.mode_ids, contract.denoising_steps) == (TASK, (2,), 1)
    assert contract.robot_radius == tasks.make(TASK).robot_radius
    assert json.loads(out.with_suffix(".json").read_text())["accepted"] is False


def test_the_teacher_itself_with_all_modes(run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["distill", str(run_dir), "--steps", "5"]) == 0
    out = tmp_path / "maze.onnx"
    arguments = ["export", str(run_dir), "--out", str(out), "--episodes", "2", "--all-modes", "--force", "--json", "-"]
    capsys.readouterr()
    assert main(arguments) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["modes"] == [2, 4]
    assert "left out" not in shown.err
    assert Policy.load(out).contract.denoising_steps == 5


def test_a_refused_export_is_exit_code_1(run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["distill", str(run_dir), "--steps", "5"])
    capsys.readouterr()
    out = tmp_path / "maze.onnx"
    assert main(["export", str(run_dir), "--out", str(out), "--episodes", "2"]) == 1
    assert "mode 2 is lost: success 0.000" in one_line(capsys)
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["distill", "nowhere"], "nowhere: holds no training run"),
        (["export", "nowhere", "--out", "x.onnx"], "nowhere: holds no training run"),
        (["export", "{run}", "--out", "{run}/x.onnx"], "student.pt: no such file; make it with: ddiffpg distill"),
        (["export", "{run}", "--out", "{run}/x.pt"], "x.pt: expected a name that ends in .onnx"),
        (["distill", "{run}", "--json", "{run}/no/x.json"], "there is no directory"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], named: str, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([a.format(run=run_dir) for a in arguments]) == 2
    assert named in one_line(capsys)


@pytest.mark.parametrize("name", ["policy.pt", "checkpoint.pt"])
def test_a_run_cut_short_is_bad_input(name: str, run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run_dir / name).write_bytes(b"PK")
    assert main(["distill", str(run_dir)]) == 2
    assert f"{name}: cut short" in one_line(capsys)
