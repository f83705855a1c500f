"""``ddiffpg distill`` and ``export``: a run's directory in, a policy file out, or the reason why not.

The run is a real one of seconds; the policy in it has modes put in by hand, since it learned none.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra 'train' is not installed")
pytest.importorskip("onnx", reason="the extra 'export' is not installed")

from ddiffpg_cli.main import main
from ddiffpg_cli.shipped import shipped_policy
from ddiffpg_core.checkpoint import load_policy, save_policy
from ddiffpg_core.modes import Mode
from ddiffpg_core.paths import resample
from ddiffpg_sim import tasks
from tests.test_cli import one_line
from tests.test_cli_train import SETTINGS

CLAIMED = {"success": 1.0, "adherence": 1.0, "return": 1.0, "mean_steps": 30.0}


@pytest.fixture(scope="module")
def distilled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose policy claims two modes that it has never learned, with a student."""
    run = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", "pointmaze-v1", "--out", str(run), *SETTINGS]) == 0
    task = tasks.make("pointmaze-v1")
    policy = load_policy(run / "policy.pt", task.spec)
    rng = np.random.default_rng(0)
    modes = tuple(
        Mode(i, (), rng.normal(size=policy.config.actor.embedding_dim).astype(np.float32),
             resample(np.array(way.points), 20).astype(np.float32))
        for i, way in enumerate(task.ways)
    )  # fmt: skip
    report = {"modes": [{"id": m.id, **CLAIMED} for m in modes]}
    varied = {"dynamics": {"mass": {"uniform": [0.7, 1.3], "unit": "factor"}}}
    save_policy(run / "policy.pt", replace(policy, modes=modes, report=report, randomise=varied))
    assert main(["distill", str(run), "--iterations", "20", "--json", str(run.parent / "distill.json")]) == 0
    return run


@pytest.fixture
def copy(distilled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(distilled, tmp_path / "run"))


def test_distill_reports_each_mode_and_the_unconditioned_policy(distilled: Path) -> None:
    report = json.loads((distilled.parent / "distill.json").read_text())
    assert report["steps"] == 1
    assert set(report["errors"]) == {"-1", "0", "1"}


def test_a_file_alone_is_given_the_states_that_it_knows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "policy.onnx"
    command = ["states", str(shipped_policy("pointmaze-v1")), "--out", str(out), "--episodes", "40"]
    assert main([*command, "--json", str(tmp_path / "visit.json")]) == 0
    assert f"wrote {out}" in capsys.readouterr().out
    assert json.loads((tmp_path / "visit.json").read_text())["arrived"] > 0.9
    assert main(["inspect", str(out)]) == 0
    assert "known states" in capsys.readouterr().out


def test_export_is_refused_where_modes_are_lost(
    distilled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "policy.onnx"
    assert main(["export", str(distilled), "--out", str(out), "--episodes", "4"]) == 1
    text = one_line(capsys)
    assert "mode 0" in text
    assert "mode 1" in text
    assert not out.exists()


def test_forced_export_can_be_inspected_and_says_so(
    distilled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "policy.onnx"
    assert main(["export", str(distilled), "--out", str(out), "--episodes", "4", "--force", "--json", "-"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["accepted"], report["modes"]) == (False, [0, 1])
    assert main(["inspect", str(out), "--json", "-"]) == 0
    shown = capsys.readouterr()
    assert "lost" in json.dumps(json.loads(shown.out)["training"])
    assert json.loads(shown.out)["randomisation"]["dynamics"]["mass"]["uniform"] == [0.7, 1.3]
    assert "mass 0.7 to 1.3 factor (seed 0)" in shown.err
    assert main(["eval", str(out), "--episodes", "2"]) == 0
    assert main(["run", "--policy", str(out), "--max-steps", "3"]) == 1


def test_the_teacher_itself_can_be_exported(copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "policy.onnx"
    assert main(["distill", str(copy), "--steps", "5"]) == 0
    assert main(["export", str(copy), "--out", str(out), "--episodes", "2", "--force"]) == 0
    capsys.readouterr()
    assert main(["inspect", str(out), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["denoising_steps"] == 5


def test_export_before_distill_says_what_to_do(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copy / "student.pt").unlink()
    assert main(["export", str(copy), "--out", str(copy / "x.onnx")]) == 2
    assert "ddiffpg distill" in one_line(capsys)


@pytest.mark.parametrize("name", ["policy.pt", "checkpoint.pt"])
def test_distill_of_a_broken_run(name: str, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copy / name).write_bytes(b"no such thing")
    assert main(["distill", str(copy)]) == 2
    assert name in one_line(capsys)


@pytest.mark.parametrize("command", [["distill"], ["export", "--out", "x.onnx"]])
def test_a_directory_that_is_no_run(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, str(tmp_path)]) == 2
    assert str(tmp_path) in one_line(capsys)


@pytest.mark.parametrize("out", ["x.pt", "none/x.onnx"])
def test_export_to_a_wrong_place(
    out: str, distilled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(distilled), "--out", str(tmp_path / out)]) == 2
    assert str(tmp_path / out) in one_line(capsys)
